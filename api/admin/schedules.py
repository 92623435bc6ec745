"""/admin/schedules: when a message is tried again.

In charge of: the schedule routes, and showing what is in force. Not in charge of: carrying a schedule out
(`smsc/retry.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from ...access.permissions import Permission
from ...outlet import ErrorClass
from ...smsc.schedules import ScheduleModel, tries
from ..entrance import Identity, Require
from ..rooms import rooms_of
from .objects import Editing

__all__ = ["router"]

router = APIRouter(prefix="/schedules", tags=["schedules"])

Reader = Annotated[Identity, Depends(Require(Permission.ROUTES_READ))]


class InForce(BaseModel):
    """The schedule of one class, and what it leads to."""

    error: ErrorClass
    edited: bool = Field(description="false: nobody has edited it; it is the default")
    delays_s: list[int]
    attempts: int
    other_route: bool
    deposit_after: int
    jitter: float
    tries_s: list[int] = Field(
        description="attempts if each fails so: seconds after the first, without chance"
    )


class Preview(BaseModel):
    """Every class."""

    items: list[InForce]


@router.get(":preview", response_model=Preview)
async def preview(
    request: Request,
    who: Reader,
    validity_s: Annotated[
        int, Query(ge=1, le=2_592_000, description="validity period of the message")
    ] = 172_800,
) -> Preview:
    """What is in force for each class, and when a message would be tried."""
    items: list[InForce] = []
    for error, schedule in rooms_of(request).schedules.items():
        fields = schedule.model_dump(exclude={"error"})
        items.append(
            InForce(
                error=error,
                edited=isinstance(schedule, ScheduleModel),
                tries_s=tries(schedule, validity_s=validity_s),
                **fields,
            )
        )
    return Preview(items=items)


Editing(
    kind_of=lambda rooms: rooms.schedule_kind,
    model=ScheduleModel,
    name="schedule",
    plural="schedules",
    read=Permission.ROUTES_READ,
    write=Permission.ROUTES_WRITE,
).router(router)
