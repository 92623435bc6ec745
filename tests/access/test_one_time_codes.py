"""One-time codes: who gets one, who can tell, how often one may guess."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from live_store import Database, StepClock

from restante.access.key_ring import KeyRing
from restante.access.one_time_codes import (
    TRIES,
    Challenge,
    CodeSettings,
    OneTimeCodes,
    Refusal,
    TooMany,
    network_of,
)
from restante.access.subscriber import Subscriber

RING = KeyRing({"00000000": bytes(range(32))})
KNOWN, UNKNOWN = "+447700900001", "+447700900999"
WIDE = CodeSettings(per_number=1000, per_network=1000, per_prefix=1000, resend_s=5)


@dataclass
class Person:
    """As much of a subscriber as is looked at."""

    number: int = 7
    active: bool = True


@dataclass
class Door:
    """Codes, what they sent, and time."""

    codes: OneTimeCodes
    clock: StepClock
    store: Any
    people: dict[str, Person]
    sent: list[tuple[str, str]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    async def ask(self, number: str = KNOWN, peer: str = "192.0.2.1") -> Challenge:
        asked = await self.codes.ask(number, peer=peer)
        assert isinstance(asked, Challenge), asked
        await self.codes.drain()
        return asked


@asynccontextmanager
async def door(database: Database, settings: CodeSettings | None = None) -> AsyncGenerator[Door]:
    clock = StepClock()
    people = {KNOWN: Person()}
    sent: list[tuple[str, str]] = []
    alarms: list[str] = []

    async def send(number: str, text: str) -> None:
        sent.append((number, text))

    async def find(number: str) -> Subscriber | None:
        return cast("Subscriber | None", people.get(number))

    async with database.store(clock) as store:
        codes = OneTimeCodes(store, RING, send=send, find=find, settings=settings, alarm=alarms.append)
        yield Door(codes, clock, store, people, sent, alarms)


def test_the_code_signs_in_once(live_database: Database) -> None:
    async def run() -> None:
        async with door(live_database) as d:
            asked = await d.ask()
            number, text = d.sent[0]
            assert number == KNOWN
            code = text[:6]
            assert text.endswith(f"\n@localhost #{code}")
            proof = await d.codes.prove(asked.id, code)
            assert (proof.subscriber, proof.number, proof.refusal) == (7, KNOWN, None)
            assert (await d.codes.prove(asked.id, code)).refusal is Refusal.EXPIRED  # replayed

    asyncio.run(run())


def test_a_stranger_is_told_the_same_and_gets_nothing(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:
            known, unknown = await d.ask(KNOWN), await d.ask(UNKNOWN)
            assert (known.expires_in, known.resend_after) == (unknown.expires_in, unknown.resend_after)
            assert len(known.id) == len(unknown.id)
            assert [number for number, _ in d.sent] == [KNOWN]
            wrong = [await d.codes.prove(asked.id, "xxxxxx") for asked in (known, unknown)]
            assert wrong[0].refusal is wrong[1].refusal is Refusal.INVALID
            assert wrong[0].tries_left == wrong[1].tries_left
            again = [await d.codes.ask(number, peer="192.0.2.1") for number in (KNOWN, UNKNOWN)]
            assert again[0] == again[1] == TooMany("resend", 30)

    asyncio.run(run())


def test_nobody_can_prove_a_number_that_no_code_went_to(sqlite_copy: Database) -> None:
    """Even somebody who guessed the digits."""

    async def run() -> None:
        async with door(sqlite_copy) as d:
            d.codes._digits = lambda: "123456"
            asked = await d.ask(UNKNOWN)
            assert (await d.codes.prove(asked.id, "123456")).refusal is Refusal.INVALID
            d.people[UNKNOWN] = Person(number=9)  # becomes a subscriber meanwhile: still no code went there
            assert (await d.codes.prove(asked.id, "123456")).refusal is Refusal.INVALID

    asyncio.run(run())


@pytest.mark.parametrize("change", ["suspended", "reassigned", "gone"])
def test_a_number_that_changed_hands_meanwhile_proves_nothing(sqlite_copy: Database, change: str) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:
            asked = await d.ask()
            others = {"suspended": Person(active=False), "reassigned": Person(number=8)}
            if change in others:
                d.people[KNOWN] = others[change]
            else:
                del d.people[KNOWN]
            assert (await d.codes.prove(asked.id, d.sent[0][1][:6])).refusal is Refusal.INVALID

    asyncio.run(run())


def test_five_wrong_ones_and_the_right_one_comes_too_late(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:
            asked = await d.ask()
            code = d.sent[0][1][:6]
            left = [(await d.codes.prove(asked.id, "wrong")).tries_left for _ in range(TRIES)]
            assert left == [4, 3, 2, 1, 0]
            assert (await d.codes.prove(asked.id, code)).refusal is Refusal.EXHAUSTED

    asyncio.run(run())


def test_a_hundred_guesses_at_once_get_five_comparisons(live_database: Database) -> None:
    async def run() -> None:
        async with door(live_database) as d:
            asked = await d.ask()
            code = d.sent[0][1][:6]
            guesses = [f"{n:06d}" for n in range(95)]
            guesses = [guess for guess in guesses if guess != code] + [code] * 5
            proofs = await asyncio.gather(*(d.codes.prove(asked.id, guess) for guess in guesses))
            assert not any(proof.subscriber for proof in proofs)
            compared = [proof for proof in proofs if proof.refusal is Refusal.INVALID or proof.tries_left]
            assert len(compared) <= TRIES

    asyncio.run(run())


def test_a_code_ends_with_its_time_and_with_the_next_one(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:
            first = await d.ask()
            d.clock.step(31)
            second = await d.ask()
            assert (await d.codes.prove(first.id, d.sent[0][1][:6])).refusal is Refusal.EXPIRED
            d.clock.step(301)
            assert (await d.codes.prove(second.id, d.sent[1][1][:6])).refusal is Refusal.EXPIRED
            assert (await d.codes.prove("otc_nothing", "123456")).refusal is Refusal.EXPIRED

    asyncio.run(run())


@pytest.mark.parametrize(
    ("limit", "settings", "numbers", "peers"),
    [
        ("number", {"per_number": 3}, lambda n: KNOWN, lambda n: f"10.{n}.0.1"),
        ("prefix", {"per_prefix": 3}, lambda n: f"+44770090{n:04d}", lambda n: f"10.{n}.0.1"),
        ("network", {"per_network": 3}, lambda n: f"+{n + 1}5550000000", lambda n: f"192.0.2.{n}"),
        ("all", {"per_hour": 3}, lambda n: f"+{n + 1}5550000000", lambda n: f"10.{n}.0.1"),
    ],
)
def test_limits_hold_and_are_told(
    sqlite_copy: Database, limit: str, settings: Any, numbers: Any, peers: Any
) -> None:
    async def run() -> None:
        async with door(sqlite_copy, WIDE.model_copy(update=settings)) as d:
            for n in range(3):
                await d.ask(numbers(n), peers(n))
                d.clock.step(6)
            refused = await d.codes.ask(numbers(3), peer=peers(3))
            assert isinstance(refused, TooMany)
            assert refused.limit == limit
            assert d.alarms == [limit]
            d.clock.step(3601)
            await d.ask(numbers(3), peers(3))

    asyncio.run(run())


def test_limits_hold_when_many_ask_at_once(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy, CodeSettings(per_network=4)) as d:
            asks = (d.codes.ask(f"+44770090{n:04d}", peer="192.0.2.9") for n in range(20))
            answers = await asyncio.gather(*asks)
            assert sum(isinstance(answer, Challenge) for answer in answers) == 4

    asyncio.run(run())


def test_no_code_stands_in_the_database(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:
            d.codes._digits = lambda: "918273"
            await d.ask()
        files = sqlite_copy.path.parent.glob(sqlite_copy.path.name + "*")
        assert all(b"918273" not in path.read_bytes() for path in files)

    asyncio.run(run())


def test_a_code_that_cannot_be_sent_is_not_told_to_anybody(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with door(sqlite_copy) as d:

            async def broken(number: str, text: str) -> None:
                raise OSError("no route")

            d.codes._send = broken
            await d.ask()  # the answer is the same

    asyncio.run(run())


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_networks(peer: str, network: str) -> None:
    assert network_of(peer) == network
