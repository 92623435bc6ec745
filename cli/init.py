"""`restante init`: a folder with everything a center needs.

In charge of: writing the commented restante.toml, the key file and the operator file, making the database, and the
first operator with the first keys. Not in charge of: what any of it means to a room.

Nothing is replaced: a folder that has one of the files is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .client import OperatorFile
from .output import Failure, Json, Output
from .site import CONFIG_FILE, KEY_FILE, OPERATOR_FILE, Site, site

if TYPE_CHECKING:
    from ..access.audit import Audit
    from ..access.credentials import Credentials
    from ..registry.edits import Registry

__all__ = ["SENDER_ACCOUNT", "First", "init", "prepare"]

SENDER_ACCOUNT = "cli"  #: the account of `restante send`
SENDER_NAME = "@Restante"  #: its only number: the sender when none is given
ADMIN = "admin"
PASSWORD_LENGTH = 20


class First:
    """The first operator and the keys made with it; the repr shows no secret."""

    def __init__(self, password: str, api_key: str, send_key: str) -> None:
        self.name = ADMIN
        self.password = password
        self.api_key = api_key
        self.send_key = send_key

    def __repr__(self) -> str:
        return f"First({self.name})"


def prepare(folder: Path, settings: Mapping[str, object]) -> tuple[Site, First]:
    """Make a center in a folder. `settings` by dotted name stand in its restante.toml. Raises Failure.

    Not for use on a running event loop.
    """
    from ..access.key_ring import create_keys
    from ..config import Config
    from ..store.migrate import upgrade
    from ..store.store import StoreRefused
    from .config_text import template

    config_file = folder / CONFIG_FILE
    for name in (CONFIG_FILE, KEY_FILE, OPERATOR_FILE):
        if (folder / name).exists():
            raise Failure(
                f"{folder / name} exists already; nothing was changed", fix="restante init --dir OTHER"
            )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A database's address may hold a password.
        config_file.touch(mode=0o600)
        config_file.write_text(template(settings, Config), encoding="utf-8")
        place = site(str(config_file), environ={})
        create_keys(place.key_file)
        _make_private(place)
        upgrade(place.config.store.url)
        first = asyncio.run(_first_operator(place))
        facts = {"name": first.name, "password": first.password}
        facts |= {"api_key": first.api_key, "send_key": first.send_key}
        OperatorFile(folder / OPERATOR_FILE).write(facts)
    except OSError as error:
        raise Failure(f"cannot write into {folder}: {error.strerror or error}") from error
    except StoreRefused as error:
        raise Failure(str(error)) from error
    return place, first


def _make_private(place: Site) -> None:
    """The database is made with the mode that secrets have: it holds what people write."""
    for path in place.database_files:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


async def _first_operator(place: Site) -> First:
    """Write the first operator, the account of `restante send`, and a key for each."""
    from ..access.audit import Audit
    from ..access.credentials import Credentials
    from ..access.key_ring import KeyRing
    from ..registry.edits import Registry
    from ..store.connect import connect

    store = connect(place.config.store)
    await store.open()
    credentials = Credentials(store, place.config.credentials)
    try:
        audit = Audit(store, KeyRing.load(place.key_file))
        return await _write_first(Registry(store), credentials, audit)
    finally:
        credentials.close()
        await store.close()


async def _write_first(registry: Registry, credentials: Credentials, audit: Audit) -> First:
    from ..access.accounts import AccountModel
    from ..access.audit import Entry
    from ..access.credentials import CredentialKind
    from ..access.operators import OperatorModel
    from ..access.permissions import OperatorRole
    from ..registry.versioned import ObjectKind

    operators: ObjectKind[Any, Any] = ObjectKind(
        "operator", "op", OperatorModel, lambda one: one.name, lambda stored: stored.value
    )
    accounts: ObjectKind[Any, Any] = ObjectKind(
        "account", "acc", AccountModel, lambda one: one.system_id, lambda stored: stored.value
    )
    registry.register(operators)
    registry.register(accounts)
    await registry.open()
    owners: list[str] = []
    admin: dict[str, Any] = {"name": ADMIN, "role": OperatorRole.ADMIN.value}
    sender: dict[str, Any] = {"system_id": SENDER_ACCOUNT, "description": "what `restante send` sends as"}
    sender |= {"numbers": [SENDER_NAME], "sources": ["*"]}
    for kind, body in ((operators, admin), (accounts, sender)):
        async with audit.entry(Entry("init", f"{kind.name}.create", reason="restante init")) as seal:
            edit = await registry.create(
                kind,
                body,
                actor="init",
                reason="restante init",
                writes=lambda made, seal=seal: seal(made.after.id if made.after else ""),
            )
        assert edit.after is not None
        owners.append(edit.after.id)
    password = credentials.new_password(PASSWORD_LENGTH)
    await credentials.set_password(owners[0], CredentialKind.OPERATOR_PASSWORD, password)
    keys: list[str] = []
    for owner in owners:
        async with audit.entry(Entry("init", "api-key.create", owner, "restante init")) as seal:
            made = await credentials.issue_api_key(owner, label="command line", writes=seal())
        keys.append(made.token)
    return First(password, *keys)


def init(
    directory: Path = typer.Option(
        ..., "--dir", "-d", help="Folder of the new center; made if it is not there."
    ),
    smpp_port: int | None = typer.Option(None, "--smpp-port", min=0, max=65535, help="Default: 2775."),
    http_port: int | None = typer.Option(None, "--http-port", min=0, max=65535, help="Default: 8775."),
    ops_port: int | None = typer.Option(None, "--ops-port", min=0, max=65535, help="Default: 9775."),
    database: str | None = typer.Option(
        None, "--database", help="postgresql://…; default: SQLite in the folder."
    ),
    as_json: Json = False,
) -> None:
    """Make a new center: restante.toml, key file, database, and a first operator."""
    with Output(as_json) as out:
        given = {"smpp.port": smpp_port, "http.port": http_port, "ops.port": ops_port, "store.url": database}
        place, first = prepare(directory, {name: value for name, value in given.items() if value is not None})
        config_file = place.folder / CONFIG_FILE
        if as_json:
            out.document(
                {
                    "folder": str(place.folder),
                    "config": str(config_file),
                    "key_file": str(place.key_file),
                    "operator_file": str(place.folder / OPERATOR_FILE),
                    "operator": first.name,
                    "password": first.password,
                }
            )
        out.facts(
            {
                "configuration": config_file,
                "key": f"{place.key_file} (back it up apart from the database)",
                "operator": f"{first.name}, password {first.password}",
                "command line": f"{place.folder / OPERATOR_FILE} (mode 600; keep it like a key)",
            }
        )
        out.line()
        out.line(f"next:  restante serve --config {config_file}")
