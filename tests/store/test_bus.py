"""The buses between processes: two of them on one server, which goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from nats_server import NatsServer, nats_server
from waiting import soon_true

from restante.store.bus import BACK, MOST_OCTETS
from restante.store.bus_nats import NatsBus
from restante.store.bus_postgresql import PostgresqlBus
from restante.store.bus_wire import WireBus

Make = Callable[[], WireBus]


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture(params=["notify", "nats"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes buses on one server."""
    if request.param == "nats":
        url: str = request.getfixturevalue("nats").url
        return lambda: NatsBus(url, "test")
    database: str = request.getfixturevalue("pg_database")
    return lambda: PostgresqlBus(database, "test")


@asynccontextmanager
async def two(make: Make) -> AsyncGenerator[tuple[WireBus, WireBus]]:
    first, second = make(), make()
    await first.open()
    await second.open()
    try:
        await soon_true(lambda: first.carries and second.carries, "both buses")
        yield first, second
    finally:
        await first.close()
        await second.close()


def test_work_goes_to_its_epoch_and_topics_to_everybody(make: Make) -> None:
    async def run() -> None:
        async with two(make) as (first, second):
            handed: list[tuple[list[int], str]] = []
            told: list[tuple[str, bytes]] = []
            second.take(7, lambda ids, note: handed.append((list(ids), note)))
            first.take(8, lambda ids, note: handed.append(([-1], note)))
            second.subscribe("t", lambda payload: told.append(("second", payload)))
            first.subscribe("t", lambda payload: told.append(("first", payload)))
            first.subscribe("other", lambda payload: told.append(("other", payload)))
            ids = [(1 << 62) + n for n in range(1000)]

            def all_came() -> bool:
                if not handed:  # the channel may be listened to a moment after `take`
                    first.hand(7, ids[:1], "probe")
                return bool(handed)

            await soon_true(all_came, "the first")
            await asyncio.sleep(0)
            handed.clear()
            first.hand(7, ids, "1\nroute")
            first.hand(9, [5])
            await soon_true(lambda: sum(len(i) for i, n in handed if n == "1\nroute") == 1000, "all ids")
            assert [id for part, note in handed if note == "1\nroute" for id in part] == ids
            first.publish("t", "grüße".encode())
            await soon_true(lambda: len(told) == 2, "both")
            assert sorted(told) == [("first", "grüße".encode()), ("second", "grüße".encode())]

    asyncio.run(run())


def test_what_does_not_fit_or_is_no_packet_is_left_out(make: Make) -> None:
    async def run() -> None:
        async with two(make) as (first, second):
            told: list[bytes] = []
            second.subscribe("t", told.append)
            first.publish("t", b"x" * (MOST_OCTETS + 1))
            for text in (
                "",
                "{",
                "[]",
                '["hand"]',
                '["hand",7,"",["1"]]',
                '["hand",true,"",[1]]',
                '["tell"]',
                "7",
                "null",
            ):
                second.received(text)
            first.publish("t", b"y" * MOST_OCTETS)
            await soon_true(lambda: bool(told), "the next one")
            assert told == [b"y" * MOST_OCTETS]

    asyncio.run(run())


def test_a_bus_says_when_it_is_back(nats: NatsServer) -> None:
    async def run() -> None:
        async with two(lambda: NatsBus(nats.url, "test")) as (first, second):
            back: list[bytes] = []
            told: list[bytes] = []
            second.subscribe(BACK, back.append)
            second.subscribe("t", told.append)
            nats.stop()
            await soon_true(lambda: not (first.carries or second.carries), "both to notice")
            first.publish("t", b"lost")
            nats.start()
            await soon_true(lambda: first.carries and second.carries, "both to be back")
            assert back == [b""]
            first.publish("t", b"kept")
            await soon_true(lambda: bool(told), "the next")
            assert told == [b"kept"]

    asyncio.run(run())


def test_a_bus_without_a_server_lets_the_center_go_on() -> None:
    async def run() -> None:
        bus = NatsBus("nats://127.0.0.1:1", "test")
        await bus.open()
        told: list[bytes] = []
        bus.subscribe("t", told.append)
        bus.hand(3, [1])
        bus.publish("t", b"here")
        assert told == [b"here"]
        assert not bus.carries
        await bus.close()

    asyncio.run(run())
