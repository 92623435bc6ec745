"""The order in which messages for one recipient are tried."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from restante.message import Address, Message
from restante.smsc.lanes import NEVER, Lane, Task
from restante.store.store import QueueReason

NOBODY = Address(0, 0, "")


def task(id: int, priority: int = 0, part: tuple[int, int, int] = (0, 0, 0), **fields: Any) -> Task:
    reference, total, number = part
    expires_at = fields.pop("expires_at", 10_000)
    message = Message(
        NOBODY, NOBODY, id=id, priority_flag=priority, sender="+1", expires_at=expires_at,
        part_reference=reference, part_total=total, part_number=number,
    )  # fmt: skip
    return Task(message, **fields)  # type: ignore[arg-type]


def drained(lane: Lane) -> list[int]:
    return [lane.pop().message.id for _ in range(len(lane.waiting))]


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 3)), unique_by=lambda pair: pair[0]))
def test_higher_priority_first_then_arrival(pairs):
    lane = Lane("+2")
    for id, priority in pairs:
        lane.push(task(id, priority))
    assert drained(lane) == [id for id, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))]


@given(st.permutations([(10, 1), (20, 2), (30, 3), (15, 0), (25, 0), (40, 0)]))
def test_parts_stay_together_whatever_order_they_come_in(order):
    lane = Lane("+2")
    for id, number in order:
        lane.push(task(id, part=(7, 3, number) if number else (0, 0, 0)))
    assert drained(lane) == [10, 20, 30, 15, 25, 40]


def test_a_part_that_comes_while_its_first_is_away_keeps_its_place():
    lane = Lane("+2")
    lane.push(task(10, part=(7, 2, 1)))
    assert lane.pop().message.id == 10
    lane.push(task(15))
    lane.push(task(20, part=(7, 2, 2)))
    assert drained(lane) == [20, 15]


def test_a_reference_that_is_used_again_is_another_message():
    lane = Lane("+2")
    for id, number in ((10, 1), (20, 2)):
        lane.push(task(id, part=(7, 2, number)))
    lane.push(task(25))
    for id, number in ((30, 1), (40, 2)):
        lane.push(task(id, part=(7, 2, number)))
    assert drained(lane) == [10, 20, 25, 30, 40]
    assert lane.groups == {}


def test_parts_that_never_come_do_not_fill_memory():
    lane = Lane("+2")
    for id in range(1, 5000):
        lane.push(task(id, part=(id, 2, 1)))
        lane.pop()
    assert len(lane.groups) <= 1000


def test_a_handset_waits_for_its_attempt_and_its_clock_and_an_esme_does_not():
    lane = Lane("+2")
    assert not lane.may_start(0)
    lane.push(task(1))
    for handset, flying, blocked, expected in [
        (None, 0, 0, True),
        (None, 1, 0, False),  # nobody knows yet: one at a time
        (True, 0, 0, True),
        (True, 1, 0, False),
        (True, 0, 101, False),
        (True, 0, 100, True),
        (False, 5, 101, True),
    ]:
        lane.handset, lane.flying, lane.blocked_until = handset, flying, blocked
        assert lane.may_start(100) is expected
    lane.parked_at = "esme:shop"
    assert not lane.may_start(100)


def test_what_is_put_off_comes_back_in_its_place():
    lane = Lane("+2")
    lane.push(task(5))
    for id, due in ((1, 300), (2, 100), (3, 200)):
        late = task(id)
        late.due_at = due
        lane.delay(late)
    assert lane.look_again_at(0) == 100
    lane.ripen(200)
    assert drained(lane) == [2, 3, 5]
    assert lane.look_again_at(200) == 300
    assert not lane.idle
    lane.ripen(NEVER)
    assert drained(lane) == [1]
    assert lane.idle


def test_expired_ones_are_taken_out_and_the_rest_keeps_its_order():
    lane = Lane("+2")
    for id, end in ((3, 50), (1, 500), (2, 100), (4, 500)):
        lane.push(task(id, expires_at=end))
    assert lane.look_again_at(0) == 50
    assert lane.take_expired(49) == []
    assert [t.message.id for t in lane.take_expired(100)] == [2, 3]
    assert lane.look_again_at(100) == 500
    assert drained(lane) == [1, 4]
    assert lane.look_again_at(100) == NEVER


def test_when_a_waiting_message_ends():
    assert task(1, expires_at=500).ends_at == 500
    assert task(1, expires_at=0).ends_at == NEVER, "a validity of zero allows one attempt"
    assert task(1, expires_at=0, attempts=1).ends_at == 0
    copy = task(1, expires_at=500)
    copy.reason = QueueReason.REDELIVERY
    assert copy.ends_at == NEVER


def test_the_clock_of_a_blocked_lane_is_looked_at():
    lane = Lane("+2", handset=True)
    lane.push(task(1))
    lane.blocked_until = 70
    assert lane.look_again_at(50) == 70
    assert lane.look_again_at(70) == 10_000
    lane.flying = 1
    assert lane.look_again_at(50) == 10_000


@given(st.data())
def test_nothing_is_lost_or_doubled(data):
    lane, inside, now, next_id = Lane("+2"), set(), 0, 0
    for _ in range(60):
        match data.draw(st.sampled_from(["push", "pop", "delay", "ripen", "expire", "all"])):
            case "push" | "delay" as how:
                next_id += 1
                number = data.draw(st.integers(0, 2))
                new = task(
                    next_id,
                    data.draw(st.integers(0, 3)),
                    (data.draw(st.integers(1, 2)), 2, number) if number else (0, 0, 0),
                    expires_at=now + data.draw(st.integers(1, 20)),
                )
                new.due_at = now + data.draw(st.integers(0, 20))
                inside.add(next_id)
                lane.push(new) if how == "push" else lane.delay(new)
            case "pop":
                if lane.waiting:
                    inside.remove(lane.pop().message.id)
            case "ripen":
                now += data.draw(st.integers(0, 10))
                lane.ripen(now)
            case "expire":
                for gone in lane.take_expired(now):
                    assert gone.message.expires_at <= now
                    inside.remove(gone.message.id)
                assert all(entry[3].ends_at > now for entry in lane.waiting)
            case _:
                kept = lane.take_all()
                for one in kept:
                    lane.push(one)
        found = [e[3].message.id for e in lane.waiting] + [e[2].message.id for e in lane.delayed]
        assert sorted(found) == sorted(inside)
        assert lane.idle == (not inside)
