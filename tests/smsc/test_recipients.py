"""What is known of recipients that could not be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from memory_store import SILENT, MemoryStore

from restante.outlet import ErrorClass as C
from restante.outlet import Write
from restante.smsc import recipients as module
from restante.smsc.recipients import Recipients, Silence


def with_store(test: Callable[[MemoryStore, Recipients], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.open()
        recipients = Recipients(store)
        await recipients.open()
        await test(store, recipients)
        await store.close()

    asyncio.run(main())


async def write(store: MemoryStore, writes: Sequence[Write]) -> None:
    if writes:
        await store.apply(writes=writes)


def test_silence_begins_with_the_first_failure_and_ends_with_success():
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        for at in (100, 200):
            await write(
                store,
                recipients.failed("+44", C.ABSENT, at=at, next_try=at + 50, outlet="switch:a", handset=True),
            )
        (row,) = store.rows(SILENT)
        assert (row["number"], row["since"], row["next_try"], row["failures"], row["cause"]) == (
            "+44", 100, 250, 2, "absent",
        )  # fmt: skip
        assert row["alert_wanted"] == 1
        assert recipients.is_silent("+44")
        assert recipients.held_until("+44") == 250
        await write(store, recipients.reached("+44", retried=True))
        assert store.rows(SILENT) == []
        assert not recipients.is_silent("+44")
        assert recipients.held_until("+44") == 0

    with_store(test)


def test_a_success_out_of_the_blue_costs_no_write():
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        assert recipients.reached("+44", retried=False) == ()
        assert len(recipients.reached("+44", retried=True)) == 1, "an earlier life may have left a row"

    with_store(test)


@pytest.mark.parametrize("error", list(C))
def test_what_is_remembered_of_whom(error):
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        passes = error in (C.ABSENT, C.BUSY, C.MEMORY_FULL)
        esme = recipients.failed("12345", error, at=1, next_try=9, outlet="o", handset=False)
        phone = recipients.failed("+44", error, at=1, next_try=9, outlet="o", handset=True)
        boxed = recipients.failed("+45", error, at=1, next_try=0, outlet="o", handset=True)
        assert (bool(esme), bool(phone), bool(boxed)) == (passes, True, passes)

    with_store(test)


def test_a_new_life_knows_who_is_silent_and_until_when():
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        await write(
            store, recipients.failed("+44", C.SYSTEM, at=1, next_try=77, outlet="switch:a", handset=True)
        )
        again = Recipients(store)
        await again.open()
        assert again.held_until("+44") == 77
        again.woken("+44")
        assert again.held_until("+44") == 0
        assert again.is_silent("+44"), "seen is not reached"
        silence = again.silence("+44")
        assert silence
        assert silence.failures == 1

    with_store(test)


def test_who_waits_behind_an_outlet_longest_silence_first():
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        for number, at, outlet in (("a", 3, "one"), ("b", 1, "one"), ("c", 2, "two")):
            await write(
                store, recipients.failed(number, C.ABSENT, at=at, next_try=9, outlet=outlet, handset=True)
            )
        assert await recipients.behind("one", until=9) == [(1, "b"), (3, "a")]
        assert await recipients.behind("one", until=9, after=(1, "b")) == [(3, "a")]
        assert await recipients.behind("one", until=2) == [(1, "b")]
        assert await recipients.behind("three", until=9) == []

    with_store(test)


def test_memory_is_bounded_and_then_the_table_is_asked(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)

    async def test(store: MemoryStore, recipients: Recipients) -> None:
        for number in "abcd":
            await write(
                store, recipients.failed(number, C.ABSENT, at=1, next_try=9, outlet="o", handset=True)
            )
        assert not recipients.is_silent("a")
        assert len(recipients.reached("a", retried=False)) == 1
        await write(store, recipients.reached("a", retried=False))
        assert [row["number"] for row in store.rows(SILENT)] == ["b", "c", "d"]

    with_store(test)


def test_who_was_woken_here_is_not_held_back_at_another_node():
    async def test(store: MemoryStore, recipients: Recipients) -> None:
        await write(
            store, recipients.failed("+44", C.SYSTEM, at=100, next_try=900, outlet="switch", handset=True)
        )
        assert recipients.clock_stopped("+44") == (), "its clock runs"
        recipients.woken("+44")
        (stopped,) = recipients.clock_stopped("+44")
        assert stopped.params == {"woken": "+44"}
        there = Recipients(store)
        there.failed("+44", C.SYSTEM, at=50, next_try=800, outlet="switch", handset=True)
        there.failed("+44", C.SYSTEM, at=60, next_try=800, outlet="switch", handset=True)
        there.learn("+44", Silence("system", 100, 0, 1, "switch"))
        assert there.held_until("+44") == 0
        assert there.is_silent("+44")

    with_store(test)
