"""/admin/sandbox: the numbers for developers of ESMEs.

In charge of: showing the table. Not in charge of: who may use it (`sandbox` of an account), what the numbers do
(`smsc/sandbox.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...smsc.sandbox import BEHAVIOURS, PREFIX
from ..entrance import Identity, Require
from ..rooms import rooms_of

__all__ = ["router"]

router = APIRouter(prefix="/sandbox", tags=["sandbox"])

Reader = Annotated[Identity, Depends(Require(Permission.ACCOUNTS_READ))]


class SandboxNumber(BaseModel):
    """What one ending does."""

    ending: str = Field(description="last two digits", examples=["10"])
    example: str = Field(examples=["+999000000010"])
    name: str
    says: str


class SandboxView(BaseModel):
    """The sandbox."""

    prefix: str = Field(description="start of every sandbox number")
    accounts: list[str] = Field(description="system_ids that may use it")
    numbers: list[SandboxNumber]


@router.get("", response_model=SandboxView)
async def read_sandbox(request: Request, who: Reader) -> SandboxView:
    """What the numbers do, and for whom."""
    rooms = rooms_of(request)
    accounts = rooms.registry.snapshot(rooms.account_kind).values()
    return SandboxView(
        prefix=PREFIX,
        accounts=sorted(one.system_id for one in accounts if one.sandbox != "off"),
        numbers=[
            SandboxNumber(
                ending=one.ending, example=f"{PREFIX}0000000{one.ending}", name=one.name, says=one.says
            )
            for one in BEHAVIOURS.values()
        ],
    )
