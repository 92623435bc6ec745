"""What happens in a box, while it happens.

In charge of: /mailbox/changes, with `Prefer: wait=N` for clients that cannot keep a stream, and /mailbox/events. Not
in charge of: the feed itself (`mailbox/changes.py`), the number of streams and their end (`live.py`).

An event's id is the state of the box after it, so `Last-Event-ID` goes on exactly where the client was, on any node
and after any restart; a state that the feed has forgotten gives the event `reset`: read the box again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from ..mailbox.changes import Changes, StateTooOld, TooManyWatchers
from .entrance import Identity, Subscriber, subscriber_at
from .live import Stream
from .mailbox import ItemView, item_view, state_text
from .rooms import Rooms, doors_of, rooms_of

__all__ = ["router"]

router = APIRouter(prefix="/mailbox", tags=["mailbox"])

WAIT_MAX_S = 60
LOOK_S = 15.0  #: a stream looks this often even if nobody woke it

_STATE = r"^s[0-9]{1,18}$"
_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,4})(?:$|[,;\s])")


class ChangesView(BaseModel):
    """What happened since a state."""

    created: list[ItemView]
    updated: list[ItemView]
    destroyed: list[str]
    state: str
    has_more: bool


class GoneView(BaseModel):
    """A message that was removed."""

    id: str


class StateView(BaseModel):
    """Where the box stands."""

    state: str


def changes_view(changes: Changes) -> ChangesView:
    """As it is shown."""
    return ChangesView(
        created=[item_view(item) for item in changes.created],
        updated=[item_view(item) for item in changes.updated],
        destroyed=[str(id) for id in changes.destroyed],
        state=state_text(changes.state),
        has_more=changes.has_more,
    )


def empty(changes: Changes) -> bool:
    """True if nothing happened."""
    return not (changes.created or changes.updated or changes.destroyed)


@router.get("/changes", response_model=ChangesView)
async def read_changes(
    request: Request,
    response: Response,
    who: Subscriber,
    since: Annotated[str, Query(pattern=_STATE, description="a state that you were given")],
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    prefer: Annotated[
        str | None, Header(description="wait=N: answer when something happens, or in N s")
    ] = None,
) -> ChangesView:
    """What happened since. 410 if that is too long ago: read the box again."""
    rooms = rooms_of(request)
    state = int(since[1:])
    changes = await rooms.feed.since(who.number, state, limit=limit)
    asked = _WAIT.search(prefer or "")
    if asked is None:
        return changes_view(changes)
    seconds = min(int(asked[1]), WAIT_MAX_S)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    if empty(changes) and seconds:
        doors_of(request).live.admit(who.owner)
        changes = await _wait(request, rooms, who, state, limit, seconds)
    return changes_view(changes)


async def _wait(
    request: Request, rooms: Rooms, who: Identity, state: int, limit: int, seconds: int
) -> Changes:
    """Until something happens, the time is over, or the center stops."""
    assert who.session is not None
    ends_at = asyncio.get_running_loop().time() + seconds
    with (
        rooms.sessions.watch(who.session.id) as ended,
        doors_of(request).live.open(who.owner, ended) as stream,
    ):
        async with rooms.box_live.watch(who.number) as states:
            task = asyncio.create_task(_follow(states, stream))
            try:
                while True:
                    changes = await rooms.feed.since(who.number, state, limit=limit)
                    left = ends_at - asyncio.get_running_loop().time()
                    if not empty(changes) or left <= 0 or stream.over or await request.is_disconnected():
                        return changes
                    await stream.wait(min(left, LOOK_S))
            finally:
                await _end(task)


async def _follow(states: AsyncIterator[int], stream: Stream) -> None:
    """Wake the stream whenever the box moved."""
    async for _ in states:
        stream.woken.set()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def admitted(request: Request, who: Annotated[Identity, Depends(subscriber_at)]) -> Identity:
    """A subscriber who may open one more stream."""
    doors_of(request).live.admit(who.owner)
    return who


@router.get("/events", response_class=EventSourceResponse)
async def events(
    request: Request,
    who: Annotated[Identity, Depends(admitted)],
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> AsyncIterator[Any]:
    """message.created, message.updated, message.deleted, mailbox.state; reset when the feed does not reach back."""
    rooms = rooms_of(request)
    assert who.session is not None
    with (
        rooms.sessions.watch(who.session.id) as ended,
        doors_of(request).live.open(who.owner, ended) as stream,
    ):
        summary = await rooms.box.summary(who.number)
        resumed = re.fullmatch(_STATE, last_event_id or "")
        state = int(last_event_id[1:]) if resumed and last_event_id else summary.state
        yield ServerSentEvent(
            event="mailbox.state", id=state_text(state), data=StateView(state=state_text(state))
        )
        with suppress(TooManyWatchers):
            async with rooms.box_live.watch(who.number) as states:
                task = asyncio.create_task(_follow(states, stream))
                try:
                    while not stream.over:
                        try:
                            changes = await rooms.feed.since(who.number, state)
                        except StateTooOld:
                            state = (await rooms.box.summary(who.number)).state
                            yield ServerSentEvent(
                                event="reset", id=state_text(state), data=StateView(state=state_text(state))
                            )
                            continue
                        for event in _events(changes):
                            yield event
                        state = changes.state
                        if not changes.has_more:
                            await stream.wait(LOOK_S)
                finally:
                    await _end(task)


def _events(changes: Changes) -> list[ServerSentEvent]:
    """Changes as events; the last one carries the state, so that a cut in between repeats rather than loses."""
    made = [ServerSentEvent(event="message.created", data=item_view(item)) for item in changes.created]
    made += [ServerSentEvent(event="message.updated", data=item_view(item)) for item in changes.updated]
    made += [ServerSentEvent(event="message.deleted", data=GoneView(id=str(id))) for id in changes.destroyed]
    if made:
        state = state_text(changes.state)
        made.append(ServerSentEvent(event="mailbox.state", id=state, data=StateView(state=state)))
    return made
