"""Master keys take over from each other while sessions, sealed secrets and the audit trail go on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from cli_center import Center, made, served

from restante.access.key_ring import KeyRing
from restante.access.sealing import Sealer


def keys_of(center: Center) -> list[dict[str, str]]:
    found: list[dict[str, str]] = center.answer("key", "list")
    return found


def sealed_in(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "restante.sqlite") as database:
        (row,) = database.execute("SELECT owner, kind, sealed FROM sealed_secret").fetchall()
    return dict(zip(("owner", "kind", "sealed"), row, strict=True))


def test_a_key_takes_over_and_the_old_one_is_retired(tmp_path: Path) -> None:
    place = made(tmp_path / "center")
    (first,) = keys_of(place)
    assert first["use"] == "present"
    with served(place.folder) as center:
        link = center.answer("link", "add", "carrier", "127.0.0.1:1", "--as", "us", "-p", "geheim")
    before = sealed_in(place.folder)
    assert before["sealed"].startswith(f"s1.{first['name']}.")

    rotated = place.answer("key", "rotate")
    assert [one["use"] for one in rotated] == ["present", "recognised"]
    second = rotated[0]["name"]
    assert place.call("key", "retire", second).exit_code == 1
    with served(place.folder) as center:
        assert center.answer("link", "show", "carrier")["id"] == link["id"]
        after = sealed_in(place.folder)
        assert after["sealed"].startswith(f"s1.{second}."), "it was not sealed again at the start"
        verified = center.answer("audit", "verify")
        assert verified["rows"] >= 3
        (made_by,) = center.answer("audit", "list", "--action", "link.create")
        assert made_by["target"] == link["id"]

    assert [one["name"] for one in place.answer("key", "retire", first["name"])] == [second]
    alone = Sealer(KeyRing.load(place.folder / "restante.key"))
    assert alone.unseal(after["sealed"], after["owner"], after["kind"]) == "geheim"
    with served(place.folder) as center:
        assert center.answer("link", "show", "carrier")["id"] == link["id"]
        assert center.call("audit", "verify").exit_code == 1, "rows of a key that is gone were verified"
