"""What operators do to a running center: edits that count at once, and secrets that stay secret.

One center with its log at its most talkative; the secrets are planted by the real doors and looked for in every output.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from other_center import other_center
from raw_peer import Peer, peer
from running_center import RunningCenter
from simulated_phone import Phone, phone_network
from typer.testing import CliRunner
from waiting import eventually

from restante.cli.main import app
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status

pytestmark = pytest.mark.xdist_group("operators")

LIVE_S = 5.0  #: one second is promised; five times that on a loaded machine
PLANTED = "Pl4nt3d"
WRONG = "Wr0ngPw"
OF_LINK = ("L1nkPw-a", "L1nkPw-b")  #: what another center gave us, first and then
NUMBER = "+447700900123"


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    made = RunningCenter(tmp_path_factory.mktemp("operators") / "center")
    made.log_level = "debug"
    made.lines = deque()
    made.start()
    made.add_account("msc", "mscpw", role="switch")
    made.add_route("handsets", prefix="+447700", target="account", account="msc")
    made.add_range("+447700")
    yield made
    if not made.process_ended():
        assert made.stop() == 0


@pytest.fixture(scope="module")
def phone(center: RunningCenter) -> Iterator[Phone]:
    with phone_network(center.smpp_port, "msc", "mscpw") as network:
        yield network


def command(center: RunningCenter, *words: str) -> str:
    """`restante …` as the operator of this center types it; what it printed."""
    environ: dict[str, str | None] = {name: None for name in os.environ if name.startswith("RESTANTE_")}
    environ["RESTANTE_CONFIG"] = str(center.folder / "restante.toml")
    result = CliRunner(env=environ).invoke(app, list(words))
    assert result.exit_code == 0, (words, result.output, result.stderr)
    return result.output


def submit(esme: Peer, number: str, text: bytes = b"x", sequence_number: int = 5) -> int:
    """command_status of a submit_sm."""
    answer = esme.ask(
        pdu.SubmitSm(
            source_addr=b"777",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr=number.lstrip("+").encode(),
            short_message=text,
            sequence_number=sequence_number,
        )
    )
    assert answer is not None
    return answer.command_status


def live_after(change: Callable[[], object], seen: Callable[[], bool]) -> float:
    """Seconds from the end of a change to the moment when the center acts by it."""
    change()
    began = time.monotonic()
    eventually(seen, "the edit to be live")
    return time.monotonic() - began


# --------------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("door", ["api", "cli"])
def test_a_route_is_live_at_once(center: RunningCenter, door: str) -> None:
    center.add_account(f"routed{door}", "pw", sources=["*"])
    number = "+331" if door == "api" else "+332"

    def make() -> None:
        if door == "api":
            center.add_route("france-1", prefix=number, target="account", account="msc")
        else:
            command(center, "route", "add", "france-2", "--prefix", number, "--to", "msc")

    def remove() -> None:
        if door == "api":
            (found,) = [r for r in center.call("GET", "/routes")["items"] if r["name"] == "france-1"]
            etag = center.request("GET", f"/admin/routes/{found['id']}").headers["ETag"]
            center.call("DELETE", f"/routes/{found['id']}", If_Match=etag)
        else:
            command(center, "route", "remove", "france-2")

    with peer(center.smpp_port, f"routed{door}", "pw") as esme:
        assert submit(esme, number + "23456789") == Status.ESME_RINVDSTADR
        made = live_after(make, lambda: submit(esme, number + "23456789") == 0)
        removed = live_after(remove, lambda: submit(esme, number + "23456789") == Status.ESME_RINVDSTADR)
    sys.stdout.write(f"{door}: made {made:.3f} s, removed {removed:.3f} s\n")
    assert max(made, removed) < LIVE_S


@pytest.mark.parametrize("door", ["api", "cli"])
def test_a_suspended_account_is_unbound_and_kept_out(center: RunningCenter, door: str) -> None:
    name = f"bad{door}"
    id = center.add_account(name, "pw", sources=["*"])

    def turn(verb: str) -> None:
        if door == "api":
            etag = center.request("GET", f"/admin/accounts/{id}").headers["ETag"]
            center.call("POST", f"/accounts/{id}:{verb}", If_Match=etag)
        else:
            command(center, "esme", verb, name)

    with peer(center.smpp_port, name, "pw") as esme, peer(center.smpp_port, name, "pw") as deaf:
        turn("suspend")
        began = time.monotonic()
        asked = esme.read()
        took = time.monotonic() - began
        assert isinstance(asked, pdu.Unbind)
        assert submit(esme, NUMBER) == Status.ESME_RSUBMITFAIL
        esme.send(pdu.UnbindResp(sequence_number=asked.sequence_number))
        assert esme.read() is None
        assert isinstance(deaf.read(), pdu.Unbind)
        assert submit(deaf, NUMBER) == Status.ESME_RSUBMITFAIL
    with peer(center.smpp_port) as again:
        assert again.bind(name, "pw") == Status.ESME_RBINDFAIL
    turn("resume")

    def is_back() -> bool:
        with peer(center.smpp_port) as back:
            return back.bind(name, "pw") == 0

    eventually(is_back, "the account to be let in again")
    sys.stdout.write(f"{door}: unbound after {took:.3f} s\n")
    assert took < LIVE_S


# ------------------------------------------------------------------------------------------------------- secrets


def ask_for_code(center: RunningCenter, phone: Phone) -> tuple[str, str]:
    """The text of a one-time code's message as the handset showed it, and the code, used up."""
    asked = httpx.post(f"{center.url}/api/v1/auth/otp", json={"msisdn": NUMBER}, timeout=30)
    assert asked.status_code == 202, asked.text
    eventually(lambda: phone.texts(NUMBER[1:]), "the code to arrive")
    (text,) = phone.texts(NUMBER[1:])
    found = re.search(r"\d{4,}", text)
    assert found is not None, text
    challenge = asked.json()["challenge_id"]
    proof = {"code": found[0], "client": "api"}
    proved = httpx.post(f"{center.url}/api/v1/auth/otp/{challenge}", json=proof, timeout=30)
    assert proved.status_code == 200, proved.text
    return text, found[0]


def let_read_content(center: RunningCenter) -> None:
    """Give this center's operator the one permission that is in no role."""
    me = center.request("GET", "/admin/operators/me")
    path = f"/operators/{me.json()['id']}"
    etag = center.request("GET", f"/admin{path}").headers["ETag"]
    center.call("PATCH", path, {"content_read": True}, If_Match=etag)


def plant_in_a_link(center: RunningCenter) -> None:
    """A link by command and by REST, each with its password; another center hears both, and refuses the second."""
    with other_center() as other:
        words = (
            "--as",
            "us",
            "-p",
            OF_LINK[0],
            "--set",
            "reconnect_min_s=0.05",
            "--set",
            "reconnect_max_s=0.1",
        )
        command(center, "link", "add", "carrier", other.address, *words)
        eventually(lambda: other.bound, "the link")
        (link,) = center.call("GET", "/links")["items"]
        etag = center.request("GET", f"/admin/links/{link['id']}").headers["ETag"]
        center.call("PUT", f"/links/{link['id']}/password", {"password": OF_LINK[1]})
        other.bind_status = Status.ESME_RINVPASWD
        other.bound[0].close()

        def heard() -> set[str]:
            return {one.bind.password.decode() for one in other.clients if one.bind is not None}

        eventually(lambda: heard() == set(OF_LINK), "both passwords at the other side")
        too_long = center.request(
            "PUT", f"/admin/links/{link['id']}/password", {"password": PLANTED + "toolong"}
        )
        assert too_long.status_code == 422
        assert PLANTED not in too_long.text
        refused = center.request("PATCH", f"/admin/links/{link['id']}", {"password": PLANTED}, If_Match=etag)
        assert refused.status_code == 422
        assert PLANTED not in refused.text
        command(center, "link", "status", "--json")
        command(center, "link", "suspend", "carrier")


def read_everything(center: RunningCenter) -> dict[str, str]:
    """Every answer an operator with all permissions can get by reading, by path."""
    answers: dict[str, str] = {}

    def get(path: str) -> Any:
        answer = center.request("GET", path)
        answers[path] = answer.text + repr(sorted(answer.headers.items()))
        return answer.json() if answer.is_success else {}

    for name in (
        "accounts",
        "routes",
        "ranges",
        "operators",
        "subscribers?state=active",
        "api-keys",
        "links",
    ):
        listed = get(f"/admin/{name}")
        for one in listed.get("items", ()):
            base = f"/admin/{name.partition('?')[0]}/{one['id']}"
            for more in ("", "/history", "/api-keys"):
                get(base + more)
    for one in get("/admin/messages?limit=100").get("items", ()):
        get(f"/admin/messages/{one['id']}")
        get(f"/admin/messages/{one['id']}/trace")
        reveal = center.request("POST", f"/admin/messages/{one['id']}:reveal", **{"X-Reason": "looking"})
        answers[f"reveal {one['id']}"] = reveal.text
    for path in (
        "binds",
        "queues",
        "queues/new/items",
        "overview",
        "config",
        "definitions",
        "audit",
        "links:status",
    ):
        get(f"/admin/{path}")
    for path in ("sessions", f"mailboxes/{NUMBER}", f"mailboxes/{NUMBER}/messages"):
        get(f"/admin/{path}")
    for name in ("metrics", "readyz", "version"):
        answers[name] = httpx.get(f"http://127.0.0.1:{center.ops_port}/{name}", timeout=30).text
    return answers


def files(folder: Path) -> dict[str, str]:
    """All that a center keeps in its folder, but for the two files whose purpose is to hold secrets."""
    kept = [path for path in folder.iterdir() if path.name not in ("operator.json", "restante.key")]
    return {path.name: path.read_bytes().decode("latin-1") for path in kept}


def test_planted_secrets_are_found_nowhere(center: RunningCenter, phone: Phone) -> None:
    planted = center.add_account("planted", PLANTED, sources=["*"])
    token = center.call("POST", f"/accounts/{planted}/api-keys", {"label": "planted"})["token"]
    center.call("POST", "/subscribers", {"numbers": [NUMBER]})
    with peer(center.smpp_port, "planted", PLANTED) as esme:
        assert submit(esme, "+447700900124", b"hello") == 0
    plant_in_a_link(center)
    with peer(center.smpp_port) as stranger:
        assert stranger.bind("planted", WRONG) == Status.ESME_RBINDFAIL
    with peer(center.smpp_port) as stranger:  # a bind request with a fault, and its password right before it
        octets = pdu.BindTransceiver(
            system_id=b"planted", password=WRONG.encode(), sequence_number=1
        ).encode()
        stranger.send(len(octets[:-4]).to_bytes(4, "big") + octets[4:-4])
        assert stranger.read() is not None
    body = {"to": ["+447700900125"], "from": "777", "text": "by key"}
    sent = httpx.post(
        f"{center.url}/api/v1/messages",
        json=body,
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "once"},
        timeout=30,
    )
    assert sent.status_code == 202, sent.text
    bad = center.request("POST", "/admin/accounts", {"system_id": "x", "password": PLANTED})
    assert bad.status_code == 422
    let_read_content(center)
    shown, code = ask_for_code(center, phone)
    answers = read_everything(center)
    assert sum("planted" in text for text in answers.values()) > 3, "the crawl found too little"
    assert any(path.startswith("reveal") and "hello" in text for path, text in answers.items())
    answers["a refused edit"] = bad.text
    live = files(center.folder)
    assert center.stop() == 0
    ended = files(center.folder)
    log = "\n".join(center.lines)
    assert "bind-refused" in log
    assert "bound" in log

    secret = token.rpartition("_")[2]
    for places in (answers, live, ended, {"log": log}):
        for name, text_there in places.items():
            for word in (PLANTED, WRONG, secret, *OF_LINK):
                assert word not in text_there, f"{word} in {name}"
    for places in (
        answers,
        ended,
        {"log": log},
    ):  # while it runs, the file's log may still hold a blanked page
        for name, text_there in places.items():
            assert shown not in text_there, f"the text of the one-time code in {name}"
    assert not re.search(rf"(?<![\d.:]){code}(?!\d)", log), "the one-time code in the log"
