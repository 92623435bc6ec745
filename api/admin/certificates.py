"""/admin/certificates: what the doors of this node show.

In charge of: listing certificates and having their files read again. Not in charge of: files and TLS
(`access/certificates.py`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from ...access.certificates import DoorState
from ...access.permissions import Permission
from ...store.store import Answer
from ..entrance import Identity, Require
from ..problems import Problem
from ..rooms import rooms_of
from ..times import Instant, instant_or_none
from .objects import Reason, reason_of

__all__ = ["router"]

router = APIRouter(tags=["certificates"])

Reader = Annotated[Identity, Depends(Require(Permission.CONFIG_READ))]
Writer = Annotated[Identity, Depends(Require(Permission.CERTIFICATES_WRITE))]


class CertificateView(BaseModel):
    """The certificate of one door."""

    door: str = Field(examples=["smpp"])
    subject: str = Field(description="RFC 4514", examples=["CN=smpp.example"])
    fingerprint: str = Field(description="SHA-256 of the certificate", examples=["sha256:9f86d0…"])
    not_before: Instant | None
    not_after: Instant | None
    problem: str = Field(description="why the files could not be read the last time; empty if they could")


class CertificateList(BaseModel):
    """Every door that speaks TLS."""

    items: list[CertificateView]


def _views(states: list[DoorState]) -> CertificateList:
    return CertificateList(
        items=[
            CertificateView(
                door=one.door,
                subject=one.subject,
                fingerprint=one.fingerprint,
                not_before=instant_or_none(one.not_before),
                not_after=instant_or_none(one.not_after),
                problem=one.problem,
            )
            for one in states
        ]
    )


@router.get("/certificates", response_model=CertificateList)
async def list_certificates(request: Request, who: Reader) -> CertificateList:
    """What each door shows, and until when."""
    return _views(rooms_of(request).certificates.states())


@router.post("/certificates:reload", response_model=CertificateList)
async def reload_certificates(request: Request, who: Writer, reason: Reason = None) -> CertificateList:
    """Read the files of every door again. A door whose files cannot be used keeps what it has, and says why."""
    rooms = rooms_of(request)
    entry = who.entry("certificates.reload", "certificates", reason_of(reason))
    async with rooms.audit.entry(entry) as seal:
        if await rooms.store.apply(writes=seal()) is not Answer.STORED:
            raise Problem("store-unavailable", headers={"Retry-After": "5"})
    return _views(rooms.certificates.reload())
