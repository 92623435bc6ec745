"""Whatever a peer sends: an answer, a closed connection, or patience within bounds; never an exception."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from restante.signaling.causes import ResultCode
from restante.signaling.diameter import short_messages
from restante.signaling.diameter.codec import MAX_MESSAGE, Avp, Avps, Framer, Message, avp, decode
from restante.signaling.diameter.connection import Connection, Hooks, Identity, Limits, State, Timers
from restante.signaling.diameter.dictionary import BY_NAME, Application, Command
from restante.signaling.diameter.short_messages import Incomplete, mo_forward, success

CENTER, MME = Identity("smsc.home.net", "home.net"), Identity("mme.home.net", "home.net")
OFR = mo_forward(
    MME, "s;1;1", imsi="001010000000001", msisdn="447700900123", center="447700900999", tpdu=b"\1\0",
    host=CENTER.host, realm=CENTER.realm,
)  # fmt: skip
INTRODUCTION = Message(
    0x80, Command.CAPABILITIES_EXCHANGE, 0, 1, 1,
    Avps((avp("Origin-Host", MME.host), avp("Origin-Realm", MME.realm),
          avp("Auth-Application-Id", Application.SGD))),
).encode()  # fmt: skip


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def answered(connection: Connection, request: Message) -> None:
    """As the door does: what lacks something is refused, what does not is stored."""
    try:
        short_messages.read_mo_forward(request)
        short_messages.trusted_origin(request, connection.peer_host, frozenset(["dra.home.net"]))
    except Incomplete as problem:
        connection.refuse(request, problem.result, str(problem))
    else:
        connection.answer(request, (success(), avp("Origin-Host", CENTER.host)))


async def hear(chunks: list[bytes]) -> tuple[Connection, Wire, list[dict[str, Any]]]:
    """A connection that has heard all this."""
    loop, faults = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    hooks = Hooks(answered, lambda *_: ResultCode.SUCCESS, lambda _: None, lambda _: None)
    connection = Connection(CENTER, hooks, initiator=False, timers=Timers(), limits=Limits(incoming=3))
    wire = Wire()
    connection.connection_made(wire)
    for chunk in chunks:
        if wire.closed:
            break
        connection.data_received(chunk)
        assert len(connection._framer._buffer) < MAX_MESSAGE + 1
    await asyncio.sleep(0)
    connection.connection_lost(None)
    return connection, wire, faults


def _bent(octets: bytes, changes: list[tuple[int, int]]) -> bytes:
    bent = bytearray(octets)
    for at, value in changes:
        bent[at % len(bent)] = value
    return bytes(bent)


changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)
requests = st.builds(
    lambda avps, flags, code, bent: _bent(
        Message(flags, code, Application.SGD, 5, 6, Avps(avps)).encode(), bent
    ),
    st.one_of(st.just(OFR), st.permutations(OFR), st.lists(st.sampled_from(OFR), max_size=12)),
    st.sampled_from([0x80, 0xC0, 0xD0, 0xA0, 0x00, 0x40]),
    st.sampled_from([int(code) for code in Command]),
    changes,
)


@settings(deadline=None)
@given(st.lists(st.one_of(requests, st.binary(max_size=80)), max_size=6), st.booleans(), st.integers(1, 200))
def test_any_stream_is_answered_or_closed(frames: list[bytes], introduced: bool, cut: int) -> None:
    stream = (INTRODUCTION if introduced else b"") + b"".join(frames)
    chunks = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    _, wire, faults = asyncio.run(hear(chunks))
    assert faults == []
    answers = [decode(octets) for octets in Framer().feed(wire.written)]  # what we say is always sound
    assert all(not each.is_request or each.code == Command.DEVICE_WATCHDOG for each in answers)


def test_an_endless_message_is_not_waited_for() -> None:
    head = b"\x01\xff\xff\xfc" + bytes(16)
    connection, wire, faults = asyncio.run(hear([INTRODUCTION, head, *[bytes(65536)] * 4]))
    assert (wire.closed, faults) == (True, [])
    assert connection.state is State.CLOSED


def test_nests_are_not_followed() -> None:
    """A group inside a group, ten thousand deep: read as far as somebody asks, which is not deep."""
    nested = Avp(3102, 10415, 0xC0, b"")
    while len(nested.data) < 60_000:
        nested = Avp(3102, 10415, 0xC0, nested.encode())
    others = [each for each in OFR if each.name != "User-Identifier"]
    request = Message(0xC0, Command.MO_FORWARD_SHORT_MESSAGE, Application.SGD, 5, 6, Avps((*others, nested)))
    _, wire, faults = asyncio.run(hear([INTRODUCTION, request.encode()]))
    answers = [decode(octets) for octets in Framer().feed(wire.written)]
    assert answers[-1].result == (ResultCode.MISSING_AVP, False)
    assert faults == []


values = st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.binary(max_size=24), max_size=12)


@given(values)
def test_readers_understand_or_say_what_is_missing(values: dict[str, bytes]) -> None:
    avps = Avps(Avp(BY_NAME[name].code, BY_NAME[name].vendor, 0xC0, data) for name, data in values.items())
    message = Message(0xC0, Command.MO_FORWARD_SHORT_MESSAGE, Application.SGD, 1, 1, avps)
    for reader in (
        short_messages.read_mo_forward,
        short_messages.read_mt_forward,
        short_messages.read_alert,
        short_messages.read_delivered,
        short_messages.read_routing,
    ):
        with contextlib.suppress(Incomplete):
            reader(message)
    assert short_messages.trusted_origin(message, "mme.home.net", frozenset()) in ("", "mme.home.net")
