"""A planted secret is nowhere: not in the database file and its log, histories, exports, log lines, reprs, errors."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from live_store import Database

from restante.access.accounts import Account, AccountModel
from restante.access.credentials import CredentialKind, Credentials, CredentialSettings, UnfitSecret
from restante.access.hashing import HashSettings
from restante.access.key_ring import KeyRing, create_keys
from restante.access.sealing import SealBroken, Sealer, Secrets
from restante.registry.definitions import export_definitions
from restante.registry.edits import Registry
from restante.registry.versioned import InvalidObject, ObjectKind

SMPP = CredentialKind.SMPP_PASSWORD
PASSWORD = "Pl4nt3d!"
OPERATOR = "planted operator passphrase"
SEALED = "planted sealed secret"
WRONG = "W0rngG3s"

ACCOUNT: ObjectKind[AccountModel, Account] = ObjectKind(
    "account",
    "acc",
    AccountModel,
    lambda m: m.system_id,
    lambda s: Account(s.number, s.value, version=s.version),
)


def looked_at(folder: Path) -> list[str]:
    """Every file but the key: the database, its log, its lock."""
    return [path.read_bytes().decode("latin-1") for path in folder.iterdir() if path.name != "key"]


async def refusals(registry: Registry, credentials: Credentials, secrets: Secrets) -> list[str]:
    """Somebody puts a secret where it does not belong: what the errors say."""
    shown: list[str] = []
    for body in ({"system_id": "x", "password": PASSWORD}, {"system_id": PASSWORD + " " + OPERATOR}):
        with pytest.raises(InvalidObject) as invalid:
            await registry.create(ACCOUNT, body, actor="op_1")
        shown += [str(invalid.value), repr(invalid.value), repr(invalid.value.problems)]
    with pytest.raises(UnfitSecret) as unfit:
        await credentials.set_password("acc_1", SMPP, OPERATOR)
    with pytest.raises(SealBroken) as broken:
        Sealer(KeyRing({"0" * 8: bytes(32)})).unseal(secrets._sealer.seal(SEALED, "a", "b"), "a", "b")
    return [*shown, repr(unfit.value), repr(broken.value)]


async def live(database: Database, folder: Path) -> tuple[list[str], str]:
    """Plant the secrets, use them, look everywhere; returns what was seen, and the API key."""
    async with database.store() as store:
        registry = Registry(store)
        registry.register(ACCOUNT)
        await registry.open()
        cheap = CredentialSettings(hashing=HashSettings(memory_kib=7168, time_cost=1))
        credentials = Credentials(store, cheap)
        ring = create_keys(folder / "key")
        secrets = Secrets(store, Sealer(ring))
        hashed = await credentials.hash(PASSWORD)

        def riders(edit: Any) -> Any:
            return credentials.password_writes(edit.after.id, SMPP, hashed)

        edit = await registry.create(ACCOUNT, {"system_id": "shop"}, actor="op_1", writes=riders)
        await credentials.set_password("acc_1", CredentialKind.OPERATOR_PASSWORD, OPERATOR)
        issued = await credentials.issue_api_key("acc_1", label="till")
        await store.apply(writes=secrets.writes("lnk_1", "password", SEALED))
        assert await credentials.verify("acc_1", SMPP, PASSWORD, address="192.0.2.1", name="shop")
        assert not await credentials.verify("acc_1", SMPP, WRONG, address="192.0.2.1", name="shop")
        assert await credentials.verify("acc_1", CredentialKind.OPERATOR_PASSWORD, OPERATOR)
        assert await credentials.verify_api_key(issued.token)
        assert await secrets.get("lnk_1", "password") == SEALED
        shown = await refusals(registry, credentials, secrets)
        shown += [repr(edit), json.dumps(list(edit.diff), default=str)]
        shown += map(repr, (credentials, issued, ring, secrets, vars(credentials)))
        shown.append(json.dumps(await export_definitions(registry)))
        shown.append(repr(await registry.history(ACCOUNT, 1)) + repr(await credentials.of("acc_1")))
        shown += looked_at(folder)  # while it is open, so that the log is there as well
        credentials.close()
        return shown, issued.token


def test_planted_secrets_are_found_nowhere(
    sqlite_copy: Database,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logged:
        shown, token = asyncio.run(live(sqlite_copy, tmp_path))
    shown += [*looked_at(tmp_path), json.dumps(logged, default=str), caplog.text, *capsys.readouterr()]
    everything = "\n".join(shown)
    assert "shop" in everything  # it is looked at the right things
    kid, secret = token.split("_", 2)[1:]
    assert kid in everything
    for planted in (PASSWORD, OPERATOR, SEALED, WRONG, token, secret):
        assert planted not in everything
        assert planted.encode().hex() not in everything
        assert json.dumps(planted)[1:-1] not in everything


def test_rolling_back_an_object_brings_no_old_credential_back(live_database: Database) -> None:
    async def main() -> None:
        async with live_database.store() as store:
            registry = Registry(store)
            registry.register(ACCOUNT)
            await registry.open()
            credentials = Credentials(
                store, CredentialSettings(hashing=HashSettings(memory_kib=7168, time_cost=1))
            )
            await registry.create(ACCOUNT, {"system_id": "shop"}, actor="op_1")
            await credentials.set_password("acc_1", SMPP, "older")
            await credentials.set_password("acc_1", SMPP, "newer")
            await registry.patch(ACCOUNT, 1, {"window": 3}, if_match=1, actor="op_1")
            await registry.rollback(ACCOUNT, 1, 1, if_match=2, actor="op_1")
            assert not await credentials.verify("acc_1", SMPP, "older")
            assert await credentials.verify("acc_1", SMPP, "newer")
            credentials.close()

    asyncio.run(main())
