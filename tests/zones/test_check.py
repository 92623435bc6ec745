"""Home zones on a message's way: inside, outside, unknown; each act; what a peer sees."""

from __future__ import annotations

from typing import Any

import pytest
from message_path import PHONE, ScriptedBox
from zone_center import AWAY, HOME, SENDER, ZoneCenter

from restante.message import Address
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.smsc.submission import Refused


def test_inside_is_delivered_and_outside_is_blocked_unnoticed(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        await center.at(HOME)
        inside = await center.send(b"inside")
        await center.at(AWAY)
        outside = await center.send(b"outside")
        assert center.phone == [b"inside"]
        assert await center.reason(inside) == ""
        assert await center.reason(outside) == "blocked"
        [decision] = await center.decisions(outside)
        assert (decision["state"], decision["act"], decision["reason"]) == ("out", "block", "outside")
        assert decision["parties"][0]["latitude"] == round(AWAY[0], 2)
        [decision] = await center.decisions(inside)
        assert (decision["state"], decision["act"]) == ("in", "pass")

    on_center(scenario)


def test_who_has_no_policy_is_not_looked_at(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone()
        await center.at(AWAY, "+447700900002")
        other = await center.send(to="+447700900002")
        assert center.phone == [b"hello"]
        assert await center.decisions(other) == []

    on_center(scenario)


def test_a_specific_block_is_rejected_and_says_so(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(visibility="specific")
        await center.at(AWAY)
        id = await center.send()
        assert await center.path.finals(id) == [(8, "outside")]
        assert "stat:REJECTD err:009" in center.path.receipt_texts()[0]

    on_center(scenario)


@pytest.mark.parametrize(
    ("version", "status"), [(0x34, Status.ESME_RSUBMITFAIL), (0x50, Status.ESME_RPROHIBITED)]
)
def test_a_sender_outside_is_refused_at_submit(on_center, version: int, status: int) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(SENDER, subject="sender", visibility="specific")
        await center.at(AWAY, SENDER)
        answer = await center.answer_to(by="msc1", source=Address(1, 1, SENDER[1:]), version=version)
        assert isinstance(answer, Refused)
        assert answer.status == status
        await center.at(HOME, SENDER)
        await center.send_from_handset()
        assert center.phone == [b"hello"]

    on_center(scenario)


def test_a_sender_outside_in_generic_mode_is_accepted_and_never_delivered(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(SENDER, subject="sender")
        await center.at(AWAY, SENDER)
        id = await center.send_from_handset()
        assert await center.reason(id) == "withheld"
        await center.at(HOME, SENDER)
        await center.step(30 * 86_400)
        assert center.phone == []
        assert await center.path.finals(id) == [(3, "expired")]

    on_center(scenario)


def test_hold_is_released_in_order_when_the_subscriber_comes_home(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="hold")
        await center.at(AWAY)
        ids = [await center.send(text) for text in (b"1", b"2", b"3")]
        assert [await center.reason(id) for id in ids] == ["held"] * 3
        await center.step(200)
        assert center.phone == []
        await center.at(HOME)
        await center.step(1)
        assert center.phone == [b"1", b"2", b"3"]
        kinds = await center.path.kinds(ids[0])
        assert kinds[:2] == ["evidence", "held"]
        assert "final" in kinds

    on_center(scenario)


def test_a_held_message_is_looked_at_again_and_expires_at_its_end(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="hold", hold_poll_s=100, max_age_s=604_800)
        await center.at(AWAY)
        id = await center.send(expires_at=center.path.clock.now + 250_000)
        for _ in range(2):
            await center.step(101)
            assert await center.reason(id) == "held"
        await center.step(60)
        assert await center.path.finals(id) == [(3, "expired")]
        assert center.phone == []

    on_center(scenario)


def test_more_than_may_be_held_is_blocked(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="hold")
        await center.at(AWAY)
        ids = [await center.send() for _ in range(4)]
        assert [await center.reason(id) for id in ids] == ["held", "held", "held", "blocked"]

    on_center(scenario, settings={"max_held": 3})


def test_divert_goes_to_the_mailbox_without_an_attempt(on_center) -> None:
    box = ScriptedBox()

    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="divert")
        await center.at(AWAY)
        id = await center.send()
        assert center.phone == []
        assert [attempt.message.id for attempt in box.handed] == [id]

    on_center(scenario, box=box)


def test_tag_marks_and_delivers(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(on_outside="forward_and_tag", tag="zone-2")
        await center.at(AWAY)
        id = await center.send()
        assert center.phone == [b"hello"]
        events = await center.path.events(id)
        assert '"tag":"zone-2"' in events[0].detail

    on_center(scenario)


def test_monitor_mode_records_and_lets_pass(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(enforced=False)
        await center.at(AWAY)
        id = await center.send()
        assert center.phone == [b"hello"]
        [decision] = await center.decisions(id)
        assert (decision["act"], decision["mode"]) == ("block", "monitor")

    on_center(scenario)


def test_an_offer_is_made_once_and_yes_lets_everything_come(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(
            on_outside="hold_and_offer", offer_text="Come?", hold_poll_s=3600, max_age_s=9999
        )
        await center.at(AWAY)
        ids = [await center.send(text) for text in (b"1", b"2")]
        await center.rest()
        assert center.phone == [b"Come?"]  # one offer covers both
        assert [await center.reason(id) for id in ids] == ["held", "held"]
        offers = center.room.offers
        assert await offers.no(PHONE, "") == "Your messages wait until you are back."
        assert await offers.yes("+447700900009", "") == "Nothing waits for your answer."
        assert await offers.yes(PHONE, "") == "Your messages follow."
        await center.step(1)
        assert center.phone == [b"Come?", b"1", b"2"]
        assert (await center.decisions(ids[0]))[-1]["reason"] == "offer-accepted"
        later = await center.send(b"3")  # after the answer: held, and no new offer within the interval
        assert await center.reason(later) == "held"
        assert center.phone == [b"Come?", b"1", b"2"]
        await center.step(3700)
        await center.at(AWAY)
        await center.step(1)
        assert center.phone[-1] == b"Come?"

    on_center(scenario)


@pytest.mark.parametrize(
    ("fields", "because"),
    [
        ({"to": "112"}, "bypass-emergency"),
        ({"to": "12345"}, "bypass-short-code"),
        ({"to": "+447700900555"}, "bypass-number"),
        ({"service_type": "OTP"}, "bypass-service-type"),
    ],
)
def test_a_bypass_asks_nobody(on_center, fields: dict[str, Any], because: str) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(
            SENDER,
            subject="sender",
            visibility="specific",
            on_unknown="closed",
            bypass_numbers=["+447700900555"],
            bypass_service_types=["OTP"],
        )
        asked: dict[str, Any] = {"to": PHONE, **fields, "by": "msc1", "source": Address(1, 1, SENDER[1:])}
        answer = await center.answer_to(**asked)
        if fields.get("to") != "112":  # nobody reaches it here, which the check has nothing to do with
            assert not isinstance(answer, Refused), answer
            [decision] = await center.decisions(answer.id)
            assert decision["reason"] == because

    on_center(scenario)


def test_edits_count_at_once(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        await center.home_zone(visibility="specific")
        await center.at(AWAY)
        found = await center.registry.by_key(center.kinds.zone, "home")
        shape = {"kind": "circle", "latitude": AWAY[0], "longitude": AWAY[1], "radius_m": 500}
        await center.registry.patch(
            center.kinds.zone, found.number, {"shape": shape}, if_match=found.version, actor="op_1"
        )
        id = await center.send()
        assert center.phone == [b"hello"]
        assert (await center.decisions(id))[0]["parties"][0]["zone"].endswith("@2")

    on_center(scenario)


def test_a_circle_of_ones_own(on_center) -> None:
    async def scenario(center: ZoneCenter) -> None:
        policy = await center.policy(visibility="specific")
        await center.own_circle(PHONE, policy)
        await center.at(HOME)
        await center.send(b"in")
        await center.at(AWAY)
        out = await center.send(b"out")
        assert center.phone == [b"in"]
        assert await center.path.finals(out) == [(8, "outside")]

    on_center(scenario)
