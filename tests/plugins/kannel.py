"""Kannel as an ESME: a program that nobody here wrote, from its Debian package.

In charge of: writing its configuration, starting bearerbox and smsbox, sending through its HTTP interface, and hearing
its delivery reports. Not in charge of: the center it binds to. The set-up follows notes/peers.md 4a.
"""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import threading
import urllib.parse
from collections.abc import Generator
from pathlib import Path

import httpx
from running_center import free_ports
from waiting import eventually

_CONFIG = """
group = core
admin-port = {admin}
admin-interface = "127.0.0.1"
admin-password = bar
status-password = foo
smsbox-port = {box}
smsbox-interface = "127.0.0.1"
box-allow-ip = "127.0.0.1"
store-type = spool
store-location = "{folder}/spool"
dlr-storage = internal
sms-resend-freq = 1

group = smsc
smsc = smpp
smsc-id = uut
interface-version = 34
host = 127.0.0.1
port = {smpp}
smsc-username = {system_id}
smsc-password = {password}
system-type = ""
address-range = ""
transceiver-mode = 1
enquire-link-interval = 5
max-pending-submits = 10
reconnect-delay = 1
msg-id-type = 0x00
{more}

group = smpp-tlv
name = mytlv
tag = 0x1401
type = octetstring
length = 20
smsc-id = uut

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
sendsms-port = {send}
sendsms-interface = "127.0.0.1"

group = sendsms-user
username = tester
password = foobar
max-messages = 10
concatenation = true

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{reports}/mo?from=%p&to=%P&text=%b&coding=%c&udh=%u"
max-messages = 0
"""


class _ReportServer(http.server.ThreadingHTTPServer):
    """Hears a report per connection. smsbox opens hundreds of them at once and sends none a second time: with the
    usual backlog of five, some were dropped by the kernel and never heard."""

    request_queue_size = 1024


class Kannel:
    """One bearerbox with its smsbox, and the web server that they report to."""

    def __init__(self, folder: Path, smpp_port: int, system_id: str, password: str, more: str = "") -> None:
        """`more`: further lines of its smsc group."""
        self.folder = folder
        self.admin, self.box, self.send_port, self.reports = free_ports(4)
        (folder / "spool").mkdir(parents=True)
        (folder / "kannel.conf").write_text(
            _CONFIG.format(
                folder=folder,
                admin=self.admin,
                box=self.box,
                send=self.send_port,
                reports=self.reports,
                smpp=smpp_port,
                system_id=system_id,
                password=password,
                more=more,
            )
        )
        #: (path, query) of every report, in order
        self.heard: list[tuple[str, dict[str, str]]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._server: http.server.ThreadingHTTPServer | None = None
        self._client = httpx.Client(
            timeout=30
        )  # kept open: one connection a message would be most of the work

    def start(self, bearerbox: str, smsbox: str) -> None:
        """Start both boxes; returns when the link is up."""
        self._listen()
        for program in (bearerbox, smsbox):
            log = (self.folder / f"{Path(program).name}.log").open("wb")
            self._processes.append(
                subprocess.Popen(
                    [program, "-v", "1", str(self.folder / "kannel.conf")],
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                )
            )
            log.close()
            eventually(lambda: "Kannel" in self.status(), "the bearerbox to answer")
        eventually(lambda: "(online" in self.status(), "the link to the center")
        eventually(lambda: "smsbox" in self.status(), "the smsbox to connect")
        eventually(self._sends, "the smsbox to listen")

    def _sends(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.send_port}/cgi-bin/sendsms").status_code < 500
        except httpx.HTTPError:
            return False

    def status(self) -> str:
        """bearerbox's status page, "" while there is none."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin}/status.txt", params={"password": "foo"}).text
        except httpx.HTTPError:
            return ""

    def online(self) -> bool:
        """True while its link to the center is bound."""
        return "(online" in self.status()

    def send(self, to: str, text: str | bytes, **fields: str) -> None:
        """One message through the smsbox; reports of every kind are asked for under the name `name`."""
        name = fields.pop("name", "")
        report = f"http://127.0.0.1:{self.reports}/dlr?name={name}&type=%d&id=%F&answer=%A"
        query = {
            "username": "tester",
            "password": "foobar",
            "to": to,
            "text": text,
            "dlr-mask": "31",
            "dlr-url": report,
            **fields,
        }
        url = f"http://127.0.0.1:{self.send_port}/cgi-bin/sendsms?" + urllib.parse.urlencode(query)
        answer = self._client.get(url)
        assert answer.status_code == 202, answer.text

    def reported(self, name: str) -> list[str]:
        """Types of the delivery reports of a message: "8" accepted by the center, "1" delivered, "2" failed, …"""
        return [
            query["type"] for path, query in list(self.heard) if path == "/dlr" and query.get("name") == name
        ]

    def answers(self, name: str) -> list[str]:
        """Texts of those reports."""
        return [query.get("answer", "") for _, query in list(self.heard) if query.get("name") == name]

    def stop(self) -> None:
        """End both boxes, politely first."""
        self._client.close()
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            if process.poll() is None:
                process.kill()
                process.wait(10)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _listen(self) -> None:
        heard = self.heard

        class Reports(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                heard.append((path, dict(urllib.parse.parse_qsl(query, keep_blank_values=True))))
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _ReportServer(("127.0.0.1", self.reports), Reports)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


@contextlib.contextmanager
def kannel(
    folder: Path, programs: tuple[str, str], smpp_port: int, system_id: str, password: str, more: str = ""
) -> Generator[Kannel]:
    """Kannel from start to end."""
    esme = Kannel(folder, smpp_port, system_id, password, more)
    try:
        esme.start(*programs)
        yield esme
    finally:
        esme.stop()
