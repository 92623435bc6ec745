"""The one way out: what must never be asked, and what a bad server may cost."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest
from http_peer import http_peer

from restante.access.outgoing import Outgoing, OutgoingFailed, OutgoingRefused, is_public

LOOPBACK = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8", "198.18.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "2002:7f00:1::", "2001:0:1::1",
    ],
)  # fmt: skip
def test_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://2130706433/", "http://0x7f000001/", "http://127.1/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://localhost/", "http://169.254.169.254/latest/meta-data/",
        "ftp://example.com/", "file:///etc/passwd", "http:///", "gopher://x/", "http://user:secret@8.8.8.8/",
        "http://8.8.8.8:0/", "http://8.8.8.8:99999/", "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_never_asked(url: str) -> None:
    async def scenario() -> None:
        outgoing = Outgoing()
        with pytest.raises((OutgoingRefused, OutgoingFailed)) as caught:
            await outgoing.request("GET", url, timeout_s=5)
        if "://" in url and not url.startswith(("http://2130706433", "http://0x7f", "http://127.1")):
            assert isinstance(caught.value, OutgoingRefused)
        await outgoing.close()

    asyncio.run(scenario())


def test_a_listed_address_is_asked_and_nothing_is_followed() -> None:
    async def scenario() -> None:
        async with http_peer() as peer:
            outgoing = Outgoing(LOOPBACK)
            peer.always(302, b"elsewhere", location="http://127.0.0.1:1/secret")
            reply = await outgoing.request("POST", peer.url + "/a?b=c", content=b"x", headers={"X-Y": "z"})
            assert (reply.status, reply.body, reply.headers["location"]) == (
                302, b"elsewhere", "http://127.0.0.1:1/secret",
            )  # fmt: skip
            [request] = peer.requests
            assert (request.method, request.path, request.body) == ("POST", "/a?b=c", b"x")
            assert request.headers["host"] == f"127.0.0.1:{peer.port}"
            assert request.headers["x-y"] == "z"
            await outgoing.close()

    asyncio.run(scenario())


def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    """A name is resolved once a connection: a second answer cannot lead elsewhere. One bad address spoils the name."""

    async def scenario() -> None:
        asked: list[str] = []
        answers = [["8.8.8.8", "127.0.0.1"], ["127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]]

        async def look_up(host: str, port: int) -> Sequence[str]:
            asked.append(host)
            return answers[len(asked) - 1]

        outgoing = Outgoing(look_up=look_up)
        for _ in answers:
            with pytest.raises(OutgoingRefused):
                await outgoing.request("GET", "http://rebind.example/", timeout_s=5)
        assert asked == ["rebind.example"] * 4
        async with http_peer() as peer:
            listed = Outgoing(LOOPBACK, look_up=look_up)
            answers.append(["127.0.0.1"])
            await listed.request("GET", f"http://inside.example:{peer.port}/")
            assert peer.requests[0].headers["host"] == f"inside.example:{peer.port}"
            assert len(asked) == 5
            await listed.close()
        await outgoing.close()

    asyncio.run(scenario())


def test_bounds_of_time_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def scenario() -> None:
        async with http_peer() as peer:
            outgoing = Outgoing(LOOPBACK)
            peer.says = lambda request: None
            with pytest.raises(OutgoingFailed) as slow:
                await outgoing.request("GET", peer.url, timeout_s=0.05)
            assert slow.value.slow
            peer.always(200, b"x" * 5000)
            with pytest.raises(OutgoingFailed) as long:
                await outgoing.request("GET", peer.url, most_octets=4999)
            assert not long.value.slow
            assert len((await outgoing.request("GET", peer.url, most_octets=5000)).body) == 5000
            await outgoing.close()
        async with http_peer() as gone:
            port = gone.port
        outgoing = Outgoing(LOOPBACK)
        with pytest.raises(OutgoingFailed):
            await outgoing.request("GET", f"http://127.0.0.1:{port}/")
        await outgoing.close()

    asyncio.run(scenario())
