"""What a command may ask a database while a center may be serving it.

In charge of: whether there is a database, and whether it holds published passwords. Not in charge of: reading it
(`store/inspection.py`), which takes no lease, no epoch and no lock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .site import Site

__all__ = ["exists", "published_accounts"]


def exists(place: Site) -> bool:
    """Whether there is anything to ask: PostgreSQL always, SQLite when its file has tables."""
    return all(path.exists() and path.stat().st_size > 0 for path in place.database_files)


def published_accounts(place: Site) -> list[str]:
    """Accounts that can be bound with a password from the demo's plan; [] if the database is not there yet.

    Not for use on a running event loop.
    """
    from ..access import tables as credential_tables
    from ..access.credentials import CredentialKind
    from ..registry import tables as registry_tables
    from ..simulator import plan
    from ..store.inspection import rows
    from ..store.migrate import current

    url, published = place.config.store.url, plan.DEMO.published
    if not exists(place) or current(url) is None:
        return []
    owners: dict[str, str] = {}
    for row in rows(url, registry_tables.GET_CHANGED, revision=-1):
        if row["kind"] == "account" and not row["deleted"]:
            system_id = json.loads(row["body"])["system_id"]
            if system_id in published:
                owners[system_id] = f"acc_{row['number']}"
    hashes: dict[str, list[str]] = {}
    for system_id, owner in owners.items():
        found = rows(
            url,
            credential_tables.GET_LIVING,
            owner=owner,
            kind=CredentialKind.SMPP_PASSWORD.value,
            now=int(time.time() * 1000),
        )
        hashes[system_id] = [row["hash"] for row in found]
    return asyncio.run(_matching(place, hashes)) if any(hashes.values()) else []


async def _matching(place: Site, hashes: Mapping[str, list[str]]) -> list[str]:
    import secrets

    from ..access.hashing import Hashing
    from ..simulator.plan import DEMO

    hashing = Hashing(place.config.credentials.hashing, secrets.token_bytes)
    try:
        return [
            system_id
            for system_id, found in sorted(hashes.items())
            if found and await hashing.find(found, DEMO.published[system_id], "") is not None
        ]
    finally:
        hashing.close()
