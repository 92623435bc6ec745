"""Passwords: right ones enter, wrong ones cost the same as none, and nobody is slowed down."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from credential_center import CHEAP, FAST, SMPP, Center, CountingHashing, argon2, run
from live_store import Database
from waiting import soon

from restante.access import tables
from restante.access.attempts import AttemptSettings
from restante.access.credentials import (
    CredentialKind,
    Credentials,
    CredentialSettings,
    UnfitSecret,
)
from restante.access.hashing import Hashing, HashSettings

__all__ = ["argon2"]


def test_the_right_password_of_the_right_owner_enters(live_database: Database) -> None:
    async def test(center: Center) -> None:
        verify = center.credentials.verify
        await center.credentials.set_password("acc_1", SMPP, "secret")
        await center.credentials.set_password("acc_2", SMPP, "other")
        assert await verify("acc_1", SMPP, "secret")
        assert await verify("acc_1", SMPP, "secret")
        assert not await verify("acc_1", SMPP, "Secret")
        assert not await verify("acc_1", SMPP, "other")
        assert not await verify("acc_1", SMPP, "")
        assert not await verify("acc_1", SMPP, "x" * 10_000)
        assert not await verify("acc_1", SMPP, "\ud800")
        assert not await verify("acc_1", CredentialKind.OPERATOR_PASSWORD, "secret")
        assert not await verify("acc_3", SMPP, "secret")
        assert not await verify("", SMPP, "secret", name="nobody")

    run(live_database, test)


def test_a_known_password_costs_no_second_calculation(sqlite_copy: Database, argon2: CountingHashing) -> None:
    async def test(center: Center) -> None:
        await center.credentials.set_password("acc_1", SMPP, "secret")
        for _ in range(20):
            assert await center.credentials.verify("acc_1", SMPP, "secret", address="192.0.2.1", name="shop")
        assert argon2.count == 1
        assert not await center.credentials.verify("acc_1", SMPP, "wrong", address="192.0.2.1", name="shop")
        assert argon2.count == 2

    run(sqlite_copy, test)


def test_an_unknown_name_costs_what_a_wrong_password_costs(
    sqlite_copy: Database, argon2: CountingHashing
) -> None:
    async def test(center: Center) -> None:
        await center.credentials.set_password("acc_1", SMPP, "secret")
        for owner, name in (("acc_1", "shop"), ("", "nobody"), ("acc_9", "no-password")):
            before = argon2.count
            assert not await center.credentials.verify(owner, SMPP, "wrong", address="192.0.2.1", name=name)
            assert argon2.count == before + 1

    run(sqlite_copy, test)


def test_a_changed_password_counts_at_once_on_every_node(live_database: Database) -> None:
    async def test(center: Center) -> None:
        elsewhere = Credentials(center.store, FAST)  # another node's memory
        await center.credentials.set_password("acc_1", SMPP, "first")
        for node in center.credentials, elsewhere:
            assert await node.verify("acc_1", SMPP, "first")
        await center.credentials.set_password("acc_1", SMPP, "second")
        for node in center.credentials, elsewhere:
            assert not await node.verify("acc_1", SMPP, "first")
            assert await node.verify("acc_1", SMPP, "second")
        await center.store.apply(writes=center.credentials.forget_writes("acc_1"))
        assert not await elsewhere.verify("acc_1", SMPP, "second")
        elsewhere.close()

    run(live_database, test)


def test_rotation_lets_the_previous_password_live_for_a_while(live_database: Database) -> None:
    async def test(center: Center) -> None:
        credentials = center.credentials
        await credentials.set_password("acc_1", SMPP, "first")
        assert await credentials.verify("acc_1", SMPP, "first")
        await credentials.set_password("acc_1", SMPP, "second", keep_previous_s=60)
        assert await credentials.verify("acc_1", SMPP, "first")
        assert await credentials.verify("acc_1", SMPP, "second")
        await credentials.set_password("acc_1", SMPP, "third", keep_previous_s=60)
        assert not await credentials.verify("acc_1", SMPP, "first")  # two at most
        assert await credentials.verify("acc_1", SMPP, "second")
        center.clock.step(61)
        assert not await credentials.verify("acc_1", SMPP, "second")
        assert await credentials.verify("acc_1", SMPP, "third")
        assert await credentials.sweep() == 1
        assert [one.kind for one in await credentials.of("acc_1")] == [SMPP]

    run(live_database, test)


def test_a_password_rides_in_the_change_that_creates_its_owner(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        hashed = await center.credentials.hash("secret")
        await center.store.apply(writes=center.credentials.password_writes("acc_7", SMPP, hashed))
        assert await center.credentials.verify("acc_7", SMPP, "secret")

    run(sqlite_copy, test)


def test_passwords_that_cannot_be_set(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        for bad in ("", "x" * 9, "pässword", "a\0b", "a\nb"):
            with pytest.raises(UnfitSecret) as caught:
                await center.credentials.set_password("acc_1", SMPP, bad)
            assert not bad or bad not in str(caught.value)
        with pytest.raises(UnfitSecret):
            center.credentials.check_fitness(CredentialKind.OPERATOR_PASSWORD, "x" * 129)
        center.credentials.check_fitness(CredentialKind.OPERATOR_PASSWORD, "pässwörter sind länger")
        made = {center.credentials.new_password() for _ in range(100)}
        assert len(made) == 100
        for password in made:
            center.credentials.check_fitness(SMPP, password)
            assert len(password) == 8

    run(sqlite_copy, test)


def test_guessing_is_slow_and_hurts_nobody_else(sqlite_copy: Database, argon2: CountingHashing) -> None:
    async def test(center: Center) -> None:
        verify = center.credentials.verify
        await center.credentials.set_password("acc_1", SMPP, "secret")
        for n in range(12):
            assert not await verify("acc_1", SMPP, f"guess{n}", address="203.0.113.5", name="shop")
        assert center.ticks.slept >= 1 + 2 + 4 + 8 + 16
        slept = center.ticks.slept
        assert await verify("acc_1", SMPP, "secret", address="192.0.2.1", name="shop")
        assert center.ticks.slept == slept
        # A flood from the bad address is refused without any calculation, right password or wrong.
        before = argon2.count
        center.ticks.frozen = True
        flood = [verify("acc_1", SMPP, f"flood{n}", address="203.0.113.5", name="shop") for n in range(200)]
        assert not any(await asyncio.gather(*flood))
        assert argon2.count - before < 10

    settings = FAST.model_copy(update={"attempts": AttemptSettings(free_failures=5)})
    run(sqlite_copy, test, settings)


def test_a_right_password_is_not_an_oracle_past_the_delay(sqlite_copy: Database) -> None:
    """Somebody who is being slowed down learns nothing faster by hitting what is remembered."""

    async def test(center: Center) -> None:
        verify = center.credentials.verify
        await center.credentials.set_password("acc_1", SMPP, "secret")
        assert await verify("acc_1", SMPP, "secret", address="192.0.2.1", name="shop")
        for n in range(8):
            await verify("acc_1", SMPP, f"guess{n}", address="203.0.113.5", name="shop")
        slept = center.ticks.slept
        assert await verify("acc_1", SMPP, "secret", address="203.0.113.5", name="shop")
        assert center.ticks.slept > slept

    run(sqlite_copy, test)


def test_a_thousand_binds_with_few_calculations(sqlite_copy: Database, argon2: CountingHashing) -> None:
    """Fifty accounts with twenty binds each come back at once from one address: nobody waits for a turn."""

    async def test(center: Center) -> None:
        for n in range(50):
            await center.credentials.set_password(f"acc_{n}", SMPP, f"pass{n}")
        argon2.count = 0
        binds = [
            center.credentials.verify(f"acc_{n}", SMPP, f"pass{n}", address="192.0.2.1", name=f"esme{n}")
            for _ in range(20)
            for n in range(50)
        ]
        started = time.monotonic()
        assert all(await asyncio.gather(*binds))
        assert argon2.count == 50
        again = [
            center.credentials.verify(
                f"acc_{n % 50}", SMPP, f"pass{n % 50}", address="192.0.2.1", name=f"esme{n % 50}"
            )
            for n in range(1000)
        ]
        assert all(await asyncio.gather(*again))
        assert argon2.count == 50
        assert center.ticks.slept == 0
        assert time.monotonic() - started < 50  # the target is 10 s; the cap is for loaded machines

    run(sqlite_copy, test)


def test_a_flood_of_names_is_cut_off_and_known_names_are_not(
    sqlite_copy: Database, argon2: CountingHashing
) -> None:
    async def test(center: Center) -> None:
        verify = center.credentials.verify
        await center.credentials.set_password("acc_1", SMPP, "secret")
        await center.credentials.set_password("acc_2", SMPP, "secret")
        assert await verify("acc_1", SMPP, "secret", address="203.0.113.5", name="known")
        flood = [verify("", SMPP, "wrong", address="203.0.113.5", name=f"name{n}") for n in range(100)]
        assert not any(await asyncio.gather(*flood))
        assert argon2.count <= 1 + 10 + CHEAP.per_address  # however many began at once
        assert not await verify("acc_2", SMPP, "secret", address="203.0.113.5", name="new")
        assert await verify("acc_1", SMPP, "secret", address="203.0.113.5", name="known")
        assert await verify("acc_2", SMPP, "secret", address="192.0.2.1", name="new")

    settings = FAST.model_copy(update={"attempts": AttemptSettings(address_failures=10)})
    run(sqlite_copy, test, settings)


def test_more_accounts_than_an_address_may_fail_all_come_back(sqlite_copy: Database) -> None:
    """Tries under way are no failures."""

    async def test(center: Center) -> None:
        hashed = await center.credentials.hash("secret")
        rows = [center.credentials.password_writes(f"acc_{n}", SMPP, hashed) for n in range(60)]
        await center.store.apply(writes=[write for writes in rows for write in writes])
        binds = [
            center.credentials.verify(f"acc_{n}", SMPP, "secret", address="192.0.2.1", name=f"e{n}")
            for n in range(60)
        ]
        assert all(await asyncio.gather(*binds))

    settings = FAST.model_copy(update={"attempts": AttemptSettings(address_failures=20)})
    run(sqlite_copy, test, settings)


def test_one_that_goes_away_does_not_take_the_others_with_it(
    sqlite_copy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    matches = Hashing._matches

    def held(hashing: Hashing, hashed: str, secret: str) -> bool:
        assert gate.wait(30)
        return matches(hashing, hashed, secret)

    monkeypatch.setattr(Hashing, "_matches", held)

    async def test(center: Center) -> None:
        await center.credentials.set_password("acc_1", SMPP, "secret")
        waiting = [asyncio.create_task(center.credentials.verify("acc_1", SMPP, "secret")) for _ in range(3)]

        async def under_way() -> bool:
            return bool(center.credentials._flights)

        await soon(under_way)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [True, True]
        assert not center.credentials._flights

    run(sqlite_copy, test)


def test_hashes_of_another_cost_are_renewed_at_the_next_success(live_database: Database) -> None:
    async def test(center: Center) -> None:
        old = Credentials(
            center.store, CredentialSettings(hashing=HashSettings(memory_kib=8192, time_cost=1))
        )
        await old.set_password("acc_1", SMPP, "secret")
        old.close()

        async def cost() -> str:
            rows = await center.store.fetch(tables.GET_OWNED, owner="acc_1")
            return rows[0]["hash"].split("$")[3]

        assert await cost() == "m=8192,t=1,p=1"
        assert await center.credentials.verify("acc_1", SMPP, "secret")
        assert await cost() == "m=7168,t=1,p=1"
        assert await center.credentials.verify("acc_1", SMPP, "secret")

    run(live_database, test)


def test_what_one_address_has_under_way_is_bounded(
    monkeypatch: pytest.MonkeyPatch, sqlite_copy: Database
) -> None:
    running = 0
    most = 0
    real = Hashing.find

    async def test(center: Center) -> None:
        hashing = center.credentials._hashing

        loop = asyncio.get_running_loop()
        original = loop.run_in_executor

        def counted(pool: Any, function: Any, *arguments: Any) -> Any:
            nonlocal running, most
            if pool is not hashing._pool:  # the store's heartbeat, on a machine that takes its time
                return original(pool, function, *arguments)
            running += 1
            most = max(most, running)
            future = original(pool, function, *arguments)

            def ended(_: object) -> None:
                nonlocal running
                running -= 1

            future.add_done_callback(ended)
            return future

        monkeypatch.setattr(loop, "run_in_executor", counted)
        await asyncio.gather(*(real(hashing, [], f"x{n}", "192.0.2.1") for n in range(40)))
        assert most == 3
        assert not hashing._places

    run(sqlite_copy, test, CredentialSettings(hashing=CHEAP.model_copy(update={"per_address": 3})))
