"""A generic block and an absent recipient look alike from outside: receipts by bytes, due times, states, answers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from message_path import ABSENT, DELIVERED, PHONE, failed
from zone_center import AWAY, HOME, ZoneCenter, zone_center

from restante.outlet import ErrorClass
from restante.smsc.retry import DEFAULT_SCHEDULES
from restante.smsc.submission import Accepted
from restante.store.history import History

DAY = 86_400


async def watch(
    center: ZoneCenter,
    *,
    by: str,
    validity_s: int,
    steps: list[int],
    back: Callable[[int], Awaitable[None]],
    **fields: Any,
) -> dict[str, Any]:
    """Everything a submitter can see of one message, and when it was tried; `back` is told of each step."""
    path = center.path
    answer = await center.answer_to(
        b"hello you", by=by, expires_at=path.clock.now + validity_s * 1000, receipt=0x11, **fields
    )
    seen: dict[str, Any] = {"answer": type(answer).__name__, "dues": [], "states": []}
    if not isinstance(answer, Accepted):
        seen["refusal"] = replace(answer, id=0)
        return seen
    id, outlet = answer.id, path.outlets[by]
    history = History(path.store)
    for step, seconds in enumerate(steps):
        await back(step)
        row = (await path.queue()).get(id)
        seen["dues"].append((row["due_at"] - path.clock.now, row["attempts"]) if row else None)
        view = await history.message(id)
        assert view is not None
        seen["states"].append((view.state, view.reason, view.attempts, view.stored_at))
        await center.step(seconds)
    seen["receipts"] = [
        (a.message.body.replace(str(id).encode(), b"ID"), a.message.tlvs.replace(str(id).encode(), b"ID"),
         a.message.submitted_at, a.message.esm_class)
        for a in outlet.handed
    ]  # fmt: skip
    finals = [e for e in await path.events(id) if e.kind == "final"]
    seen["final"] = [(e.at, e.state, e.reason) for e in finals]
    return seen


async def compared(
    url_of: Callable[[bool], str],
    by: str,
    box: bool,
    steps: list[int],
    *,
    back_at: int = -1,
    **fields: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is seen of a blocked message, and of one to somebody who is away; `box`: with the real mailbox;
    `back_at`: the step before which the recipient is back."""
    seen: list[dict[str, Any]] = []
    for blocked in (True, False):
        schedules = dict(DEFAULT_SCHEDULES)
        async with zone_center(url_of(blocked), with_mailbox=box, schedules=schedules) as center:
            center.path.switch.says = lambda attempt: failed(
                ErrorClass.ABSENT, "absent", network_error=b"\x03\x00\x1b"
            )
            await center.home_zone(max_age_s=604_800)
            await center.at(HOME)
            await center.send(b"before", "+447700900002", receipt=0)  # shows what absence looks like here
            center.path.shop.handed.clear()
            if blocked:
                await center.at(AWAY)

            async def back(step: int, center: ZoneCenter = center, blocked: bool = blocked) -> None:
                if step == back_at:
                    center.path.switch.says = lambda attempt: DELIVERED
                    if blocked:
                        await center.at(HOME)

            seen.append(await watch(center, by=by, validity_s=DAY, steps=steps, back=back, **fields))
            if blocked:
                came = back_at >= 0 and not box
                assert (b"hello you" in center.phone) == came, "handed over"
                assert await center.texts_in_boxes(PHONE) == [], "readable"
            elif box and not fields:
                assert await center.texts_in_boxes(PHONE) == ["hello you"]
            if box:
                seen[-1]["dues"] = []  # of a deposited message nobody outside sees the queue
    return seen[0], seen[1]


@pytest.mark.parametrize("by", ["shop", "eager"])
@pytest.mark.parametrize("box", [False, True], ids=["no-box", "box"])
@pytest.mark.parametrize(
    "fields", [{}, {"esm_class": 1}, {"esm_class": 2}], ids=["store", "datagram", "transaction"]
)
def test_a_block_looks_like_absence(
    tmp_path, by: str, box: bool, fields: dict[str, Any], sqlite_url: str
) -> None:
    def url_of(blocked: bool) -> str:
        copy = tmp_path / f"{blocked}.sqlite"
        shutil.copyfile(sqlite_url.removeprefix("sqlite:///"), copy)
        return f"sqlite:///{copy}"

    steps = [1, 59, 30, 300, 900, 3600, 10_800, 21_600, DAY]
    blocked, absent = asyncio.run(compared(url_of, by, box, steps, **fields))
    assert blocked == absent
    assert blocked.get("final") or fields
    if not fields and not (box and by == "eager"):
        assert b"stat:EXPIRED err:001" in blocked["receipts"][-1][0]


@pytest.mark.parametrize("back", [0, 2, 4], ids=["at once", "later", "late"])
@pytest.mark.parametrize("box", [False, True], ids=["no-box", "box"])
def test_coming_home_looks_like_being_reachable_again(
    tmp_path, back: int, box: bool, sqlite_url: str
) -> None:
    """A blocked message whose recipient comes home, and one for a handset that is switched on at the same time and
    does not announce itself: both arrive at their next try, with the same receipts at the same times."""

    def url_of(blocked: bool) -> str:
        copy = tmp_path / f"{blocked}.sqlite"
        shutil.copyfile(sqlite_url.removeprefix("sqlite:///"), copy)
        return f"sqlite:///{copy}"

    steps = [1, 59, 30, 300, 900, 3600, 10_800, 21_600, DAY]
    blocked, absent = asyncio.run(compared(url_of, "shop", box, steps, back_at=back))
    assert blocked == absent
    assert (
        b"stat:EXPIRED" in blocked["receipts"][-1][0]
        if box
        else b"stat:DELIVRD" in blocked["receipts"][-1][0]
    )


def test_a_blocked_message_waits_for_its_own_time(sqlite_url: str) -> None:
    """A new fix moves nothing, a restart loses nothing, and the next try of all those who wait brings them in order."""

    async def scenario() -> None:
        async with zone_center(sqlite_url) as first:
            await first.home_zone(max_age_s=604_800)
            await first.at(AWAY)
            until = first.path.clock.now + DAY * 1000
            ids = [await first.send(text, expires_at=until) for text in (b"1", b"2", b"3")]
            clock, outlets = first.path.clock, first.path.outlets
        async with zone_center(sqlite_url, clock=clock, outlets=outlets) as second:
            dues = {row["due_at"] for row in (await second.path.queue()).values()}
            await second.at(HOME)
            assert {row["due_at"] for row in (await second.path.queue()).values()} == dues
            assert second.phone == []
            for _ in range(8):
                await second.step(100)
            assert second.phone == [b"1", b"2", b"3"]
            assert [await second.path.finals(id) for id in ids] == [[(2, "")]] * 3

    asyncio.run(scenario())


def test_who_leaves_before_the_next_try_stays_blocked(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(max_age_s=604_800)
        await center.at(AWAY)
        id = await center.send(expires_at=center.path.clock.now + 600_000)
        await center.at(HOME)
        await center.at(AWAY)
        for _ in range(8):
            await center.step(100)
        assert center.phone == []
        assert await center.path.finals(id) == [(3, "expired")]

    on_center(scenario)


def test_parts_of_a_blocked_message_come_together(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(max_age_s=604_800)
        await center.at(AWAY)
        for number in (1, 2):
            header = bytes((5, 0, 3, 7, 2, number))
            await center.send(header + b"part", esm_class=0x40)
        assert center.phone == []
        await center.at(HOME)
        for _ in range(4):
            await center.step(100)
        assert len(center.phone) == 2

    on_center(scenario)


def test_a_block_without_an_example_of_absence(on_center) -> None:
    """Until an outlet has shown an absent recipient, a plain one is assumed."""

    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        await center.at(AWAY)
        id = await center.send()
        attempts = [event for event in await center.path.events(id) if event.kind == "attempt"]
        assert [event.reason for event in attempts] == ["absent"]
        assert ABSENT.error is ErrorClass.ABSENT
        assert (await center.path.queue())[id]["attempts"] == 1
        assert center.path.recipients.silence(PHONE) is None  # the subscriber himself counts as reachable

    on_center(scenario)


def test_others_are_not_kept_waiting_behind_a_block(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(bypass_service_types=["CARE"])
        await center.at(AWAY)
        await center.send(b"blocked")
        await center.send(b"care", service_type="CARE")
        assert center.phone == [b"care"]

    on_center(scenario)


def test_what_is_withheld_waits_behind_its_like(on_center) -> None:
    """As messages for an absent handset do: the second is not tried before the first one's next try."""

    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(max_age_s=604_800)
        await center.at(AWAY)
        first = await center.send(b"1")
        second = await center.send(b"2")
        queue = await center.path.queue()
        assert queue[first]["attempts"] == 1
        assert (queue[second]["attempts"], queue[second]["due_at"]) == (0, queue[first]["due_at"])

    on_center(scenario)


def test_what_a_check_does_with_a_waiting_message_is_not_told_to_its_sender(on_center) -> None:
    """Held for somebody who is away: to the submitter a message like any other that was not tried yet."""

    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="hold")
        await center.at(AWAY)
        id = await center.send()
        assert await center.reason(id) == "held"
        view = await History(center.path.store).message(id)
        assert view is not None
        assert (view.state.name, view.reason, view.attempts, view.queue_reason) == (
            "ENROUTE",
            "new",
            0,
            "held",
        )

    on_center(scenario)
