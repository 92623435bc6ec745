"""Sessions: tokens that cannot be made, used at another door, or used twice."""

from __future__ import annotations

import asyncio

import pytest
from live_store import Database, StepClock

from restante.access.key_ring import KeyRing
from restante.access.sessions import FRESH_S, Client, Sessions, SessionSettings

RING = KeyRing({"00000000": bytes(range(32))})


class Hand:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def open_one(sessions: Sessions, client: Client = Client.API, owner: str = "sub_7"):
    return await sessions.open(owner, client, "one-time-code", peer="192.0.2.1", agent="x" * 500)


def test_a_token_is_good_for_its_kind_and_its_time(live_database: Database) -> None:
    async def run() -> None:
        clock = StepClock()
        async with live_database.store(clock) as store:
            sessions = Sessions(store, RING)
            api, web = await open_one(sessions), await open_one(sessions, Client.WEB)
            found = await sessions.check(api.token, Client.API)
            assert found is not None
            assert (found.owner, found.peer, len(found.agent)) == ("sub_7", "192.0.2.1", 200)
            assert await sessions.check(web.token, Client.WEB) is not None
            assert await sessions.check(api.token, Client.WEB) is None
            assert await sessions.check(web.token, Client.API) is None
            assert await sessions.check(api.refresh_token, Client.API) is None
            clock.step(601)
            assert await sessions.check(api.token, Client.API) is None
            assert await sessions.check(web.token, Client.WEB) is not None
            clock.step(31 * 86_400)
            assert await sessions.check(web.token, Client.WEB) is None

    asyncio.run(run())


@pytest.mark.parametrize("place", range(5))
def test_a_token_with_one_part_changed_is_nobodys(sqlite_copy: Database, place: int) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            sessions = Sessions(store, RING)
            token = (await open_one(sessions)).token
            parts = token.split("_", 4)
            other = {"1": "2", "a": "b"}.get(parts[place][-1], "1")
            parts[place] = parts[place][:-1] + other
            assert await sessions.check("_".join(parts), Client.API) is None
            assert await Sessions(store, KeyRing({"11111111": bytes(32)})).check(token, Client.API) is None
            for garbage in ("", "rsa", "rsa____", "rsa_a_b_c_d", "rsa_a_1_٣_x", "x" * 5000):
                assert await sessions.check(garbage, Client.API) is None

    asyncio.run(run())


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_session(live_database: Database) -> None:
    async def run() -> None:
        async with live_database.store() as store:
            sessions = Sessions(store, RING)
            first = await open_one(sessions)
            second = await sessions.renew(first.refresh_token)
            assert second is not None
            third = await sessions.renew(second.refresh_token)
            assert third is not None
            assert await sessions.check(third.token, Client.API) is not None
            assert await sessions.renew(first.refresh_token) is None  # a copy
            assert await sessions.check(third.token, Client.API) is None
            assert await sessions.renew(third.refresh_token) is None

    asyncio.run(run())


def test_of_two_who_renew_at_once_none_keeps_the_session(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            sessions = Sessions(store, RING)
            token = (await open_one(sessions)).refresh_token
            answers = await asyncio.gather(*(sessions.renew(token) for _ in range(5)))
            assert sum(answer is not None for answer in answers) <= 1
            assert await sessions.of("sub_7") == []

    asyncio.run(run())


def test_revoking_reaches_another_process_within_its_memory(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            hand = Hand()
            here, there = Sessions(store, RING), Sessions(store, RING, monotonic=hand)
            tokens = await open_one(here)
            assert await there.check(tokens.token, Client.API) is not None
            assert await here.revoke(tokens.session.id, "sub_7", "logout")
            assert not await here.revoke(tokens.session.id, "sub_7", "logout")
            assert await here.check(tokens.token, Client.API) is None
            hand.now += FRESH_S + 0.1
            assert await there.check(tokens.token, Client.API) is None

    asyncio.run(run())


def test_streams_hear_of_revocations_by_other_processes(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            here, there = Sessions(store, RING), Sessions(store, RING)
            one, other = await open_one(here), await open_one(here, owner="sub_8")
            with there.watch(one.session.id) as ended, there.watch(other.session.id) as stays:
                await there.poll(since=0)
                assert not ended.is_set()
                await here.revoke_all("sub_7", "operator")
                await there.poll(since=0)
                assert ended.is_set()
                assert not stays.is_set()

    asyncio.run(run())


def test_nobody_ends_anothers_session(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            sessions = Sessions(store, RING)
            tokens = await open_one(sessions)
            assert not await sessions.revoke(tokens.session.id, "sub_8", "logout")
            await sessions.revoke_all("sub_8", "logout")
            assert await sessions.check(tokens.token, Client.API) is not None

    asyncio.run(run())


def test_others_end_and_this_one_stays(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            sessions = Sessions(store, RING)
            mine, others = await open_one(sessions), [await open_one(sessions) for _ in range(3)]
            await sessions.revoke_all("sub_7", "owner", but=mine.session.id)
            assert [one.id for one in await sessions.of("sub_7")] == [mine.session.id]
            assert await sessions.check(others[0].token, Client.API) is None

    asyncio.run(run())


def test_an_idle_operator_is_signed_out_and_a_busy_one_is_not(sqlite_copy: Database) -> None:
    async def run() -> None:
        clock, hand = StepClock(), Hand()
        async with sqlite_copy.store(clock) as store:
            sessions = Sessions(store, RING, SessionSettings(operator_idle_s=600), monotonic=hand)
            busy = await open_one(sessions, Client.WEB, "op_1")
            idle = await open_one(sessions, Client.WEB, "op_2")
            for _ in range(4):
                clock.step(400)
                hand.now += 10
                assert await sessions.check(busy.token, Client.WEB) is not None
            assert await sessions.check(idle.token, Client.WEB) is None

    asyncio.run(run())


def test_no_token_stands_in_the_database(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with sqlite_copy.store() as store:
            tokens = await open_one(Sessions(store, RING))
            secret = tokens.token.rpartition("_")[2]
        files = sqlite_copy.path.parent.glob(sqlite_copy.path.name + "*")
        assert all(secret.encode() not in path.read_bytes() for path in files)

    asyncio.run(run())
