"""API keys, and what passwords and keys have in common: use is noted, what is not stored is said."""

from __future__ import annotations

import pytest
from credential_center import SMPP, Center, run
from live_store import START_MS, Database
from sqlalchemy import Text, bindparam, delete
from waiting import soon

from restante.access import tables
from restante.access.credentials import (
    ApiKey,
    CredentialsNotWritten,
)
from restante.outlet import Write
from restante.store.statement import Sql


def test_api_keys_are_shown_once_and_verified_by_their_digest(live_database: Database) -> None:
    async def test(center: Center) -> None:
        credentials = center.credentials
        issued = await credentials.issue_api_key("acc_1", scopes=["messages.send"], label="till")
        sk, kid, secret = issued.token.split("_", 2)
        assert (sk, len(kid), len(secret)) == ("sk", 10, 43)
        assert issued.token not in repr(issued)
        assert secret not in repr(issued)
        key = await credentials.verify_api_key(issued.token)
        assert isinstance(key, ApiKey)
        assert (key.owner, key.scopes, key.label, key.id) == (
            "acc_1",
            {"messages.send"},
            "till",
            "key_" + kid,
        )
        wrong = [
            "",
            "sk",
            "sk__",
            f"sk_{kid}_",
            f"sk_{kid}_{secret[:-1]}",
            f"sk_{kid}_{secret}x",
            f"pk_{kid}_{secret}",
        ]
        wrong += [
            f"sk_{'x' * 10}_{secret}",
            issued.token.swapcase(),
            issued.token + "\ud800",
            "sk_" + "x" * 100_000,
        ]
        for token in wrong:
            assert await credentials.verify_api_key(token) is None
        assert await credentials.revoke(key.id)
        assert not await credentials.revoke(key.id)
        assert await credentials.verify_api_key(issued.token) is None

    run(live_database, test)


def test_api_keys_end_and_stay_in_their_networks(live_database: Database) -> None:
    async def test(center: Center) -> None:
        credentials = center.credentials
        issued = await credentials.issue_api_key(
            "acc_1", networks=["192.0.2.0/24", "2001:db8::/32"], expires_at=START_MS + 10_000
        )
        for good in "192.0.2.9", "::ffff:192.0.2.9", "2001:db8::5":
            assert await credentials.verify_api_key(issued.token, address=good), good
        for bad in "192.0.3.9", "", "unknown":
            assert await credentials.verify_api_key(issued.token, address=bad) is None, bad
        center.clock.step(10)
        assert await credentials.verify_api_key(issued.token, address="192.0.2.9") is None
        with pytest.raises(ValueError):
            await credentials.issue_api_key("acc_1", networks=["nowhere"])

    run(live_database, test)


def test_two_api_keys_live_during_rotation(live_database: Database) -> None:
    async def test(center: Center) -> None:
        credentials = center.credentials
        first = await credentials.issue_api_key(
            "acc_1", scopes=["a"], networks=["192.0.2.0/24"], label="till"
        )
        assert await credentials.verify_api_key(first.token, address="192.0.2.1")
        second = await credentials.rotate_api_key(first.key.id, overlap_s=60)
        assert second is not None
        for token in first.token, second.token:
            key = await credentials.verify_api_key(token, address="192.0.2.1")
            assert key is not None
            assert (key.scopes, key.label, key.networks) == ({"a"}, "till", ("192.0.2.0/24",))
        center.clock.step(61)
        center.ticks.now += 2
        assert await credentials.verify_api_key(first.token, address="192.0.2.1") is None
        assert await credentials.verify_api_key(second.token, address="192.0.2.1")
        assert await credentials.rotate_api_key("key_none") is None
        await credentials.set_password("acc_1", SMPP, "secret")
        password = next(one for one in await credentials.of("acc_1") if one.kind == SMPP)
        assert await credentials.rotate_api_key(password.id) is None

    run(live_database, test)


def test_a_key_revoked_elsewhere_dies_within_its_second(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        issued = await center.credentials.issue_api_key("acc_1")
        assert await center.credentials.verify_api_key(issued.token)
        gone = Sql(
            "test: revoked by another node",
            delete(tables.credential).where(tables.credential.c.id == bindparam("which", type_=Text)),
        )
        await center.store.apply(writes=[Write(gone, {"which": issued.key.id})])
        center.ticks.now += 1.01
        assert await center.credentials.verify_api_key(issued.token) is None

    run(sqlite_copy, test)


def test_use_is_noted_once_a_minute(live_database: Database) -> None:
    async def test(center: Center) -> None:
        credentials = center.credentials
        await credentials.set_password("acc_1", SMPP, "secret")
        issued = await credentials.issue_api_key("acc_1")
        center.clock.step(5)
        assert await credentials.verify("acc_1", SMPP, "secret")
        assert await credentials.verify_api_key(issued.token)

        async def noted() -> bool:
            return {one.last_used_at for one in await credentials.of("acc_1")} == {START_MS + 5000}

        await soon(noted)
        center.clock.step(30)
        center.ticks.now += 30
        assert await credentials.verify_api_key(issued.token)
        await center.store.apply(
            writes=credentials.forget_writes("acc_9")
        )  # whatever was put before is there now
        assert await noted()
        center.clock.step(31)
        center.ticks.now += 31
        assert await credentials.verify_api_key(issued.token)

        async def noted_again() -> bool:
            found = await credentials.get(issued.key.id)
            return found is not None and found.last_used_at == START_MS + 66_000

        await soon(noted_again)

    run(live_database, test)


def test_a_change_that_is_not_stored_says_so(sqlite_copy: Database) -> None:
    async def test(center: Center) -> None:
        clash = Write(tables.EXPIRE_CREDENTIAL, {"of_id": "key_none", "until": 1}, expect=1)
        with pytest.raises(CredentialsNotWritten):
            await center.credentials.set_password("acc_1", SMPP, "secret", writes=[clash])
        assert not await center.credentials.verify("acc_1", SMPP, "secret")
        with pytest.raises(CredentialsNotWritten):
            await center.credentials.issue_api_key("acc_1", writes=[clash])
        assert await center.credentials.of("acc_1") == []

    run(sqlite_copy, test)
