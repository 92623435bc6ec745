"""What the rooms refuse, as problems.

In charge of: one table from the rooms' exceptions to problems, so that routes need not catch them. Not in charge of:
the problems themselves (`problems.py`), or refusals of messages, which are answers and no exceptions (`messages.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from ..access.credentials import CredentialsNotWritten, UnfitSecret
from ..access.sessions import SessionRefused
from ..access.subscriber import (
    ImsiTaken,
    InvalidSubscriber,
    NotStored,
    NumberTaken,
    StaleSubscriber,
    SubscriberClosed,
    SubscriberNotFound,
)
from ..mailbox.changes import StateTooOld, TooManyWatchers
from ..mailbox.folders import IllegalMove
from ..mailbox.model import BoxClosed, BoxError, BoxUnavailable, ItemNotFound, StaleItem
from ..mailbox.redelivery import NotForHandset, UnderWay
from ..registry.living import UnknownFilter
from ..registry.versioned import (
    EditConflict,
    EditFailed,
    InvalidObject,
    KeyTaken,
    ObjectNotFound,
    RegistryError,
    StaleVersion,
)
from ..store.store import StoreClosed, StoreUnavailable
from .problems import FieldError, Problem, respond

__all__ = ["install", "invalid", "problem_of"]

_LATER = {"Retry-After": "5"}


def invalid(error: InvalidObject) -> Problem:
    """Every field that is wrong."""
    errors = [FieldError(pointer="#" + p.pointer, code=p.code, detail=p.detail) for p in error.problems]
    return Problem("invalid-request", errors=errors)


def stale(error: StaleVersion) -> Problem:
    """The present version and whose it is."""
    return Problem(
        "version-stale",
        str(error),
        headers={"ETag": f'"{error.current}"'},
        more={"current": error.current, "changed_by": error.changed_by},
    )


def stale_version(error: StaleSubscriber | StaleItem) -> Problem:
    """The present version."""
    return Problem(
        "version-stale", str(error), headers={"ETag": f'"{error.current}"'}, more={"current": error.current}
    )


def unavailable(error: Exception) -> Problem:
    """The store takes or gives nothing."""
    return Problem("store-unavailable", headers=_LATER)


def _plain(slug: str) -> Callable[[Any], Problem]:
    return lambda error: Problem(slug, str(error))


_TABLE: dict[type[Exception], Callable[[Any], Problem]] = {
    ObjectNotFound: lambda error: Problem("not-found"),
    StaleVersion: stale,
    KeyTaken: _plain("key-taken"),
    InvalidObject: invalid,
    UnknownFilter: _plain("invalid-request"),
    EditConflict: _plain("conflict"),
    EditFailed: unavailable,
    RegistryError: _plain("conflict"),
    SubscriberNotFound: lambda error: Problem("not-found"),
    SubscriberClosed: _plain("conflict"),
    NumberTaken: _plain("key-taken"),
    ImsiTaken: _plain("key-taken"),
    InvalidSubscriber: _plain("invalid-request"),
    StaleSubscriber: stale_version,
    NotStored: unavailable,
    BoxClosed: lambda error: Problem("forbidden", "This mailbox is closed."),
    ItemNotFound: lambda error: Problem("not-found"),
    StaleItem: stale_version,
    StateTooOld: lambda error: Problem("state-too-old"),
    TooManyWatchers: lambda error: Problem("too-many-streams", headers={"Retry-After": "10"}),
    BoxUnavailable: unavailable,
    IllegalMove: _plain("conflict"),
    UnderWay: lambda error: Problem("conflict", "It is on its way already."),
    NotForHandset: lambda error: Problem("conflict", "What you sent cannot be delivered to you."),
    BoxError: lambda error: Problem("conflict", error.reason),
    UnfitSecret: _plain("invalid-request"),
    CredentialsNotWritten: unavailable,
    SessionRefused: unavailable,
    StoreUnavailable: unavailable,
    StoreClosed: unavailable,
}


def problem_of(error: Exception) -> Problem | None:
    """The problem for an exception of a room; None for one that is nobody's refusal."""
    for kind in type(error).__mro__:
        made = _TABLE.get(kind)
        if made is not None:
            return made(error)
    return None


def install(app: FastAPI) -> None:
    """Answer with problems when rooms refuse."""

    async def on_refusal(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        assert problem is not None
        return respond(request, problem)

    for kind in _TABLE:
        app.add_exception_handler(kind, on_refusal)
