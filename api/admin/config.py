"""/admin/config: what this process was started with.

In charge of: showing it. Not in charge of: reading the file or masking secrets (`config.py`, through serve.py).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ..entrance import Identity, Require
from ..rooms import rooms_of

__all__ = ["router"]

router = APIRouter(prefix="/config", tags=["config"])

Reader = Annotated[Identity, Depends(Require(Permission.CONFIG_READ))]


class SettingView(BaseModel):
    """One setting."""

    key: str
    value: Any = Field(description="secrets are masked")
    source: str = Field(description="default, a line of the file, or a variable")
    description: str


class ConfigView(BaseModel):
    """Every setting."""

    items: list[SettingView]


@router.get("", response_model=ConfigView)
async def read_config(request: Request, who: Reader) -> ConfigView:
    """The settings in force, each with its source."""
    found = rooms_of(request).config()
    return ConfigView(
        items=[
            SettingView(key=one.key, value=one.value, source=one.source, description=one.description)
            for one in found
        ]
    )
