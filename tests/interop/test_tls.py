"""SMPP over TLS with a real process: certificates on both sides, renewal under way, and manners before a handshake."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import Authority, Files
from cryptography import x509
from cryptography.x509.oid import NameOID
from raw_peer import peer
from running_center import RunningCenter, free_ports, running_center
from smpplib_esme import esme
from waiting import eventually

from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status

pytestmark = pytest.mark.xdist_group("tls")

PASSWORD = "lavender"
PER_ADDRESS = 20


@dataclass
class House:
    """A center with a TLS port, and who signs for whom."""

    center: RunningCenter
    port: int
    servers: Authority
    clients: Authority
    app: Files
    ca_file: Path

    def tls(self, files: Files | None = None) -> ssl.SSLContext:
        """How a client connects."""
        return self.servers.client(files)

    def status(self, system_id: str, files: Files | None = None) -> int:
        """command_status of a bind over TLS."""
        with peer(self.port, tls=self.tls(files)) as one:
            return one.bind(system_id, PASSWORD)

    def shown(self) -> str:
        """Common name of the certificate that a new connection sees."""
        with peer(self.port, tls=self.tls()) as one:
            assert isinstance(one.socket, ssl.SSLSocket)
            der = one.socket.getpeercert(True)
        assert der is not None
        name = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name[0].value)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("tls")
    servers, clients = Authority(folder / "servers"), Authority(folder / "clients", "Clients")
    app = clients.sign("app")
    server = servers.sign("first", "server")
    (port,) = free_ports(1)
    ca_file = folder / "clients.pem"
    ca_file.write_bytes(clients.file.read_bytes())
    settings: dict[str, object] = {
        "smpp.further_hosts": ["::1"],
        "smpp.max_connections_per_address": PER_ADDRESS,
        "smpp.session_init_timer_s": 3,
        "smpp.tls.port": port,
        "smpp.tls.certificate": str(server.certificate),
        "smpp.tls.key": str(server.key),
        "smpp.tls.client_ca": str(ca_file),
        "smpp.tls.look_again_s": 0.2,
    }
    with running_center(folder / "center", settings) as center:
        center.add_account("app", PASSWORD, numbers=["12345"], certificates=["CN=app,O=Test Ltd"])
        center.add_account("pinned", PASSWORD, sources=["*"], certificates=["SHA256:" + app.fingerprint])
        center.add_account("careful", PASSWORD, require_tls=True)
        center.add_account("plain", PASSWORD, sources=["*"])
        yield House(center, port, servers, clients, app, ca_file)


def submit_sm(sequence_number: int = 1) -> pdu.SubmitSm:
    return pdu.SubmitSm(
        source_addr=b"777", destination_addr=b"12345", short_message=b"x", sequence_number=sequence_number
    )


@pytest.mark.parametrize("to", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("secure", [False, True])
def test_every_address_speaks_plain_and_tls(house: House, to: str, secure: bool) -> None:
    port = house.port if secure else house.center.smpp_port
    with peer(port, "plain", PASSWORD, tls=house.tls() if secure else None, to=to) as one:
        answer = one.ask(submit_sm(7))
        assert isinstance(answer, pdu.SubmitSmResp)
        assert answer.command_status == 0
    message = house.center.message(answer.message_id.decode())
    assert message["ingress"]["authenticated"] == "password"
    assert message["ingress"]["peer"].startswith("[::1]:" if ":" in to else "127.0.0.1:")


def test_another_implementation_binds_over_tls(house: House) -> None:
    context = house.tls()
    context.check_hostname = False  # smpplib tells no name
    with esme(house.port, "transceiver", "plain", PASSWORD, context) as other:
        fields = {"source_addr": "777", "destination_addr": "12345", "short_message": b"over TLS"}
        assert other.ask("submit_sm", **fields).status == 0


def test_a_certificate_is_demanded_beside_the_password(house: House) -> None:
    stranger = house.clients.sign("stranger")
    for name in ("app", "pinned"):
        assert house.status(name) == Status.ESME_RBINDFAIL
        assert house.status(name, stranger) == Status.ESME_RBINDFAIL
        with peer(house.center.smpp_port) as plain:
            assert plain.bind(name, PASSWORD) == Status.ESME_RBINDFAIL
        with peer(house.port, tls=house.tls(house.app)) as one:
            assert one.bind(name, "wrong") == Status.ESME_RBINDFAIL
        assert house.status(name, house.app) == 0
    refusals = [line for line in list(house.center.lines) if "bind-refused" in line]
    for why in ("certificate", "tls-required", "password"):
        assert any(f"why={why}" in line for line in refusals), why
    assert any("CN=stranger" in line for line in refusals)  # with its fingerprint: what an operator can copy
    with peer(house.port, "pinned", PASSWORD, tls=house.tls(house.app)) as one:
        answer = one.ask(submit_sm())
        assert isinstance(answer, pdu.SubmitSmResp)
    ingress = house.center.message(answer.message_id.decode())["ingress"]
    assert ingress["authenticated"] == "certificate"


def test_an_account_may_insist_on_tls(house: House) -> None:
    assert house.status("careful") == 0
    with peer(house.center.smpp_port) as plain:
        assert plain.bind("careful", PASSWORD) == Status.ESME_RBINDFAIL


def test_a_certificate_of_an_unknown_authority_ends_the_handshake(house: House, tmp_path: Path) -> None:
    forged = Authority(tmp_path, "Clients").sign("app")
    with (
        pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
        peer(house.port, tls=house.tls(forged)) as one,
    ):
        one.bind("app", PASSWORD)  # TLS 1.3 tells a client of its refusal at the first read


@pytest.mark.parametrize("how", ["file", "signal", "call"])
def test_a_certificate_is_renewed_while_connections_last(house: House, how: str) -> None:
    with peer(house.port, "plain", PASSWORD, tls=house.tls()) as lasting:
        house.servers.sign(f"renewed by {how}", "server")
        if how == "signal":
            assert house.center.process is not None
            house.center.process.send_signal(signal.SIGHUP)
        elif how == "call":
            (state,) = house.center.call("POST", "/certificates:reload")["items"]
            assert state["subject"] == "CN=renewed by call,O=Test Ltd"
        eventually(lambda: house.shown() == f"renewed by {how}", "the new certificate")
        assert isinstance(lasting.ask(pdu.EnquireLink(sequence_number=9)), pdu.EnquireLinkResp)
    (state,) = house.center.call("GET", "/certificates")["items"]
    assert (state["door"], state["problem"]) == ("smpp", "")
    assert state["not_after"] > state["not_before"]


def test_files_that_do_not_fit_change_nothing_and_are_named(house: House) -> None:
    house.servers.sign("whole", "server")
    eventually(lambda: house.shown() == "whole")
    key = (house.servers.folder / "server.key").read_bytes()
    house.servers.sign("half", "server")
    certificate = (house.servers.folder / "server.pem").read_bytes()
    (house.servers.folder / "server.key").write_bytes(key)
    eventually(lambda: house.center.call("GET", "/certificates")["items"][0]["problem"], "a problem")
    assert house.shown() == "whole"
    (house.servers.folder / "server.pem").write_bytes(b"-----BEGIN nonsense")
    (state,) = house.center.call("POST", "/certificates:reload")["items"]
    assert state["problem"]
    assert house.shown() == "whole"
    assert certificate
    house.servers.sign("again", "server")
    eventually(lambda: house.shown() == "again")
    assert house.center.call("GET", "/certificates")["items"][0]["problem"] == ""


def test_an_authority_that_was_taken_away_opens_nothing_any_more(house: House, tmp_path: Path) -> None:
    """Not even to a client that resumes its earlier session."""
    context = house.tls(house.app)
    context.maximum_version = (
        ssl.TLSVersion.TLSv1_2
    )  # where a session id could be resumed without a certificate
    session = None
    with peer(house.port, "pinned", PASSWORD, tls=context) as one:
        assert isinstance(one.socket, ssl.SSLSocket)
        session = one.socket.session
    kept = house.ca_file.read_bytes()
    house.ca_file.write_bytes(Authority(tmp_path, "Others").file.read_bytes())
    house.center.call("POST", "/certificates:reload")
    plain = socket.create_connection(("127.0.0.1", house.port))
    with plain, pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 -- either at the handshake or at the read
        resumed = context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
        resumed.sendall(pdu.EnquireLink(sequence_number=1).encode())
        assert not resumed.recv(16)
        raise ConnectionError("closed")
    house.ca_file.write_bytes(kept)
    house.center.call("POST", "/certificates:reload")
    assert house.status("pinned", house.app) == 0


def test_silence_before_the_handshake_counts_and_ends(house: House) -> None:
    with contextlib.ExitStack() as stack:
        mute = [stack.enter_context(peer(house.port, address="127.0.0.9")) for _ in range(PER_ADDRESS)]
        one_more = stack.enter_context(peer(house.port, address="127.0.0.9"))
        assert one_more.read() is None  # turned away at once, before it costs a handshake
        assert house.status("careful") == 0  # others are served
        for one in mute:
            assert one.read() is None
    with peer(house.port, address="127.0.0.9", tls=house.tls()) as one:
        assert one.bind("careful", PASSWORD) == 0


def test_what_is_no_tls_is_turned_away(house: House) -> None:
    for octets in (pdu.EnquireLink(sequence_number=1).encode(), b"GET / HTTP/1.1\r\n\r\n", bytes(64)):
        with peer(house.port) as stranger:
            stranger.send(octets)
            with contextlib.suppress(Exception):  # an alert of TLS, which is no PDU
                while stranger.read() is not None:
                    pass
    assert house.status("careful") == 0
