"""The registers that the configuration names: a table, a look-up service, a real OsmoHLR; and what does not start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gsup_switch import GsupSwitch
from http_peer import http_peer
from osmo_hlr import OsmoHlr
from waiting import soon_true

from restante.antispoof.settings import SourcesSettings
from restante.antispoof.sources import BadSource, Sources
from restante.cli.site import site
from restante.config import Config, ConfigError, load
from restante.signaling.ctrl import Ctrl
from restante.signaling.registers import Affiliation, RegisterUnavailable, Status, Who

ANNA = Who("447700900123")
TABLE = "msisdn,imsi,status,addresses\n447700900123,001010000000001,,e164_gt/msc:447700900001\n"
LONG = 30.0


def made(settings: dict[str, Any], *others: Any, now_ms: Callable[[], int] = lambda: 1000) -> Sources:
    return Sources(SourcesSettings.model_validate(settings), now_ms=now_ms, others=others)


class Scripted:
    """A register that answers what it is told."""

    def __init__(self, name: str, answer: Affiliation | Exception | None) -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def test_without_registers_nothing_is_known_and_what_is_learned_counts() -> None:
    async def main() -> None:
        sources = made({})
        with pytest.raises(RegisterUnavailable) as refused:
            await sources.affiliations.find(ANNA)
        assert refused.value.reason == "no-register"
        learned = Affiliation(Status.ATTACHED, (), "gsup", 1000, "001010000000001", "447700900123")
        sources.affiliations.learn(learned)
        found = sources.affiliations.peek(ANNA)
        assert found is not None
        assert found.affiliation.source == "gsup"

    asyncio.run(main())


def test_a_table_beside_the_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "lines.csv"
        file.write_text("\ufeff" + TABLE)
        sources = made({"table": {"file": file}})
        found = await sources.affiliations.find(ANNA)
        assert [each.value for each in found.affiliation.addresses] == ["447700900001"]
        assert found.affiliation.source == "table"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "says"), [(None, "cannot read"), ("a,b\n", "line 1"), (TABLE + "x,,,\n", "line 3")]
)
def test_a_table_that_cannot_be_used_names_its_line(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "lines.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadSource, match=says):
        made({"table": {"file": file}})


def test_a_range_that_names_what_is_not_configured() -> None:
    with pytest.raises(BadSource, match=r"ranges\[0\] names http"):
        made({"ranges": [{"msisdn": "44", "registers": ["http"]}]})


def test_ranges_of_the_file_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    file = tmp_path / "restante.toml"
    file.write_text(
        '[affiliations]\nttl_s = 60\n[[affiliations.ranges]]\nmsisdn = "4477"\nregisters = ["table"]\n'
        "authoritative = false\n"
    )
    loaded = load(Config, file, {})
    assert loaded.config.affiliations.ttl_s == 60
    assert loaded.config.affiliations.ranges[0].msisdn == "4477"
    file.write_text('[[affiliations.ranges]]\nregisters = ["hlr"]\n')
    with pytest.raises(ConfigError, match=r"affiliations\.ranges"):
        load(Config, file, {})


def test_what_is_not_authoritative_is_marked(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "lines.csv"
        file.write_text(TABLE)
        ranges = [{"msisdn": "4477", "registers": ["table"], "authoritative": False}]
        sources = made({"table": {"file": file}, "ranges": ranges})
        assert not (await sources.affiliations.find(ANNA)).affiliation.authoritative
        assert (await sources.affiliations.find(Who("99"))).affiliation.authoritative

    asyncio.run(main())


def test_a_service_is_asked_over_the_safe_client() -> None:
    async def main() -> None:
        async with http_peer() as peer:
            peer.always(200, json.dumps({"addresses": [{"type": "ipa_name", "value": "MSC-A"}]}))
            settings = {"url": peer.url + "/who/{msisdn}", "token": "periwinkle"}
            refused = made({"http": settings, "failure_ttl_s": 0})
            with pytest.raises(RegisterUnavailable) as unavailable:
                await refused.affiliations.find(ANNA)
            assert unavailable.value.reason == "refused"
            assert not peer.requests
            sources = made({"http": settings | {"allowed_hosts": ["127.0.0.1"]}, "timeout_s": LONG})
            found = await sources.affiliations.find(ANNA)
            assert found.affiliation.addresses[0].value == "MSC-A"
            assert peer.requests[0].path == "/who/447700900123"
            assert peer.requests[0].headers["authorization"] == "Bearer periwinkle"
            await sources.close()
            await refused.close()

    asyncio.run(main())


@pytest.mark.parametrize(("status", "reason"), [(503, "busy"), (500, "refused"), (200, "refused")])
def test_a_service_that_fails_says_nothing_about_the_subscriber(status: int, reason: str) -> None:
    async def main() -> None:
        async with http_peer() as peer:
            peer.always(status, b"{")
            http = {"url": peer.url + "/{imsi}{msisdn}", "allowed_hosts": ["127.0.0.0/8"]}
            sources = made({"http": http, "timeout_s": LONG})
            with pytest.raises(RegisterUnavailable) as unavailable:
                await sources.affiliations.find(ANNA)
            assert unavailable.value.reason == reason
            await sources.close()

    asyncio.run(main())


def test_a_dead_register_does_not_spend_the_time_of_the_next() -> None:
    """After its breaker opened it is not even asked; the chain goes on with who is left."""

    async def main() -> None:
        dead = Scripted("osmo-hlr", RegisterUnavailable("down"))
        alive = Scripted("s6c", Affiliation(Status.ATTACHED, (), "s6c", 1000))
        sources = made({"failure_ttl_s": 0}, dead, alive)
        for number in range(30):
            found = await sources.affiliations.find(Who(f"4477009001{number:02}"))
            assert found.affiliation.source == "s6c"
        assert dead.asked == 10
        assert alive.asked == 30

    asyncio.run(main())


def test_a_slow_register_counts_as_failed() -> None:
    async def main() -> None:
        slow = Scripted("s6c", None)
        sources = made({"failure_ttl_s": 0, "timeout_s": 0.001}, slow)
        for number in range(12):
            with pytest.raises(RegisterUnavailable):
                await sources.affiliations.find(Who(f"4477009001{number:02}"))
        assert (
            10 <= slow.asked < 12
        )  # a loaded machine may take as long as the breaker's pause, and one is let through

    asyncio.run(main())


def test_a_real_osmo_hlr(component: Callable[[str, str], str], tmp_path: Path) -> None:
    """Provisioned over CTRL, moved over GSUP, asked through the sources."""

    async def main() -> None:
        ctrl = Ctrl(hlr.address)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        await ctrl.set("subscriber.create", "001010000000001", LONG)
        await ctrl.set("subscriber.by-imsi-001010000000001.msisdn", "447700900123", LONG)
        settings = {"osmo_hlr": {"host": hlr.address}, "timeout_s": LONG, "negative_ttl_s": 0.001}
        sources = made(settings, now_ms=lambda: int(time.time() * 1000))
        await sources.open()
        try:
            register = sources.registers["osmo-hlr"]
            await soon_true(lambda: sources._ctrl is not None and sources._ctrl.connected)
            assert (await register.lookup(ANNA, fresh=True, timeout_s=LONG)).status is Status.ABSENT
            switch = await GsupSwitch.connect("MSC-A", hlr.address, hlr.gsup_port)
            await switch.attach("001010000000001")
            found = await sources.affiliations.find(ANNA, fresh=True)
            assert [each.value for each in found.affiliation.addresses] == ["MSC-A"]
        finally:
            await sources.close()
            await ctrl.close()

    hlr = OsmoHlr(component("osmo-hlr", "osmo-hlr"), tmp_path / "hlr")
    hlr.start()
    try:
        asyncio.run(main())
    finally:
        hlr.stop()


def test_a_database_of_subscribers(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "served.db")) as made:
        made.execute("CREATE TABLE served (number TEXT, card TEXT, switch TEXT)")
        made.execute("INSERT INTO served VALUES ('447700900001', '001010000000001', 'MSC-A')")
        made.commit()
    query = (
        "SELECT number AS msisdn, card AS imsi, 'ipa_name:' || switch AS addresses FROM served "
        "WHERE number = :msisdn OR card = :imsi"
    )
    (tmp_path / "restante.toml").write_text(
        f'[affiliations]\ntimeout_s = 5\nsql = {{ url = "sqlite:///served.db", query = "{query}" }}\n'
    )
    settings = site(str(tmp_path / "restante.toml")).config.affiliations
    assert "served.db" not in repr(settings)

    async def main() -> None:
        sources = Sources(settings, now_ms=lambda: 1000)
        assert list(sources.registers) == ["sql"]
        found = (await sources.affiliations.find(Who("447700900001"))).affiliation
        assert (found.source, found.imsi, found.addresses[0].value) == ("sql", "001010000000001", "MSC-A")
        assert (
            await sources.affiliations.find(Who(imsi="001010000000001"), fresh=True)
        ).affiliation.addresses
        assert (await sources.affiliations.find(Who("447700900002"))).affiliation.status is Status.UNKNOWN
        (tmp_path / "served.db").write_bytes(b"not a database" * 100)
        with pytest.raises(RegisterUnavailable):
            await sources.affiliations.find(Who("447700900003"))
        await sources.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ({"url": "sqlite:///x"}, "go together"),
        ({"url": "sqlite:///x", "query": "SELECT 1"}, "pattern"),
        ({"url": "sqlite:///x", "query": "SELECT :msisdn, :password"}, "password"),
        ({"url": "mysql://x", "query": "SELECT :msisdn"}, "neither"),
    ],
)
def test_a_database_that_cannot_be_used(sql: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Sources(SourcesSettings.model_validate({"sql": sql}), now_ms=lambda: 0)
