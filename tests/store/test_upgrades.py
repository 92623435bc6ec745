"""Databases of every revision, filled, come to the newest one without losing a row, and the center works on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from old_database import bring_to, fill, gathered, read_all, released, revisions
from running_center import RunningCenter
from schema_picture import declared, picture
from smpplib_esme import esme
from waiting import eventually

from restante.store import migrate
from restante.store.tables import SLOT_SHIFT

#: The last revision of each program that was released.
RELEASES = ("0005",)
#: The revision that brought `message.slot`.
SLOTS = "0011"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.sqlite"
    return str(request.getfixturevalue("pg_database"))


def in_words(row: dict[str, Any], columns: list[str]) -> list[str]:
    return [repr(row[column]) for column in columns]


@pytest.mark.parametrize("revision", revisions()[:-1])
def test_an_upgrade_keeps_every_row_and_makes_what_is_declared(empty_url: str, revision: str) -> None:
    metadata = gathered()
    wanted = migrate.run(empty_url, lambda connection: declared(connection, metadata))
    bring_to(empty_url, revision)
    written = fill(empty_url, released("0005"))
    assert {"message", "queue", "event", "body", "node"} <= written.keys()
    migrate.upgrade(empty_url)

    now = read_all(empty_url)
    for table, rows in written.items():
        columns = sorted(rows[0])
        kept = sorted(in_words(row, columns) for row in now[table])
        assert kept == sorted(in_words(row, columns) for row in rows), table
    if revision < SLOTS:
        assert all(row["slot"] == row["id"] >> SLOT_SHIFT for row in now["message"])
    assert migrate.run(empty_url, picture) == wanted


@pytest.mark.parametrize("revision", RELEASES)
def test_a_center_works_on_what_a_released_program_left(
    tmp_path: Path, empty_url: str, revision: str
) -> None:
    old = released(revision)
    bring_to(empty_url, revision)
    fill(empty_url, old, make=False)
    # A folder of the new program, whose database is then the old one; the keys are the operator's of that time.
    settings: dict[str, object] = {"store.retention.text_days": 0, "store.retention.history_days": 0}
    if empty_url.startswith("postgresql"):
        settings["store.durability"] = "process-crash-only"
    center = RunningCenter(tmp_path / "center", settings)
    center.environ["RESTANTE_STORE_URL"] = empty_url
    center.api_key = old["api_key"]
    migrate.upgrade(empty_url)
    center.start()
    try:
        ids = old["messages"]
        assert center.message(ids["delivered"])["state"] == "delivered"
        assert center.message(ids["boxed"])["group"] == "stored"
        listed = center.call("GET", "/messages?to=%2B447700900001")["items"]
        assert {one["id"] for one in listed} == {ids["boxed"], ids["boxed too"]}
        with esme(center.smpp_port, "receiver", "desk", "pw-desk") as desk:
            assert desk.next_delivered().short_message == b"stored by the old schema"
        with esme(center.smpp_port, "transceiver", "shop", "pw-shop1") as shop:
            told = {shop.next_delivered().receipted_message_id.decode() for _ in range(3)}
            sent = shop.ask("submit_sm", source_addr="4000", destination_addr="777", short_message=b"new")
        assert told == {ids["delivered"], ids["delivered too"], ids["waiting"]}
        assert int(sent.message_id) > max(map(int, ids.values()))
        eventually(lambda: center.message(ids["waiting"])["state"] == "delivered", "the old message's end")
    finally:
        center.stop()
