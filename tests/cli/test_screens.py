"""What the commands draw: the demo's phones, the overview, traces."""

from __future__ import annotations

import io
from collections.abc import Callable
from random import Random

import pytest
from rich.console import Console, RenderableType

from restante.cli import demo_screen, top, trace
from restante.simulator.network import Network
from restante.simulator.phone import PhoneState, written_number
from restante.simulator.plan import DEMO
from restante.smsc.smpp import pdu


def drawn(picture: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(picture)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def network() -> Network:
    return Network(DEMO, "127.0.0.1", 1, die=Random(1), now=lambda: 0.0, on_screen=lambda phone, line: None)


def test_each_phone_has_a_screen_of_its_own_size(network: Network) -> None:
    ton, npi, digits = written_number("Kiosk")
    for number in range(9):
        text = (f"message {number} " + "x" * 150).encode()
        network.phones["ann"].receive(
            pdu.DeliverSm(
                source_addr_ton=ton,
                source_addr_npi=npi,
                source_addr=digits,
                short_message=text,
            )
        )
    network.phones["ben"].state = PhoneState.SLOW
    network.tally.update({"submitted": 4, "accepted": 3, "refused": 1, "receipts": 2, "receipts 2": 2})
    picture = drawn(demo_screen.screens(network))
    lines = picture.splitlines()
    assert max(map(len, lines)) <= 100
    assert (
        len(lines) == 2 * (demo_screen.LINES_SHOWN + 2) + 1
        or len(lines) == 2 * (demo_screen.LINES_SHOWN + 2) + 2
    )
    assert "message 8" in picture
    assert "message 4 " not in picture
    assert "ben [slow]" in picture
    assert "1 refused; receipts: 2 delivered" in picture.replace("\n", " ")


def test_the_name_that_newcomers_type(monkeypatch: pytest.MonkeyPatch) -> None:
    called: Callable[[str], None] = lambda name: monkeypatch.setattr("sys.argv", [name])  # noqa: E731
    called("/opt/some place/bin/restante")
    assert demo_screen.command_name() == "'/opt/some place/bin/restante'"
    called("/opt/x/__main__.py")
    assert demo_screen.command_name().endswith(" -m restante")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    called("/bin/restante")
    assert demo_screen.command_name() == "restante"


def test_the_overview_names_what_is_wrong_first() -> None:
    bind = {
        "system_id": "shop", "role": "esme", "bind_type": "trx", "interface_version": "3.4",
        "peer": "192.0.2.1:5", "bound_at": "2026-11-22T12:00:00Z", "can_send": False,
    }  # fmt: skip
    found = {
        "version": "1", "node": 1, "at": "now", "well": False, "troubles": ["The store takes nothing: disk full"],
        "accepted_per_s": 1.5, "delivered_per_s": 1.0, "queued": 3, "in_memory": 2, "accounts_bound": 1, "accounts": 2,
        "store": {"commit_ms": 0.5},
        "queues": [{"name": "retry", "messages": 3, "next_due_at": None, "oldest_at": None}],
        "binds": [bind] * (top.BINDS_SHOWN + 3),
    }  # fmt: skip
    picture = drawn(top.screen(found, "http://center"), 120)
    assert picture.index("disk full") < picture.index("1.5 in/s")
    assert "full" in picture
    assert "and 3 more" in picture


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(5, "5 ms"), (1500, "1.5 s"), (119_900, "119.9 s"), (120_000, "2 min 0 s"), (7_260_000, "2 h 1 min")],
)
def test_lapses(milliseconds: int, words: str) -> None:
    assert trace.lapse(milliseconds) == words


def event(kind: str, **changed: object) -> dict[str, object]:
    found = {"kind": kind, "state": "enroute", "reason": "", "attempt": 0, "route": "", "detail": {}}
    return found | changed


def test_events_in_words() -> None:
    accepted = event(
        "accepted", detail={"door": "smpp", "name": "shop", "peer": "192.0.2.1:5", "asserted": {"a": 1}}
    )
    assert trace.what(accepted).plain == "stored and answered, came in by smpp as shop"
    assert trace.story(accepted) == "peer=192.0.2.1:5"
    failed = event(
        "attempt", attempt=2, route="switch:msc1", reason="absent", detail={"error": "absent", "status": 100}
    )
    assert trace.what(failed).plain == "attempt 2 by switch:msc1 failed"
    assert trace.story(failed) == "absent; status=100"
    ended = event("final", state="delivered", route="esme:shop")
    assert trace.what(ended).plain == "ended: delivered by esme:shop"
    assert trace.what(event("something-new")).plain == "something-new"
