"""The vocabulary: ingress, states, ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.message import (
    FINAL_STATES,
    ID_SHIFT,
    MAX_NODE,
    TRANSITIONS,
    Address,
    IdGenerator,
    IllegalTransition,
    Ingress,
    Kind,
    Message,
    MessageState,
    NumberKind,
    Role,
    id_at,
    number_kind,
    transition,
)

# --- states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", list(MessageState))
@pytest.mark.parametrize("to", list(MessageState))
def test_the_table_is_all_that_is_allowed(now, to):
    if to in TRANSITIONS.get(now, ()):
        assert transition(now, to) is to
    else:
        with pytest.raises(IllegalTransition, match=f"{now.name} -> {to.name}"):
            transition(now, to)


def test_nothing_follows_an_end_and_everything_can_end():
    assert all(not TRANSITIONS[state] for state in FINAL_STATES)
    assert TRANSITIONS[MessageState.ENROUTE] >= FINAL_STATES
    assert MessageState.DELIVERED not in TRANSITIONS[MessageState.SCHEDULED]


# --- ids ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self, *times: int) -> None:
        self.times = list(times)

    def __call__(self) -> int:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def test_ids_say_when_and_by_whom():
    made = IdGenerator(5, 0, Clock(1_000_000)).next()
    assert made >> ID_SHIFT == 1_000_000
    assert (made >> 10) & MAX_NODE == 5
    assert id_at(1_000_000) <= made < id_at(1_000_001)


def test_the_first_id_is_above_the_mark_whatever_the_clock_says():
    mark = id_at(2_000_000) + 12345
    made = IdGenerator(0, mark, Clock(1_000)).next()
    assert made > mark


def test_a_millisecond_with_too_many_ids_borrows_the_next():
    ids = IdGenerator(1, 0, Clock(7))
    made = [ids.next() for _ in range(3000)]
    assert made == sorted(set(made))
    assert made[0] >> ID_SHIFT == 7
    assert made[1023] >> ID_SHIFT == 7
    assert made[1024] >> ID_SHIFT == 8


def test_a_clock_that_goes_back_does_not_take_the_ids_with_it():
    ids = IdGenerator(1, 0, Clock(100, 50, 50, 99, 101))
    made = [ids.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert [id >> ID_SHIFT for id in made] == [100, 100, 100, 100, 101]


@given(
    st.integers(0, MAX_NODE),
    st.integers(0, 1 << 62),
    st.lists(st.integers(0, (1 << 42) - 1), min_size=1, max_size=200),
)
def test_ids_only_go_up_and_fit(node, above, times):
    ids = IdGenerator(node, above, Clock(*times))
    last = above
    for _ in range(len(times) + 5):
        made = ids.next()
        assert made > last
        assert made < 1 << 63
        assert (made >> 10) & MAX_NODE == node
        last = made


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 41), st.integers(1, 50))
def test_two_nodes_never_make_the_same_id(above, now, many):
    one, other = IdGenerator(3, above, lambda: now), IdGenerator(4, above, lambda: now)
    assert not {one.next() for _ in range(many)} & {other.next() for _ in range(many)}


@pytest.mark.parametrize("node", [-1, MAX_NODE + 1])
def test_a_node_number_must_fit(node):
    with pytest.raises(ValueError, match="node number"):
        IdGenerator(node, 0, lambda: 0)


# --- ingress -----------------------------------------------------------------------------------------------------

ingresses = st.builds(
    Ingress,
    door=st.sampled_from(["smpp", "http", "system", ""]),
    account=st.integers(0, 10**9),
    role=st.sampled_from(list(Role)),
    name=st.text(max_size=15),
    peer=st.text(max_size=20),
    authenticated=st.sampled_from(["", "password", "api-key"]),
    version=st.integers(0, 255),
    trusted=st.text(max_size=10),
    asserted=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@given(ingresses)
def test_an_ingress_is_read_back_as_it_was(ingress):
    assert Ingress.decode(ingress.encoded) == ingress


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"role":"king"}', '{"role":"esme","hat":1}', "{"])
def test_other_text_is_no_ingress(text):
    with pytest.raises(ValueError):
        Ingress.decode(text)


# --- small things ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("+447700900123", NumberKind.E164),
        ("12345", NumberKind.SHORT),
        ("@Shop", NumberKind.ALPHANUMERIC),
        ("#901", NumberKind.NETWORK),
        ("=12", NumberKind.ACCOUNT),
    ],
)
def test_the_first_character_tells_the_kind(number, kind):
    assert number_kind(number) is kind


def test_a_submit_multi_is_known_by_its_parent_and_a_receipt_by_itself():
    def made(**fields: Any) -> Message:
        return Message(Address(0, 0, "1"), Address(0, 0, "2"), id=7, **fields)

    assert made().public_id == 7
    assert made(parent=3).public_id == 3
    assert made(parent=3, kind=Kind.RECEIPT).public_id == 7
    assert not made().is_system
    assert all(made(kind=kind).is_system for kind in Kind if kind != Kind.MESSAGE)
