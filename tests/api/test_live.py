"""The real server: event streams, slow clients, proxies, TLS, and a stop that is quick."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from live_store import Database
from pydantic import ValidationError
from rest_center import API, RestCenter, rest_center

from restante.api.app import create_ops_app
from restante.api.health import Finding, disk_probe
from restante.api.server import HttpServer
from restante.api.settings import HttpSettings, OpsSettings


@asynccontextmanager
async def served(database: Database, **settings: Any) -> AsyncGenerator[tuple[RestCenter, HttpServer, str]]:
    """A center behind a real port."""
    chosen = HttpSettings(port=0, **settings)
    async with rest_center(database.url, settings=chosen) as c:
        server = HttpServer(c.app, chosen)
        await server.start()
        try:
            yield c, server, f"http://127.0.0.1:{server.port}{API}"
        finally:
            await server.stop()


class Stream:
    """An event stream as a browser reads it."""

    def __init__(self, lines: Any) -> None:
        self._lines = lines

    async def next(self) -> dict[str, Any] | None:
        """The next event; None at the end."""
        event: dict[str, Any] = {}
        async for line in self._lines:
            if not line and event:
                return event
            name, _, value = line.partition(": ")
            if name in ("event", "id"):
                event[name] = value
            elif name == "data":
                event["data"] = json.loads(value)
        return None


def test_events_come_as_they_happen_and_go_on_after_a_cut(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with served(sqlite_copy) as (c, _, url):
            headers = {"Authorization": f"Bearer {await c.subscriber_token()}"}
            async with httpx.AsyncClient(headers=headers, timeout=30) as http:
                async with http.stream("GET", f"{url}/mailbox/events") as answer:
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    stream = Stream(answer.aiter_lines())
                    first = await stream.next()
                    assert first is not None
                    assert first["event"] == "mailbox.state"
                    id = await c.deposit("one")
                    created = await stream.next()
                    assert created is not None
                    assert (created["event"], created["data"]["id"]) == ("message.created", str(id))
                    assert created["data"]["text"] is None
                    state = await stream.next()
                    assert state is not None
                missed = await c.deposit("two, while nobody listened")
                again = {"Last-Event-ID": state["id"]}
                async with http.stream("GET", f"{url}/mailbox/events", headers=again) as answer:
                    stream = Stream(answer.aiter_lines())
                    assert (await stream.next())["id"] == state["id"]  # type: ignore[index]
                    assert (await stream.next())["data"]["id"] == str(missed)  # type: ignore[index]
                old = {"Last-Event-ID": "s999999"}
                async with http.stream("GET", f"{url}/mailbox/events", headers=old) as answer:
                    stream = Stream(answer.aiter_lines())
                    await stream.next()
                    assert (await stream.next())["event"] == "reset"  # type: ignore[index]

    asyncio.run(run())


@pytest.mark.parametrize("how", ["logout", "elsewhere", "suspended"])
def test_a_revoked_session_closes_its_streams(sqlite_copy: Database, how: str) -> None:
    async def run() -> None:
        async with served(sqlite_copy) as (c, _, url):
            token, other = await c.subscriber_token(), await c.subscriber_token("+447700900002")
            async with (
                httpx.AsyncClient(timeout=30) as http,
                http.stream("GET", f"{url}/mailbox/events", headers=bearer(token)) as mine,
                http.stream("GET", f"{url}/mailbox/events", headers=bearer(other)) as others,
            ):
                stream, stays = Stream(mine.aiter_lines()), Stream(others.aiter_lines())
                await stream.next()
                await stays.next()
                begin = time.monotonic()
                if how == "logout":
                    await http.post(f"{url}/auth/logout", headers=bearer(token))
                elif how == "elsewhere":  # another process writes it into the database
                    write = c.rooms.sessions.revoking("sub_1", "operator")
                    await c.rooms.store.apply(writes=[write])
                else:
                    known = bearer(c.admin_key) | {"If-Match": '"1"'}
                    await http.post(f"{url}/admin/subscribers/sub_1:suspend", headers=known)
                assert await stream.next() is None
                assert (
                    time.monotonic() - begin < 5 * 5
                )  # 5 s are promised; a loaded machine gets five times that
                await c.deposit("still here", to="+447700900002")
                assert (await stays.next())["event"] == "message.created"  # type: ignore[index]

    asyncio.run(run())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_stop_with_open_streams_is_quick(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with served(sqlite_copy, streams_per_owner=60, operator_per_minute=1000) as (c, server, url):
            subscriber, admin = bearer(await c.subscriber_token()), bearer(c.admin_key)
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=60)) as http:
                ended = 0

                async def listen(path: str, headers: dict[str, str]) -> None:
                    nonlocal ended
                    async with http.stream("GET", url + path, headers=headers) as answer:
                        assert answer.status_code == 200
                        async for _ in answer.aiter_lines():
                            pass
                    ended += 1

                tasks = [asyncio.create_task(listen("/mailbox/events", subscriber)) for _ in range(7)]
                tasks += [asyncio.create_task(listen("/admin/overview/events", admin)) for _ in range(20)]
                live = c.app.app.state.doors.live
                while live.streams < 27:
                    await asyncio.sleep(0.01)
                begin = time.monotonic()
                await server.stop()
                took = time.monotonic() - begin
                await asyncio.gather(*tasks)
                assert ended == 27
                assert took < 5 * 5
                assert live.streams == 0

    asyncio.run(run())


def test_streams_are_counted(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with served(sqlite_copy, streams_per_owner=1) as (c, _, url):
            headers = bearer(await c.subscriber_token())
            async with httpx.AsyncClient(timeout=30, headers=headers) as http:
                async with http.stream("GET", f"{url}/mailbox/events") as answer:
                    await Stream(answer.aiter_lines()).next()
                    refused = await http.get(f"{url}/mailbox/events")
                    assert (refused.status_code, refused.json()["code"]) == (429, "too-many-streams")
                while c.app.app.state.doors.live.streams:
                    await asyncio.sleep(0.01)
                async with http.stream("GET", f"{url}/mailbox/events") as answer:
                    assert answer.status_code == 200

    asyncio.run(run())


# ------------------------------------------------------------------------------------------------------ slow clients


async def raw(port: int, *pieces: bytes) -> bytes:
    """What the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_slow_and_endless_headers_are_cut(sqlite_copy: Database) -> None:
    async def run() -> None:
        settings = {"header_timeout_s": 0.3, "header_max_octets": 4096, "body_timeout_s": 0.3}
        async with served(sqlite_copy, **settings) as (_, server, _url):
            assert b" 408 " in await raw(server.port)  # says nothing
            assert b" 408 " in await raw(server.port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            endless = [b"GET / HTTP/1.1\r\n", *[b"X-Pad: " + b"x" * 1000 + b"\r\n"] * 20]
            assert b" 431 " in await raw(server.port, *endless)
            slow = b"POST /api/v1/auth/otp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            answer = await raw(server.port, slow)
            assert b" 408 " in answer
            assert b"application/problem+json" in answer
            assert b" 400 " in await raw(server.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

    asyncio.run(run())


def test_one_address_cannot_take_every_connection(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with served(sqlite_copy, connections_per_address=3) as (_, server, url):
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
            assert b" 503 " in await raw(server.port)
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            async with httpx.AsyncClient() as http:
                for _ in range(200):  # the server hears of the closes in its own time
                    answer = await http.get(f"{url}/nothing")
                    if answer.status_code == 404:
                        return
                    await asyncio.sleep(0.01)
                raise AssertionError("still refused")

    asyncio.run(run())


@pytest.mark.parametrize(("trusted", "counted"), [((), False), (("127.0.0.0/8",), True)])
def test_only_a_trusted_proxy_names_the_client(
    sqlite_copy: Database, trusted: tuple[str, ...], counted: bool
) -> None:
    async def run() -> None:
        async with served(sqlite_copy, trusted_proxies=trusted) as (c, _, url):
            _, key = await c.make_account("fenced", allowed_networks=["192.0.2.0/24"])
            claims = bearer(key) | {"X-Forwarded-For": "10.0.0.1, 192.0.2.9"}
            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{url}/messages:estimate", json={"text": "x"}, headers=claims)
                assert (answer.status_code == 200) is counted, answer.text

    asyncio.run(run())


# --------------------------------------------------------------------------------------------------------------- TLS


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


async def common_name(port: int) -> str:
    """Whose certificate the server shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    found = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value)


def test_a_certificate_is_read_again_without_a_stop(sqlite_copy: Database, tmp_path: Path) -> None:
    async def run() -> None:
        cert, key = certificate(tmp_path, "first")
        async with served(sqlite_copy, tls_certificate=cert, tls_key=key) as (_, server, url):
            context = ssl.create_default_context(cafile=str(cert))
            async with httpx.AsyncClient(verify=context) as http:
                answer = await http.get(url.replace("http:", "https:") + "/nothing")
                assert answer.status_code == 404
                assert await common_name(server.port) == "first"
                certificate(tmp_path, "second")
                server.reload_tls()
                assert await common_name(server.port) == "second"
                assert (await http.get(url.replace("http:", "https:") + "/nothing")).status_code == 404

    asyncio.run(run())


def test_plain_http_leaves_the_machine_only_behind_a_proxy() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "center.example"):
        with pytest.raises(ValidationError, match="in the clear"):
            HttpSettings(host=host)
        assert HttpSettings(host=host, proxy_ends_tls=True).host == host
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert HttpSettings(host=host).host == host
    with pytest.raises(ValidationError, match="belong together"):
        HttpSettings(tls_key=Path("key.pem"))


def test_a_taken_port_is_an_error_at_start(sqlite_copy: Database) -> None:
    async def run() -> None:
        async with served(sqlite_copy) as (c, server, _):
            second = HttpServer(c.app, HttpSettings(port=server.port))
            with pytest.raises(OSError, match="in use"):
                await second.start()

    asyncio.run(run())


# --------------------------------------------------------------------------------------------------- operations port


def test_the_operations_port(sqlite_copy: Database, tmp_path: Path) -> None:
    async def run() -> None:
        async with rest_center(sqlite_copy.url) as c:
            trouble = Finding("links", True)
            app = create_ops_app(c.rooms, (disk_probe(tmp_path, 0), lambda: trouble))
            server = HttpServer(app, OpsSettings(port=0))
            await server.start()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
                assert (await http.get("/healthz")).text == "ok\n"
                ready = await http.get("/readyz")
                assert (ready.status_code, ready.json()["ready"]) == (200, True)
                assert set(ready.json()["checks"]) == {"store", "disk", "links"}
                trouble = Finding("links", False, "no link is up")
                ready = await http.get("/readyz")
                assert ready.status_code == 503
                assert ready.json()["checks"]["links"] == {"ok": False, "why": "no link is up"}
                metrics = (await http.get("/metrics")).text
                assert "restante_submission_messages_total" in metrics
                version = (await http.get("/version")).json()
                assert (version["version"], version["node"]) == ("0.0.test", c.rooms.store.node)
                assert (await http.get("/none")).headers["content-type"] == "application/problem+json"
            full = disk_probe(tmp_path, 10**9)()
            assert not full.ok
            assert "wanted" in full.why
            assert not disk_probe(tmp_path / "gone", 0)().ok
            await server.stop()

    asyncio.run(run())
