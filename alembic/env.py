"""What alembic runs: every room's tables on one metadata, and the connection that the caller opened.

In charge of: gathering the rooms' tables, and of what alembic should not look at when it compares (partitions). Not in
charge of: opening databases and locking them (`store/migrate.py`), which hands over its connection.
"""

from __future__ import annotations

import re
from importlib import import_module, util
from typing import Any

from sqlalchemy import Connection, MetaData

from alembic import context

#: Modules that declare tables on the store's metadata.
ROOMS = (
    "restante.store.tables",
    "restante.smsc.tables",
    "restante.smsc.node_tables",
    "restante.smsc.link_tables",
    "restante.smsc.flag_tables",
    "restante.registry.tables",
    "restante.access.tables",
    "restante.access.door_tables",
    "restante.access.subscriber_tables",
    "restante.mailbox.tables",
    "restante.zones.tables",
    "restante.antispoof.tables",
    "restante.api.tables",
)

PARTITION = re.compile(r"(message|body|event)_(default|\d{8})(_.*)?")


def gather() -> MetaData:
    """Import what declares tables; the metadata that they all join."""
    for name in ROOMS:
        if util.find_spec(name) is not None:
            import_module(name)
    return import_module(ROOMS[0]).metadata


def is_declared(item: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
    """Leave PostgreSQL's partitions out of comparisons: housekeeping makes and drops them."""
    return not (kind in ("table", "index") and reflected and PARTITION.fullmatch(name or ""))


def run() -> None:
    """Run on the connection that `store/migrate.py` hands over."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        raise SystemExit("run migrations with `restante db upgrade`; alembic alone has no connection here")
    metadata = gather()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=is_declared,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
