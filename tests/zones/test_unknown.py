"""Not knowing where somebody is: each reason times each policy, sources that fail, pending checks, both and either."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from message_path import PHONE, a_draft
from waiting import soon_true
from zone_center import AWAY, HOME, SENDER, ZoneCenter, zone_center

from restante.message import Address, Ingress
from restante.smsc.submission import Accepted, Refused
from restante.zones.fix import Fix, Reason
from restante.zones.locations import LocateFailed

ROUGH = {
    "location": {"breaker_failures": 3, "breaker_s": 60, "attempt_budget_ms": 300, "submit_budget_ms": 20}
}


class Server:
    """A location server that says what the test says; `says` may wait."""

    name = "mlp"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.reason = ""
        self.fault = False
        self.place = HOME
        self.hang: asyncio.Event | None = None
        self.patience_s: float | None = None  #: as a client that gives up waiting
        self.now_ms: Any = None

    async def locate(self, number: str, max_age_s: int) -> Fix:
        self.asked.append(number)
        if self.hang is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.hang.wait(), self.patience_s)
        if self.reason:
            raise LocateFailed(self.reason, fault=self.fault)
        now = self.now_ms()
        return Fix(number, self.place[0], self.place[1], 50.0, now, now, self.name)


async def unknown(center: ZoneCenter, server: Server, reason: str) -> None:
    """Make a subscriber's location unknown for a reason."""
    server.now_ms = center.path.clock.now_ms
    if reason == Reason.STALE:
        server.reason = Reason.UNABLE
        await center.at(HOME, age_s=2000)
    elif reason == Reason.COARSE:
        await center.at(HOME, accuracy_m=30_000)
    elif reason == Reason.NO_CELL:
        await center.at(HOME)
    elif reason in (Reason.CELL_UNKNOWN, Reason.NO_COORDINATES):
        await center.room.locations.report_cell(PHONE, "262-02-1-1")
    elif reason == Reason.TIMEOUT:
        server.hang = asyncio.Event()
    else:
        server.reason = reason


REASONS = [reason for name, reason in vars(Reason).items() if name.isupper()]
assert len(REASONS) > 15
CELLS = {"kind": "cells", "cells": ["262-02-1-1"]}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("on_unknown", ["open", "closed", "hold", "last_known"])
def test_each_reason_under_each_policy(sqlite_url: str, reason: str, on_unknown: str) -> None:
    async def scenario() -> None:
        server = Server()
        async with zone_center(sqlite_url, providers=[server], settings=ROUGH) as center:
            await center.zone(shape=CELLS if reason == Reason.NO_CELL else None)
            await center.policy(
                on_unknown=on_unknown, unknown_hold_s=100, hold_poll_s=50, unknown_then="closed"
            )
            await center.bind()
            await unknown(center, server, reason)
            id = await center.send()
            decision = (await center.decisions(id))[0]
            known_late = on_unknown == "last_known" and reason == Reason.STALE
            if known_late:
                assert (decision["state"], decision["act"]) == ("in", "pass")
                assert center.phone == [b"hello"]
                return
            assert decision["state"] == "unknown"
            expected = Reason.NO_COORDINATES if reason == Reason.CELL_UNKNOWN else reason
            assert decision["reason"] == expected
            if on_unknown == "open":
                assert center.phone == [b"hello"]
            elif on_unknown == "hold":
                assert await center.reason(id) == "held"
                await center.step(51)
                assert await center.reason(id) == "held"
                await center.step(60)
                assert await center.reason(id) == "blocked"
            else:
                assert await center.reason(id) == "blocked"

    asyncio.run(scenario())


def test_what_was_held_for_want_of_a_location_goes_when_there_is_one(sqlite_url: str) -> None:
    async def scenario() -> None:
        async with zone_center(sqlite_url) as center:
            await center.home_zone(on_unknown="hold")
            first, second = await center.send(b"1"), await center.send(b"2")
            assert [await center.reason(id) for id in (first, second)] == ["held", "held"]
            await center.at(HOME)
            await center.step(1)
            assert center.phone == [b"1", b"2"]

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_source_that_is_down_for_ten_minutes_delays_nothing_and_raises_an_alarm(
    sqlite_url: str, how: str
) -> None:
    """Nothing waits longer than its budget, nothing is lost, and after a few failures nobody asks any more."""

    async def scenario() -> None:
        server, budget_ms = Server(), 300
        async with zone_center(sqlite_url, providers=[server], settings=ROUGH) as center:
            server.now_ms = center.path.clock.now_ms
            await center.home_zone("+4477*")
            server.reason, server.fault = Reason.SOURCE_DOWN, True
            if how == "hangs":
                server.hang, server.patience_s = asyncio.Event(), 0.5
            locate = center.room.locations.locate
            for minute in range(10):
                for one in range(3):
                    await center.send(b"%d" % minute, f"+44770090{minute}{one:03}", receipt=0)
                asked = await locate(f"+44770091{minute:04}", max_age_s=60, budget_ms=budget_ms)
                assert asked.took_ms <= 5 * budget_ms
                await soon_true(lambda: not center.room.locations._flights)
                await center.step(60)
            assert len(center.phone) == 30
            assert center.room.locations.alarms() == ["mlp"]
            assert (
                len(server.asked) <= 6
            )  # three, and those under way by then; the breaker's own clock stands still
            reasons = {(await center.decisions(id))[0]["reason"] for id in await center.path.messages()}
            assert reasons <= {Reason.SOURCE_DOWN, Reason.TIMEOUT}

    asyncio.run(scenario())


def test_questions_that_wait_for_a_server_are_bounded_and_end_when_it_is_given_up(sqlite_url: str) -> None:
    async def scenario() -> None:
        server = Server()
        rough = {"location": {"breaker_failures": 2, "breaker_s": 60, "in_flight": 2}}
        async with zone_center(sqlite_url, providers=[server], settings=rough) as center:
            server.now_ms, server.hang = center.path.clock.now_ms, asyncio.Event()
            server.reason, server.fault = Reason.SOURCE_DOWN, True
            locations = center.room.locations
            waiting = [
                asyncio.create_task(locations.locate(f"+44770090{n:04}", max_age_s=60, budget_ms=20_000))
                for n in range(40)
            ]
            await soon_true(lambda: len(server.asked) == 2)
            assert len(locations._flights) == 32
            server.hang.set()
            found = await asyncio.gather(*waiting)
            assert {one.reason for one in found[:32]} == {Reason.SOURCE_DOWN}
            assert {one.reason for one in found[32:]} == {Reason.TIMEOUT}
            assert len(server.asked) == 2  # those that waited for their turn asked nobody
            assert locations.alarms() == ["mlp"]

    asyncio.run(scenario())


def test_the_breaker_lets_one_question_through_and_closes_again(sqlite_url: str) -> None:
    async def scenario() -> None:
        server, times = Server(), [0.0]
        async with zone_center(sqlite_url, providers=[server], settings=ROUGH) as center:
            locations = center.room.locations
            locations._monotonic = lambda: times[0]
            server.now_ms = center.path.clock.now_ms
            server.reason, server.fault = Reason.SOURCE_DOWN, True
            for index in range(5):
                await locations.locate(f"+4477009001{index}", max_age_s=60, budget_ms=1000)
            assert len(server.asked) == 3
            times[0] = 61.0
            server.hang = asyncio.Event()
            probe = asyncio.create_task(locations.locate("+44770090020", max_age_s=60, budget_ms=4000))
            await soon_true(lambda: len(server.asked) == 4)
            other = await locations.locate("+44770090021", max_age_s=60, budget_ms=1000)
            assert other.reason == Reason.SOURCE_DOWN
            server.reason = ""
            server.hang.set()
            assert (await probe).fix is not None
            assert locations.alarms() == []
            assert (await locations.locate("+44770090022", max_age_s=60, budget_ms=1000)).fix is not None

    asyncio.run(scenario())


def test_all_who_ask_at_the_same_time_wait_for_one_question(sqlite_url: str) -> None:
    async def scenario() -> None:
        server = Server()
        async with zone_center(sqlite_url, providers=[server]) as center:
            server.now_ms, server.hang = center.path.clock.now_ms, asyncio.Event()
            locate = center.room.locations.locate
            asking = [asyncio.create_task(locate(PHONE, max_age_s=60, budget_ms=20_000)) for _ in range(20)]
            hasty = await locate(PHONE, max_age_s=60, budget_ms=5)
            assert hasty.reason == Reason.TIMEOUT
            assert center.room.locations.asking(PHONE)
            server.hang.set()
            found = await asyncio.gather(*asking)
            assert len({sighting.fix for sighting in found}) == 1
            assert server.asked == [PHONE]
            assert (await locate(PHONE, max_age_s=60, budget_ms=5)).fix is not None  # and it is kept
            assert server.asked == [PHONE]
            center.path.clock.now += 61_000
            server.hang = None
            assert (await locate(PHONE, max_age_s=60, budget_ms=5000)).fix is not None
            assert len(server.asked) == 2

    asyncio.run(scenario())


def test_a_sender_who_is_not_found_in_time_is_decided_before_the_first_attempt(sqlite_url: str) -> None:
    async def scenario() -> None:
        server = Server()
        async with zone_center(
            sqlite_url, providers=[server], settings={"location": {"submit_budget_ms": 20}}
        ) as center:
            server.now_ms, server.hang = center.path.clock.now_ms, asyncio.Event()
            await center.home_zone(SENDER, subject="sender", visibility="specific")
            answers: list[Accepted | Refused] = []
            account = center.path.account("msc1")
            ingress = Ingress("smpp", account.number, account.role, "msc1")
            draft = a_draft(source=Address(1, 1, SENDER[1:]))
            center.path.submission.submit(draft, account, ingress, answers.append)
            await soon_true(lambda: bool(answers))
            assert isinstance(answers[0], Accepted)
            assert await center.reason(answers[0].id) == "pending-check"
            server.place = AWAY
            server.hang.set()
            await soon_true(lambda: not center.room.locations.asking(SENDER))
            await center.step(1)
            assert await center.path.finals(answers[0].id) == [(8, "outside")]
            assert not [body for body in center.phone if body == b"hello"]

    asyncio.run(scenario())


@pytest.mark.parametrize("subject", ["both", "either"])
@pytest.mark.parametrize("sender", [HOME, AWAY, None])
@pytest.mark.parametrize("recipient", [HOME, AWAY, None])
def test_both_and_either_end_to_end(sqlite_url: str, subject: str, sender: Any, recipient: Any) -> None:
    """The sender at submit, the recipient at the attempt; the sender's later moves change nothing."""

    async def scenario() -> None:
        async with zone_center(sqlite_url) as center:
            await center.zone()
            await center.policy(subject=subject, visibility="specific", on_unknown="closed")
            for number, place in ((SENDER, sender), (PHONE, recipient)):
                await center.bind(number)
                if place is not None:
                    await center.at(place, number)
            answer = await center.answer_to(by="msc1", source=Address(1, 1, SENDER[1:]), receipt=0)
            refused = subject == "both" and sender == AWAY
            assert isinstance(answer, Refused) is refused
            states = {HOME: "in", AWAY: "out", None: "unknown"}
            pair = {states[sender], states[recipient]}
            if subject == "both":
                truth = "out" if "out" in pair else "in" if pair == {"in"} else "unknown"
            else:
                truth = "in" if "in" in pair else "out" if pair == {"out"} else "unknown"
            assert center.phone == ([b"hello"] if truth == "in" else [])
            if isinstance(answer, Accepted):
                recorded, decided = await center.decisions(answer.id)
                assert recorded["act"] == "record"
                assert (recorded["state"], decided["state"]) == (states[sender], truth)

    asyncio.run(scenario())


def test_what_the_sender_was_at_submit_counts_after_a_restart(sqlite_url: str) -> None:
    async def scenario() -> None:
        async with zone_center(sqlite_url) as first:
            await first.zone()
            await first.policy(subject="either", on_unknown="closed")
            for number in (SENDER, PHONE):
                await first.bind(number)
            await first.at(HOME, SENDER)
            await first.at(AWAY, PHONE)
            first.path.switch.up = False
            await first.send_from_handset()
            clock, outlets = first.path.clock, first.path.outlets
        async with zone_center(sqlite_url, clock=clock, outlets=outlets) as second:
            await second.at(AWAY, SENDER)
            second.path.switch.up = True
            await second.step(600)
            assert second.phone == [b"hello"]

    asyncio.run(scenario())


def test_a_message_in_parts_is_decided_once(sqlite_url: str) -> None:
    async def scenario() -> None:
        async with zone_center(sqlite_url) as first:
            await first.home_zone()
            await first.at(HOME)

            async def part(center: ZoneCenter, number: int) -> int:
                udh = bytes((5, 0, 3, 77, 3, number))
                return await center.send(udh + b"part %d" % number, esm_class=0x40, receipt=0)

            await part(first, 1)
            await first.at(AWAY)
            await part(first, 2)
            assert len(first.phone) == 2
            clock, outlets = first.path.clock, first.path.outlets
        async with zone_center(sqlite_url, clock=clock, outlets=outlets) as second:
            await part(second, 3)  # another life knows it from the evidence
            assert len(second.phone) == 3
            blocked = [bytes((5, 0, 3, 78, 2, n)) for n in (1, 2)]
            ids = [await second.send(udh + b"new", esm_class=0x40, receipt=0) for udh in blocked]
            assert [await second.reason(id) for id in ids] == ["blocked", "blocked"]

    asyncio.run(scenario())


def test_esmes_short_codes_and_names_are_nowhere(sqlite_url: str) -> None:
    async def scenario() -> None:
        async with zone_center(sqlite_url) as center:
            await center.zone()
            await center.policy(subject="both", on_unknown="closed", bypass_short_codes=False)
            await center.bind("*")
            await center.at(HOME)
            await center.send(b"from a name")  # "@Shop" stands aside; the recipient decides
            await center.send(b"from a code", source=Address(0, 1, "12345"))
            await center.send(b"from an application", source=Address(1, 1, "447700900888"))
            assert len(center.phone) == 3

    asyncio.run(scenario())


def test_roaming_is_outside_without_any_polygon(sqlite_url: str) -> None:
    async def scenario() -> None:
        async with zone_center(sqlite_url, settings={"home_plmns": ["23410"]}) as center:
            await center.home_zone(visibility="specific")
            now = center.path.clock.now_ms()
            for plmn, arrives in (("23410", 1), ("26202", 1)):
                fix = Fix(PHONE, *HOME, 20.0, now, now, "push", plmn=plmn)
                await center.room.locations.push([fix])
                await center.send()
                assert len(center.phone) == arrives
            await center.change_policy(roaming="open")
            await center.send()
            assert len(center.phone) == 2

    asyncio.run(scenario())
