"""The front against switches and a register that do as the test says. With real ones: tests/smsc/test_osmocom.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from gsup_switch import GsupSwitch

from restante.message import Address
from restante.signaling import gsup, ipa
from restante.signaling.affiliations import Affiliations
from restante.signaling.causes import GmmCause
from restante.signaling.gsup import CancelType, Domain, Element, Gsup, Ie, MessageType, SmAddress
from restante.signaling.gsup_front import Front, FrontHooks, MtResult, NamedSwitch
from restante.signaling.gsup_link import Limits, Link
from restante.signaling.reconnect import Backoff
from restante.signaling.registers import Affiliation, RegisterUnavailable, ServedBy, Status, Who

IMSI = "001010000000001"
CENTER = Address(1, 1, "447700900999")
MSISDN = Element(Ie.MSISDN, bytes((6,)) + bytes.fromhex("447700091000"[:12]))


class Nobody:
    """A register that is not asked here."""

    name = "nobody"

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        raise RegisterUnavailable("down")


class Register:
    """The register's end of each connection, in the hands of the test."""

    def __init__(self) -> None:
        self.ends: list[GsupSwitch] = []
        self.server: asyncio.Server | None = None
        self.port = 0
        self.asks = True  # for the name, at once

    async def listen(self, port: int = 0) -> None:
        """Accept from now on."""
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = GsupSwitch("register", reader, writer)
        if self.asks:
            writer.write(ipa.identity_request((ipa.IdentityTag.SERIAL_NUMBER,)))
        self.ends.append(end)

    async def away(self) -> None:
        """Go away."""
        assert self.server is not None
        self.server.close()
        for end in self.ends:
            end.writer.close()
        self.ends.clear()

    async def end(self) -> GsupSwitch:
        """The newest connection, introduced."""
        await until(lambda: bool(self.ends))
        end = self.ends[-1]
        said = await end.frame()
        assert ipa.read_identity(said.payload) == {ipa.IdentityTag.SERIAL_NUMBER: "MSC-A"}
        return end


@dataclass
class World:
    """Everything of one test."""

    front: Front
    port: int
    register: Register
    affiliations: Affiliations
    said: list[tuple[str, Any]] = field(default_factory=list)

    async def switch(self, name: str = "MSC-A") -> GsupSwitch:
        """A switch that has said its name and answers the register's question for it."""
        switch = await GsupSwitch.connect(name, "127.0.0.1", self.port)
        await until(lambda: self.front.link(name) is not None)
        if self.register.asks:
            request = await switch.frame()
            assert request.payload[0] == ipa.Ccm.ID_GET
            tags = ipa.requested_tags(request.payload)
            switch.writer.write(ipa.identity_response(ipa.identity_of(name), tags))
        return switch

    def told(self, what: str) -> list[Any]:
        """What hooks were told."""
        return [fact for kind, fact in self.said if kind == what]


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def world(
    limits: Limits | None = None, *, late_s: float = 60, register: bool = True
) -> AsyncGenerator[World]:
    """A front between a test's switches and a test's register."""
    behind = Register()
    await behind.listen()
    if not register:
        await behind.away()
    made: list[World] = []

    def tell(what: str) -> Callable[..., None]:
        return lambda *facts: made[0].said.append((what, facts[-1] if len(facts) == 1 else facts))

    affiliations = Affiliations(Nobody(), now_ms=lambda: 1000)
    front = Front(
        [NamedSwitch("MSC-A", ("127.0.0.0/8",)), NamedSwitch("MSC-F", ("192.0.2.0/24",))],
        ("127.0.0.1", behind.port),
        FrontHooks(tell("mo"), tell("ready"), tell("seen"), tell("changed")),
        affiliations,
        now_ms=lambda: 1000,
        limits=limits,
        late_s=late_s,
        backoff=lambda: Backoff(0.01, 0.05),
        alarm=tell("alarm"),
    )
    port = await front.listen("127.0.0.1", 0)
    made.append(World(front, port, behind, affiliations))
    try:
        yield made[0]
    finally:
        await front.close()
        await behind.away()


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test with a deadline."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())


async def rest(end: GsupSwitch) -> bytes:
    """Everything up to the end of a connection, which may be a rude one."""
    with contextlib.suppress(ConnectionError):
        return await end.reader.read()
    return b""


def octets(message: Gsup) -> bytes:
    """A frame."""
    return ipa.osmo_frame(ipa.Extension.GSUP, message.encode())


async def exactly(end: GsupSwitch, expected: bytes) -> None:
    """The next frame is this one, octet for octet."""
    frame = await end.frame()
    assert frame.octets == expected


def test_frames_pass_both_ways_octet_for_octet_and_teach_who_serves_whom() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await all.switch()
            register = await all.register.end()
            odd = Gsup(0x7D, (Element(0xEE, b"\x00\xff"), Element(Ie.IMSI, b"\x0f")))  # nobody knows this
            for frame in (octets(odd), ipa.frame(0x42, b"?"), ipa.osmo_frame(0x77, b"\xff"), ipa.PING):
                switch.writer.write(frame)
                await exactly(register, frame)
            register.writer.write(ipa.PONG)
            await exactly(switch, ipa.PONG)

            update = gsup.update_location(IMSI)
            switch.writer.write(octets(update))
            await exactly(register, octets(update))
            data = Gsup(MessageType.INSERT_DATA, (update.elements[0], MSISDN))
            result = Gsup(MessageType.UPDATE_LOCATION_RESULT, update.elements[:1])
            register.writer.write(octets(data) + octets(result))
            await exactly(switch, octets(data))
            await exactly(switch, octets(result))
            (found,) = all.told("seen")
            assert (found.status, found.imsi, found.msisdn) == (Status.ATTACHED, IMSI, "447700900100")
            assert [(each.value, each.node) for each in found.addresses] == [("MSC-A", ServedBy.MSC)]
            assert all.affiliations.current(Who(msisdn="447700900100")) == found

    run(test())


def test_an_update_that_is_refused_teaches_nothing_and_a_purge_counts_for_the_serving_switch() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await all.switch()
            register = await all.register.end()
            update = gsup.update_location(IMSI, Domain.PS)
            for kind in (MessageType.UPDATE_LOCATION_ERROR, MessageType.UPDATE_LOCATION_RESULT):
                switch.writer.write(octets(update))
                await exactly(register, octets(update))
                assert not all.told("seen")
                register.writer.write(octets(Gsup(kind, update.elements[:1])))
                await switch.frame()
            (found,) = all.told("seen")
            assert found.addresses[0].node is ServedBy.SGSN

            purge = Gsup(MessageType.PURGE_MS, update.elements)
            switch.writer.write(octets(purge))
            await register.frame()
            register.writer.write(octets(gsup.answer(purge)))
            await switch.frame()
            known = all.affiliations.current(Who(imsi=IMSI))
            assert known is not None
            assert (known.status, known.addresses) == (Status.PURGED, ())

    run(test())


def test_short_messages_stay_here_and_are_not_shown_to_the_register() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await all.switch()
            register = await all.register.end()
            da, oa = SmAddress(number=CENTER, center=True), SmAddress(number=Address(1, 1, "447700900001"))
            switch.writer.write(octets(gsup.mo_forward_sm(IMSI, 1, da, oa, b"tpdu")))
            switch.writer.write(octets(gsup.ready_for_sm(IMSI, 2, gsup.AlertReason.PRESENT)))
            switch.writer.write(ipa.PING)
            await exactly(register, ipa.PING)  # and nothing before it
            ((link, request),) = all.told("mo")
            assert (link.name, request.tpdu, request.imsi) == ("MSC-A", b"tpdu", IMSI)
            assert len(all.told("ready")) == 1
            link.send(gsup.error(request, sm_rp_cause=21))
            answer = Gsup.decode((await switch.frame()).payload)
            assert (answer.type, answer.sm_rp_cause, answer.sm_rp_mr) == (
                MessageType.MO_FORWARD_SM_ERROR,
                21,
                1,
            )

    run(test())


def test_without_a_register_requests_are_refused_and_pings_answered_until_it_is_back() -> None:
    async def test() -> None:
        async with world(register=False) as all:
            all.register.asks = False
            switch = await all.switch()
            link = all.front.link("MSC-A")
            assert link is not None
            answer = await switch.exchange(gsup.update_location(IMSI))
            assert (answer.type, answer.cause) == (
                MessageType.UPDATE_LOCATION_ERROR,
                GmmCause.NETWORK_FAILURE,
            )
            switch.writer.write(ipa.PING)
            await exactly(switch, ipa.PONG)
            all.register.asks = True
            await all.register.listen(all.register.port)
            request = await switch.frame()
            switch.writer.write(
                ipa.identity_response(ipa.identity_of("MSC-A"), ipa.requested_tags(request.payload))
            )
            register = await all.register.end()
            switch.writer.write(octets(gsup.update_location(IMSI)))
            await exactly(register, octets(gsup.update_location(IMSI)))

    run(test())


def test_what_comes_before_the_register_knows_the_name_waits_for_it() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await GsupSwitch.connect("MSC-A", "127.0.0.1", all.port)
            switch.writer.write(octets(gsup.update_location(IMSI)))
            request = await switch.frame()
            switch.writer.write(
                ipa.identity_response(ipa.identity_of("MSC-A"), ipa.requested_tags(request.payload))
            )
            register = await all.register.end()
            await exactly(register, octets(gsup.update_location(IMSI)))

    run(test())


def test_a_register_that_is_asked_and_says_nothing_is_given_up() -> None:
    async def test() -> None:
        async with world(Limits(answer_s=0.2)) as all:
            switch = await all.switch()
            register = await all.register.end()
            switch.writer.write(ipa.PING)
            await exactly(switch, ipa.PONG)  # ours, when the register was given up
            assert await rest(register) == ipa.PING

    run(test())


@pytest.mark.parametrize(
    ("name", "alarm"), [("MSC-X", False), ("MSC-F", True), ("", False)], ids=["unknown", "elsewhere", "none"]
)
def test_who_may_not_connect_is_closed_and_never_reaches_the_register(name: str, alarm: bool) -> None:
    async def test() -> None:
        async with world() as all:
            stranger = await GsupSwitch.connect(name, "127.0.0.1", all.port)
            assert await rest(stranger) == b""
            assert not all.register.ends
            assert bool(all.told("alarm")) is alarm

    run(test())


def test_a_second_claim_of_a_name_is_refused_and_a_dead_first_one_makes_room() -> None:
    async def test() -> None:
        async with world(Limits(answer_s=0.2)) as all:
            first = await all.switch()
            await all.register.end()
            second = await GsupSwitch.connect("MSC-A", "127.0.0.1", all.port)
            assert await rest(second) == b""
            assert all.told("alarm") == [("MSC-A", "127.0.0.1")]
            await exactly(first, ipa.PING)  # and is not answered: whoever was there is gone
            await until(lambda: all.front.link("MSC-A") is None)
            await all.switch()

    run(test())


def test_a_live_switch_keeps_its_name() -> None:
    async def test() -> None:
        async with world(Limits(answer_s=0.2, silence_s=0.5)) as all:
            first = await all.switch()
            await all.register.end()
            second = await GsupSwitch.connect("MSC-A", "127.0.0.1", all.port)
            await exactly(first, ipa.PING)
            first.writer.write(ipa.PONG)
            assert await rest(second) == b""
            await exactly(first, ipa.PING)  # half a second of silence later: it was not closed
            assert all.front.link("MSC-A") is not None

    run(test())


def test_garbage_and_another_name_end_the_connection() -> None:
    async def test() -> None:
        async with world() as all:
            for garbage in (
                b"\x00\x00\xee",
                ipa.identity_response(ipa.identity_of("MSC-F")),
                b"\x00\x00\xfe",
            ):
                switch = await all.switch()
                switch.writer.write(garbage)
                assert await rest(switch) in (b"", ipa.PONG)
                await until(lambda: all.front.link("MSC-A") is None)

    run(test())


def test_one_message_a_subscriber_and_a_late_answer_is_nobodys() -> None:
    async def test() -> None:
        async with world(late_s=0.3) as all:
            switch = await all.switch()
            link = all.front.link("MSC-A")
            assert link is not None
            ends: list[MtResult] = []

            def forward(timeout_s: float) -> None:
                assert link is not None
                all.front.forward(link, IMSI, CENTER, b"tpdu", ends.append, more=True, timeout_s=timeout_s)

            forward(0.1)
            request = Gsup.decode((await switch.frame()).payload)
            assert (request.type, request.imsi, request.tpdu) == (MessageType.MT_FORWARD_SM, IMSI, b"tpdu")
            assert request.octet(Ie.SM_RP_MMS) == 1
            forward(1)
            assert ends == [MtResult(lost="engaged")]
            await until(lambda: len(ends) == 2)
            assert ends[1] == MtResult(lost="timeout")
            forward(1)
            assert ends[2] == MtResult(lost="engaged")
            switch.writer.write(octets(gsup.answer(request)))  # late: it ends the engagement and nothing else
            await until(lambda: not all.front.engaged(IMSI))
            assert len(ends) == 3
            forward(30)
            request = Gsup.decode((await switch.frame()).payload)
            answer = Gsup(
                MessageType.MT_FORWARD_SM_RESULT, (request.elements[0], Element(Ie.SM_RP_MR, b"\0"))
            )
            switch.writer.write(octets(answer))
            await until(lambda: len(ends) == 4)
            assert ends[3] == MtResult(answer)
            forward(30)
            switch.writer.close()
            await until(lambda: len(ends) == 5)
            assert ends[4] == MtResult(lost="link-lost")

    run(test())


def test_what_the_register_says_by_itself_reaches_the_switch() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await all.switch()
            register = await all.register.end()
            cancel = Gsup(
                MessageType.LOCATION_CANCEL,
                (
                    gsup.update_location(IMSI).elements[0],
                    Element(Ie.CANCEL_TYPE, bytes((CancelType.UPDATE,))),
                ),
            )
            register.writer.write(octets(cancel))
            await exactly(switch, octets(cancel))

    run(test())


def test_links_are_counted_and_end_with_the_front() -> None:
    async def test() -> None:
        async with world() as all:
            switch = await all.switch()
            assert [link.name for link in all.front] == ["MSC-A"]
            (link,) = all.front
            assert isinstance(link, Link)
            assert all.front.disconnect(link.number)
            assert not all.front.disconnect(99)
            await until(lambda: not len(all.front))
            assert await rest(switch) in (b"", ipa.identity_request())
            assert [up for _, up in all.told("changed")] == [True, False]

    run(test())
