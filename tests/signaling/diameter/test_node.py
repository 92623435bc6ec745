"""Connections: two of ours with each other, and peers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from diameter_nodes import CENTER, LOOPBACK, MME, OFR, echo, node, origin, run
from waiting import soon_true

from restante.signaling.causes import ResultCode
from restante.signaling.diameter import connection as connections
from restante.signaling.diameter.codec import Avp, Avps, Framer, Message, avp, decode
from restante.signaling.diameter.connection import (
    TRANSITIONS,
    Connection,
    Identity,
    Limits,
    State,
    Timers,
    Unavailable,
)
from restante.signaling.diameter.dictionary import Application, Command
from restante.signaling.diameter.node import Node, PeerSettings
from restante.signaling.diameter.short_messages import success


async def pair(
    handlers: dict | None = None, *, center: dict | None = None, mme: dict | None = None
) -> tuple[Node, Node]:
    """A center that listens and an MME that is connected to it."""
    there = node(
        CENTER, [PeerSettings(MME.host, networks=LOOPBACK)], handlers or {OFR: echo}, **(center or {})
    )
    port = await there.listen("127.0.0.1", 0)
    here = node(MME, [PeerSettings(CENTER.host, "127.0.0.1", port)], **(mme or {}))
    here.open()
    await soon_true(lambda: here.connected(CENTER.host) and there.connected(MME.host))
    return there, here


# ------------------------------------------------------------------------------------------------- two of ours


def test_requests_and_answers() -> None:
    async def scenario() -> None:
        there, here = await pair()
        answers = await asyncio.gather(
            *(
                here.request(Application.SGD, OFR, (*origin(MME), avp("SM-RP-UI", b"%d" % n)), 30)
                for n in range(200)
            )
        )
        assert [answer.avps.octets("SM-RP-UI") for answer in answers] == [b"%d" % n for n in range(200)]
        assert all(answer.succeeded for answer in answers)
        await here.close()
        await soon_true(lambda: not there.connected(MME.host))
        await there.close()

    run(scenario)


def test_a_handler_may_answer_later_and_in_any_order() -> None:
    waiting: list[tuple[Connection, Message]] = []

    async def scenario() -> None:
        there, here = await pair({OFR: lambda connection, request: waiting.append((connection, request))})
        asked = [
            asyncio.ensure_future(
                here.request(Application.SGD, OFR, (*origin(MME), avp("SM-RP-UI", text)), 30)
            )
            for text in (b"a", b"b")
        ]
        await soon_true(lambda: len(waiting) == 2)
        for connection, request in reversed(waiting):
            echo(connection, request)
        assert [(await each).avps.octets("SM-RP-UI") for each in asked] == [b"a", b"b"]
        await here.close()
        await soon_true(lambda: waiting[0][0].state is State.CLOSED)
        assert waiting[0][0].answer(waiting[0][1], ()) is False
        await there.close()

    run(scenario)


@pytest.mark.parametrize(
    ("application", "command", "extra", "result"),
    [
        (Application.SH, OFR, (), ResultCode.APPLICATION_UNSUPPORTED),
        (Application.SGD, Command.USER_DATA, (), ResultCode.COMMAND_UNSUPPORTED),
        (Application.SGD, OFR, (avp("Route-Record", "SMSC.home.net"),), ResultCode.LOOP_DETECTED),
        (Application.SGD, OFR, (avp("Destination-Host", "other.home.net"),), ResultCode.UNABLE_TO_DELIVER),
        (Application.SGD, OFR, (avp("Destination-Realm", "other.net"),), ResultCode.REALM_NOT_SERVED),
    ],
)
def test_what_the_connection_refuses(
    application: int, command: int, extra: tuple[Avp, ...], result: int
) -> None:
    async def scenario() -> None:
        there, here = await pair()
        answer = await here.request(application, command, (*origin(MME), *extra), 30)
        assert answer.result == (result, False)
        assert answer.is_error is (result < 4000)
        nameless = await here.request(Application.SGD, OFR, (), 30)
        assert nameless.result == (ResultCode.MISSING_AVP, False)
        await here.close()
        await there.close()

    run(scenario)


def test_bounds_and_deadlines() -> None:
    async def scenario() -> None:
        there, here = await pair(
            {OFR: lambda connection, request: None},
            center={"limits": Limits(incoming=2)},
            mme={"limits": Limits(window=3)},
        )
        avps = origin(MME)
        open_ones = [asyncio.ensure_future(here.request(Application.SGD, OFR, avps, 60)) for _ in range(2)]
        connection = here.route(CENTER.host)
        assert connection is not None
        await soon_true(lambda: connection.in_flight == 2)
        busy = await here.request(Application.SGD, OFR, avps, 60)
        assert busy.result == (ResultCode.TOO_BUSY, False)
        open_ones.append(asyncio.ensure_future(here.request(Application.S6C, Command.USER_DATA, avps, 60)))
        open_ones.append(asyncio.ensure_future(here.request(Application.SGD, OFR, avps, 60)))
        with pytest.raises(Unavailable, match="busy"):
            await asyncio.gather(*open_ones[2:], here.request(Application.SGD, OFR, avps, 60))
        await soon_true(lambda: connection.in_flight == 2)
        with pytest.raises(Unavailable, match="timeout"):
            await connection.request(Application.COMMON, 999, (), 0)
        await here.close()
        for each in open_ones[:2]:
            with pytest.raises(Unavailable, match="disconnected"):
                await each
        with pytest.raises(Unavailable, match="no-route"):
            await here.request(Application.SGD, OFR, avps, 60)
        await there.close()

    run(scenario)


def test_a_lost_peer_is_connected_to_again() -> None:
    ups: list[tuple[str, bool]] = []

    async def scenario() -> None:
        there, here = await pair(mme={"changed": lambda host, up: ups.append((host, up))})
        for _ in range(2):
            lost = there.route(MME.host)
            assert lost is not None
            lost.give_up()
            await soon_true(lambda: ups[-1:] == [(CENTER.host, False)])
            await soon_true(lambda: here.connected(CENTER.host) and there.connected(MME.host))
        assert ups == [(CENTER.host, True), (CENTER.host, False)] * 2 + [(CENTER.host, True)]
        await here.close()
        await there.close()

    run(scenario)


def test_routes_prefer_the_host_then_relays() -> None:
    async def scenario() -> None:
        there = node(CENTER, [PeerSettings(h, networks=LOOPBACK, relay=h == "dra.home.net") for h in HOSTS])
        port = await there.listen("127.0.0.1", 0)
        others = [
            node(Identity(host, "home.net"), [PeerSettings(CENTER.host, "127.0.0.1", port)]) for host in HOSTS
        ]
        for other in others:
            other.open()
        await soon_true(lambda: all(there.connected(host) for host in HOSTS))

        def name(host: str) -> str:
            found = there.route(host)
            return found.peer_host if found else ""

        assert name("mme.home.net") == "mme.home.net"
        assert name("HSS.home.net") == "hss.home.net"
        assert name("mme.far.net") == "dra.home.net"
        assert name("") == "dra.home.net"
        await others[HOSTS.index("dra.home.net")].close()
        await soon_true(lambda: not there.connected("dra.home.net"))
        assert name("mme.far.net") == ""
        assert name("") == "mme.home.net"
        for other in others:
            await other.close()
        await there.close()

    run(scenario)


HOSTS = ["mme.home.net", "dra.home.net", "hss.home.net"]


# ----------------------------------------------------------------------------------------- peers by hand


class Raw:
    """A socket that speaks whatever the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.framer, self.read = reader, writer, Framer(), []

    @classmethod
    async def connect(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, code: int, *avps: Avp, application: int = 0, flags: int = 0x80, hop: int = 1) -> None:
        self.writer.write(Message(flags, code, application, hop, hop, Avps(avps)).encode())

    async def next(self) -> Message | None:
        """The next message; None at the end of the connection."""
        while not self.read:
            try:
                data = await asyncio.wait_for(self.reader.read(65536), 60)
            except ConnectionError:
                return None
            if not data:
                return None
            self.read += self.framer.feed(data)
        return decode(self.read.pop(0))

    async def introduce(self, identity: Identity, application: int = Application.SGD) -> Message | None:
        self.send(Command.CAPABILITIES_EXCHANGE, *origin(identity), avp("Auth-Application-Id", application))
        return await self.next()


def with_center(scenario: Callable[[Node, int], Awaitable[None]], **settings) -> None:
    async def run_it() -> None:
        there = node(CENTER, [PeerSettings(MME.host, networks=LOOPBACK)], {OFR: echo}, **settings)
        port = await there.listen("127.0.0.1", 0)
        await scenario(there, port)
        await there.close()

    run(run_it)


def test_who_is_admitted() -> None:
    async def scenario(there: Node, port: int) -> None:
        for identity, application, result in (
            (Identity("stranger.net", "net"), Application.SGD, ResultCode.UNKNOWN_PEER),
            (MME, Application.SH, ResultCode.NO_COMMON_APPLICATION),
        ):
            raw = await Raw.connect(port)
            answer = await raw.introduce(identity, application)
            assert answer is not None
            assert answer.result == (result, False)
            assert await raw.next() is None
        raw = await Raw.connect(port)
        relay = await raw.introduce(replace(MME, host="MME.home.NET"), Application.RELAY)
        assert relay is not None
        assert relay.succeeded
        assert there.connected(MME.host)
        assert relay.avps.text("Origin-Host") == CENTER.host

    with_center(scenario)


def test_a_name_belongs_to_one_connection() -> None:
    alarms: list[tuple[str, str]] = []

    async def scenario(there: Node, port: int) -> None:
        first = await Raw.connect(port)
        assert (await first.introduce(MME)) is not None
        second = await Raw.connect(port)
        answer = await second.introduce(MME)
        assert answer is not None
        assert answer.result == (ResultCode.ELECTION_LOST, False)
        assert await second.next() is None
        assert alarms == [(MME.host, "127.0.0.1")]
        asked = await first.next()  # whether it still lives
        assert asked is not None
        assert (asked.code, asked.is_request) == (Command.DEVICE_WATCHDOG, True)
        first.send(Command.DEVICE_WATCHDOG, *origin(MME))
        still = await first.next()
        assert still is not None
        assert still.succeeded

    with_center(scenario, alarm=lambda host, address: alarms.append((host, address)))


def test_a_name_belongs_to_its_addresses() -> None:
    async def scenario() -> None:
        there = node(CENTER, [PeerSettings(MME.host, networks=("192.0.2.0/24",))])
        port = await there.listen("127.0.0.1", 0)
        answer = await (await Raw.connect(port)).introduce(MME)
        assert answer is not None
        assert answer.result == (ResultCode.UNKNOWN_PEER, False)
        await there.close()

    run(scenario)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        Message(0x80, Command.DEVICE_WATCHDOG, 0, 1, 1, Avps(origin(MME))).encode(),
        Message(0x80, OFR, Application.SGD, 1, 1, Avps(origin(MME))).encode(),
        b"\x01\x00\x00\x1c" + b"\x80\x00\x01\x01" + bytes(12) + b"\x00\x00\x01\x08\x40\x00\x00\xff",
    ],
)
def test_what_is_no_introduction_ends_the_connection(octets: bytes) -> None:
    async def scenario(there: Node, port: int) -> None:
        raw = await Raw.connect(port)
        raw.writer.write(octets)
        assert await raw.next() is None

    with_center(scenario)


def test_a_broken_request_is_answered_and_the_connection_lives() -> None:
    async def scenario(there: Node, port: int) -> None:
        raw = await Raw.connect(port)
        await raw.introduce(MME)
        good = Message(0xC0, OFR, Application.SGD, 5, 6, Avps(origin(MME))).encode()
        raw.writer.write(good[:27] + b"\xff" + good[28:])
        refusal = await raw.next()
        assert refusal is not None
        assert (refusal.result[0], refusal.hop_by_hop) == (ResultCode.INVALID_AVP_LENGTH, 5)
        raw.writer.write(good)
        answer = await raw.next()
        assert answer is not None
        assert answer.succeeded
        raw.send(Command.CAPABILITIES_EXCHANGE, *origin(MME))  # a second introduction is not allowed
        assert await raw.next() is None

    with_center(scenario)


def test_silence_is_asked_and_then_ends() -> None:
    async def scenario(there: Node, port: int) -> None:
        raw = await Raw.connect(port)
        await raw.introduce(MME)
        asked = await raw.next()
        assert asked is not None
        assert (asked.code, asked.is_request) == (Command.DEVICE_WATCHDOG, True)
        raw.writer.write(asked.answer((success(), *origin(MME))).encode())
        again = await raw.next()
        assert again is not None
        assert again.code == Command.DEVICE_WATCHDOG
        assert await raw.next() is None
        assert not there.connected(MME.host)

    with_center(scenario, timers=Timers(30, 0.1, 0.02, 1))


def test_who_says_nothing_at_all_is_closed() -> None:
    async def scenario(there: Node, port: int) -> None:
        assert await (await Raw.connect(port)).next() is None

    with_center(scenario, timers=Timers(0.05, 60, 0, 1))


def test_strangers_are_bounded() -> None:
    async def scenario(there: Node, port: int) -> None:
        quiet = [await Raw.connect(port) for _ in range(100)]
        assert await (await Raw.connect(port)).next() is None
        quiet[0].writer.close()

    with_center(scenario)


def test_goodbyes() -> None:
    async def scenario(there: Node, port: int) -> None:
        raw = await Raw.connect(port)
        await raw.introduce(MME)
        raw.send(Command.DISCONNECT_PEER, *origin(MME), avp("Disconnect-Cause", connections.REBOOTING))
        answer = await raw.next()
        assert answer is not None
        assert answer.succeeded
        ((_, gone),) = there.peers()
        assert gone is not None
        assert gone.state is State.CLOSING
        with pytest.raises(Unavailable, match="disconnected"):
            await gone.request(Application.SGD, Command.MT_FORWARD_SHORT_MESSAGE, (), 10)
        with pytest.raises(Unavailable, match="no-route"):
            await there.request(Application.SGD, Command.MT_FORWARD_SHORT_MESSAGE, (), 10, to_host=MME.host)
        assert await raw.next() is None

    with_center(scenario, timers=Timers(30, 60, 0, 0.05))


def test_our_goodbye_waits_for_its_answer() -> None:
    async def scenario(there: Node, port: int) -> None:
        raw = await Raw.connect(port)
        await raw.introduce(MME)
        closing = asyncio.ensure_future(there.close())
        request = await raw.next()
        assert request is not None
        assert (request.code, request.avps.number("Disconnect-Cause")) == (Command.DISCONNECT_PEER, 0)
        assert not closing.done()
        raw.writer.write(request.answer((success(), *origin(MME))).encode())
        assert await raw.next() is None
        await closing

    with_center(scenario)


def test_who_answers_with_another_name_is_not_the_peer() -> None:
    async def scenario() -> None:
        introduced = 0

        async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal introduced
            raw = Raw(reader, writer)
            cer = await raw.next()
            assert cer is not None
            introduced += 1
            avps = (
                success(),
                *origin(Identity("other.net", "net")),
                avp("Auth-Application-Id", Application.SGD),
            )
            writer.write(cer.answer(avps).encode())
            assert await raw.next() is None
            writer.close()

        server = await asyncio.start_server(impostor, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here = node(MME, [PeerSettings(CENTER.host, "127.0.0.1", port)])
        here.open()
        await soon_true(lambda: introduced >= 2)
        assert not here.connected(CENTER.host)
        await here.close()
        server.close()

    run(scenario)


def test_every_state_is_reached_and_ends() -> None:
    reached = {State.WAIT_CER, State.WAIT_CEA}
    for _ in TRANSITIONS:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(State)
    assert all(State.CLOSED in after for before, after in TRANSITIONS.items() if before is not State.CLOSED)
    assert not TRANSITIONS[State.CLOSED]
