"""The CTRL client against a real OsmoHLR, and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from osmo_hlr import OsmoHlr
from waiting import soon, soon_true

from restante.signaling.ctrl import Ctrl, CtrlRefused, CtrlUnavailable
from restante.signaling.ipa import PING, Extension, Framer, osmo_frame
from restante.signaling.reconnect import Backoff

QUICK = 0.02  # seconds between attempts to connect


def client(host: str, port: int, **settings: float) -> Ctrl:
    return Ctrl(host, port, backoff=Backoff(QUICK, QUICK), **settings)  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------------------------------------ a real register


def test_questions_in_flight_at_a_real_register(osmo_hlr: OsmoHlr) -> None:
    async def scenario() -> None:
        ctrl = client(osmo_hlr.address, osmo_hlr.ctrl_port)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        imsis = [f"0010100000{number:05}" for number in range(50)]
        for imsi in imsis:
            await ctrl.set("subscriber.create", imsi, 10)
        answers = await asyncio.gather(*(ctrl.get(f"subscriber.by-imsi-{imsi}.info", 10) for imsi in imsis))
        assert all(f"\nimsi\t{imsi}\n" in answer for imsi, answer in zip(imsis, answers, strict=True))
        with pytest.raises(CtrlRefused, match="No such subscriber"):
            await ctrl.get("subscriber.by-imsi-001019999999999.info", 10)
        await ctrl.close()
        assert not ctrl.connected

    asyncio.run(scenario())


def test_a_register_that_comes_back(osmo_hlr: OsmoHlr) -> None:
    async def scenario() -> None:
        ctrl = client(osmo_hlr.address, osmo_hlr.ctrl_port)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        await ctrl.set("subscriber.create", "001010000000001", 10)
        osmo_hlr.stop()
        await soon_true(lambda: not ctrl.connected)
        with pytest.raises(CtrlUnavailable, match="disconnected"):
            await ctrl.get("subscriber.by-imsi-001010000000001.info", 10)
        await asyncio.to_thread(osmo_hlr.start)
        await soon_true(lambda: ctrl.connected)
        assert "001010000000001" in await ctrl.get("subscriber.by-imsi-001010000000001.info", 10)
        await ctrl.close()

    asyncio.run(scenario())


def test_a_register_that_is_frozen(osmo_hlr: OsmoHlr) -> None:
    """A question ends at its deadline; the link is given up when nothing is heard, and works again afterwards."""

    async def scenario() -> None:
        ctrl = client(osmo_hlr.address, osmo_hlr.ctrl_port, stall_s=0.2)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        osmo_hlr.freeze()
        with pytest.raises(CtrlUnavailable, match="timeout"):
            await ctrl.get("subscriber.by-imsi-001010000000001.info", 0.1)
        osmo_hlr.thaw()

        async def answers() -> bool:
            try:
                await ctrl.get("subscriber.by-imsi-001010000000001.info", 10)
            except CtrlRefused:
                return True
            except CtrlUnavailable:
                return False
            return False

        await soon(answers)
        await ctrl.close()

    asyncio.run(scenario())


# -------------------------------------------------------------------------------------------- servers of our own

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def questions(reader: asyncio.StreamReader, framer: Framer) -> list[tuple[str, str]]:
    """Number and text of what was asked since the last time."""
    data = await reader.read(65536)
    if not data:
        raise ConnectionResetError
    lines = [frame.payload.decode().split(" ", 2) for frame in framer.feed(data)]
    return [(number, rest) for _, number, rest in lines]


def reply(text: str) -> bytes:
    return osmo_frame(Extension.CTRL, text.encode())


def with_server(handler: Handler, scenario: Callable[[Ctrl], Awaitable[None]], **settings: float) -> None:
    async def safe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(safe, "127.0.0.1", 0)
        ctrl = client("127.0.0.1", server.sockets[0].getsockname()[1], **settings)
        ctrl.open()
        await soon_true(lambda: ctrl.connected)
        await scenario(ctrl)
        await ctrl.close()
        server.close()

    asyncio.run(run())


def test_answers_in_any_order_find_their_question() -> None:
    async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer()
        asked: list[tuple[str, str]] = []
        while len(asked) < 3:
            asked += await questions(reader, framer)
        writer.write(PING + reply("TRAP 0 some thing") + reply("garbage") + reply("GET_REPLY x y z"))
        for number, variable in reversed(asked):
            writer.write(reply(f"GET_REPLY {number} {variable} value of {variable}\nline two"))
        await reader.read()

    async def scenario(ctrl: Ctrl) -> None:
        answers = await asyncio.gather(*(ctrl.get(name, 10) for name in ("a", "b", "c")))
        assert answers == [f"value of {name}\nline two" for name in "abc"]
        assert ctrl.in_flight == 0

    with_server(backwards, scenario)


def test_a_late_answer_is_dropped_and_the_link_lives() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer()
        (first,) = await questions(reader, framer)
        (second,) = await questions(reader, framer)
        writer.write(reply(f"GET_REPLY {first[0]} a late") + reply(f"GET_REPLY {second[0]} b in time"))
        await reader.read()

    async def scenario(ctrl: Ctrl) -> None:
        with pytest.raises(CtrlUnavailable, match="timeout"):
            await ctrl.get("a", 0.05)
        assert await ctrl.get("b", 10) == "in time"

    with_server(late, scenario, stall_s=60)


def test_the_window_is_a_bound() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()

    async def scenario(ctrl: Ctrl) -> None:
        asked = [asyncio.ensure_future(ctrl.get(f"v{n}", 30)) for n in range(3)]
        await soon_true(lambda: ctrl.in_flight == 3)
        with pytest.raises(CtrlUnavailable, match="busy"):
            await ctrl.get("one more", 30)
        asked[0].cancel()
        await soon_true(lambda: ctrl.in_flight == 2)
        await ctrl.close()
        for question in asked[1:]:
            with pytest.raises(CtrlUnavailable, match="disconnected"):
                await question

    with_server(silent, scenario, window=3)


@pytest.mark.parametrize("octets", [b"\0\0\xee", b""])
def test_a_link_that_ends_ends_its_questions(octets: bytes) -> None:
    """`octets` break the framing; none is a plain end."""
    connections = 0

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(1)
        writer.write(octets)
        if octets:
            await reader.read()

    async def scenario(ctrl: Ctrl) -> None:
        with pytest.raises(CtrlUnavailable, match="disconnected"):
            await ctrl.get("a", 30)
        await soon_true(lambda: connections > 1 and ctrl.connected)

    with_server(rude, scenario)


def test_a_question_is_one_line() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="one line"):
            await Ctrl("127.0.0.1", 1).get("a\nSET 1 b c", 1)

    asyncio.run(scenario())


def test_nobody_there() -> None:
    async def scenario() -> None:
        server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        ctrl = client("127.0.0.1", port)
        ctrl.open()
        with pytest.raises(CtrlUnavailable, match="disconnected"):
            await ctrl.get("a", 1)
        await ctrl.close()

    asyncio.run(scenario())


def test_pauses_grow_and_begin_again() -> None:
    backoff = Backoff(1, 4, jitter=0)
    assert [backoff.pause() for _ in range(4)] == [1, 2, 4, 4]
    backoff.reset()
    assert backoff.pause() == 1
    spread = {round(Backoff(1, 4, jitter=0.5).pause(), 6) for _ in range(20)}
    assert len(spread) > 1
    assert all(0.5 <= pause <= 1.5 for pause in spread)
