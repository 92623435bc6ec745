"""The simulated network against a small center: binds, traffic, what the switch answers, and coming back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from small_center import SmallCenter, small_center
from waiting import soon_true

from restante.simulator import plan
from restante.simulator.link import BindRefused, Connection, Credentials, Link, accept_everything
from restante.simulator.network import Network
from restante.simulator.phone import Phone, PhoneState, ScreenLine, written_number
from restante.smsc.smpp import pdu, tlv
from restante.smsc.smpp.tlv import Tag


def with_network(
    act: Callable[[Network, SmallCenter, list[tuple[Phone, ScreenLine]]], Awaitable[None]],
    *,
    rate: float = 0.0,
) -> None:
    """Run `act` while the demo's network is bound to a small center."""

    async def story() -> None:
        shown: list[tuple[Phone, ScreenLine]] = []
        async with small_center(SmallCenter(dict(plan.DEMO.published))) as center:
            network = Network(
                plan.DEMO,
                "127.0.0.1",
                center.port,
                die=Random(7),
                now=lambda: 0.0,
                on_screen=lambda phone, line: shown.append((phone, line)),
            )
            stop = asyncio.Event()
            running = asyncio.create_task(network.run(stop, rate=rate))
            try:
                await soon_true(lambda: network.bound, "everybody bound")
                await act(network, center, shown)
            finally:
                stop.set()
                await running
            assert not network.bound

    asyncio.run(story())


def to_phone(number: str, text: bytes = b"hello") -> pdu.DeliverSm:
    ton, npi, digits = written_number(number)
    return pdu.DeliverSm(dest_addr_ton=ton, dest_addr_npi=npi, destination_addr=digits, short_message=text)


def test_the_switch_answers_for_each_phone_by_its_state() -> None:
    async def act(network: Network, center: SmallCenter, shown: list[tuple[Phone, ScreenLine]]) -> None:
        side = center.sides["msc1"]
        for name in ("ann", "cleo", "dora"):
            side.deliver(to_phone(network.phones[name].number))
        side.deliver(to_phone("+447700900199"))  # nobody's
        await soon_true(lambda: len(side.responses) == 4, "four answers")
        answers = [
            (response.command_status, response.get_tlv(Tag.network_error_code)) for response in side.responses
        ]
        assert answers == [
            (0, None),
            (0x64, b"\x03\x00\x1b"),
            (0x64, b"\x03\x00\x1f"),
            (0x65, b"\x03\x00\x01"),
        ]
        assert side.responses[1].get_tlv_int(Tag.delivery_failure_reason) == 0
        assert [(phone.name, line.text) for phone, line in shown] == [("ann", "hello")]
        network.phones["cleo"].state = PhoneState.ON
        side.deliver(to_phone(network.phones["cleo"].number, b"at last"))
        await soon_true(lambda: len(shown) == 2, "cleo's screen")
        assert network.phones["cleo"].refused == 1

    with_network(act)


def test_a_slow_phone_answers_later_and_by_its_state_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.simulator.network.SLOW_S", (0.05, 0.05))

    async def act(network: Network, center: SmallCenter, shown: list[tuple[Phone, ScreenLine]]) -> None:
        side = center.sides["msc1"]
        emil = network.phones["emil"]
        side.deliver(to_phone(emil.number))
        side.deliver(to_phone(network.phones["ann"].number, b"overtakes"))
        await soon_true(lambda: len(shown) == 2, "both screens")
        assert [phone.name for phone, _ in shown] == ["ann", "emil"]
        side.deliver(to_phone(emil.number))
        emil.state = PhoneState.OFF
        await soon_true(lambda: len(side.responses) == 3, "the last answer")
        assert side.responses[2].command_status == 0x64

    with_network(act)


def test_applications_and_phones_speak_by_themselves() -> None:
    async def act(network: Network, center: SmallCenter, shown: list[tuple[Phone, ScreenLine]]) -> None:
        def sources() -> set[bytes]:
            return {submit.source_addr for submit in center.submits}

        wanted = {written_number(esme.sender)[2] for esme in plan.DEMO.esmes}
        await soon_true(lambda: wanted <= sources() and network.tally["texted"] > 0, "everybody spoke")
        assert network.tally["accepted"] + network.tally["texted"] <= len(center.submits)
        await soon_true(lambda: network.tally["accepted"] > 10, "answers are counted")
        pretended = [one for one in center.submits if one.short_message.startswith(b"Mum, ")]
        assert pretended
        assert {one.source_addr for one in pretended} <= {p.number[1:].encode() for p in plan.DEMO.phones}

    with_network(act, rate=500.0)


def test_the_game_answers_who_writes_to_it_and_receipts_are_counted() -> None:
    async def act(network: Network, center: SmallCenter, shown: list[tuple[Phone, ScreenLine]]) -> None:
        side = center.sides["quiz"]
        answer = pdu.DeliverSm(
            source_addr_ton=1, source_addr_npi=1, source_addr=b"447700900101", short_message=b"C"
        )
        side.deliver(answer)
        receipt = pdu.DeliverSm(esm_class=4, tlvs=tlv.one(Tag.message_state, 2))
        side.deliver(receipt)
        await soon_true(
            lambda: center.submits and network.tally["receipts 2"] == 1, "an answer and a receipt"
        )
        assert center.submits[0].destination_addr == b"447700900101"
        assert network.tally["from phones"] == 1

    with_network(act)


def test_a_link_comes_back_after_its_connection_broke() -> None:
    async def act(network: Network, center: SmallCenter, shown: list[tuple[Phone, ScreenLine]]) -> None:
        before = center.binds
        transport = center.sides["alerts"].transport
        assert transport is not None
        transport.abort()
        await soon_true(lambda: center.binds == before + 1 and network.bound, "bound again")

    with_network(act)


def test_a_refused_bind_says_why_and_is_tried_again() -> None:
    async def story() -> None:
        passwords = {"me": "right"}
        async with small_center(SmallCenter(passwords)) as center:
            with pytest.raises(BindRefused, match="bind as me: the message center answered ESME_RBINDFAIL"):
                await Connection.connect(
                    "127.0.0.1", center.port, Credentials("me", "wrong"), on_message=accept_everything
                )
            link = Link("127.0.0.1", center.port, Credentials("me", "late"))
            stop = asyncio.Event()
            running = asyncio.create_task(link.run(stop))
            await soon_true(lambda: link.refused is not None, "a refusal")
            assert not link.bound
            assert not link.submit(pdu.SubmitSm())
            passwords["me"] = "late"
            await soon_true(lambda: link.bound, "bound in the end")
            stop.set()
            await running

    asyncio.run(story())


def test_more_than_the_window_waits_and_nothing_is_lost() -> None:
    async def story() -> None:
        async with small_center(SmallCenter()) as center:
            connection = await Connection.connect(
                "127.0.0.1", center.port, Credentials("me", ""), window=3, on_message=accept_everything
            )
            answered: list[bytes] = []

            def done(response: pdu.Pdu | None) -> None:
                assert isinstance(response, pdu.SubmitSmResp)
                answered.append(response.message_id)

            for number in range(200):
                assert connection.send(pdu.SubmitSm(short_message=b"%d" % number), done)
            assert connection.room == 0
            await soon_true(lambda: len(answered) == 200, "200 answers")
            assert [submit.short_message for submit in center.submits] == [b"%d" % n for n in range(200)]
            assert connection.room == 3
            await connection.unbind()
            assert connection.ended.done()

    asyncio.run(story())


def test_what_waits_when_the_connection_breaks_is_told_so() -> None:
    async def story() -> None:
        async with small_center(SmallCenter()) as center:
            connection = await Connection.connect(
                "127.0.0.1", center.port, Credentials("me", ""), window=1, on_message=accept_everything
            )
            answers: list[pdu.Pdu | None] = []
            for _ in range(5):
                connection.send(pdu.SubmitSm(), answers.append)
            connection.abort()
            await connection.ended
            assert answers == [None] * 5
            assert not connection.send(pdu.SubmitSm(), answers.append)

    asyncio.run(story())


def test_a_password_that_smpp_has_no_room_for_is_named() -> None:
    async def story() -> None:
        async with small_center(SmallCenter()) as center:
            with pytest.raises(ValueError, match="password has 9 octets"):
                await Connection.connect(
                    "127.0.0.1", center.port, Credentials("me", "123456789"), on_message=accept_everything
                )

    asyncio.run(story())
