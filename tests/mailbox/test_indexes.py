"""The statements that clients repeat find their rows by an index, and none of them sorts."""

from __future__ import annotations

import sqlite3

import pytest

from restante.mailbox import deposit_statements, statements
from restante.store.statement import SQLITE, Query

FOLDER = statements.listing(folder=True, unread=False, starred=False, kind=False, sender=False, peer=False)
UNREAD = statements.listing(folder=True, unread=True, starred=False, kind=False, sender=False, peer=False)

EXPECTED = {
    FOLDER: "ix_mailbox_item_folder",
    UNREAD: "ix_mailbox_item_folder",
    statements.SUMMARY: "ix_mailbox_item_folder",
    statements.ITEMS: "PRIMARY KEY",
    statements.PARTS: "ix_mailbox_item_leader",
    statements.CHANGED: "ix_mailbox_item_modseq",
    statements.GONE: "PRIMARY KEY",
    statements.OVERDUE: "ix_mailbox_item_expires_at",
    statements.BINNED: "ix_mailbox_item_binned_at",
    statements.OLD: "PRIMARY KEY",
    statements.CHOOSY: "ix_mailbox_choosy",
    deposit_statements.TARGETS: "PRIMARY KEY",
    deposit_statements.KNOWN: "PRIMARY KEY",
}


@pytest.mark.parametrize("query", EXPECTED, ids=lambda query: query.name)
def test_the_plan_is_a_search_in_the_right_order(sqlite_url: str, query: Query):
    compiled = query.compiled(SQLITE)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as database:
        arguments = [compiled.constants.get(name, 1) for name in compiled.names]
        plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + compiled.text, arguments)]
    assert any(EXPECTED[query] in step for step in plan), plan
    assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in plan), plan
