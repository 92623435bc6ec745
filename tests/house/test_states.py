"""No state of a message is out of reach, and no end has a way out.

In charge of the shape of the transition table in message.py; who moves a message when is tested with the rooms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from restante.message import FINAL_STATES, TRANSITIONS, MessageState

State = TypeVar("State")

#: What an upstream link may say about its attempt; never a state of ours.
FOREIGN = {MessageState.ACCEPTED, MessageState.UNKNOWN}
#: How a message begins.
FIRST = {MessageState.ENROUTE, MessageState.SCHEDULED}


def reachable(table: Mapping[State, Iterable[State]], first: set[State]) -> set[State]:
    """Every state that some way leads to."""
    found, ahead = set(first), list(first)
    while ahead:
        for state in table.get(ahead.pop(), ()):
            if state not in found:
                found.add(state)
                ahead.append(state)
    return found


def test_the_search_sees_an_island() -> None:
    assert reachable({1: [2], 2: [1], 3: [3]}, {1}) == {1, 2}


def test_every_state_of_ours_is_reachable() -> None:
    assert reachable(TRANSITIONS, FIRST) == set(MessageState) - FOREIGN


def test_final_states_are_the_ends() -> None:
    assert {state for state, ways in TRANSITIONS.items() if not ways} == set(FINAL_STATES)
    assert set(TRANSITIONS) == set(MessageState) - FOREIGN


def test_every_other_state_can_end() -> None:
    stuck = [state.name for state in FIRST if not FINAL_STATES & reachable(TRANSITIONS, {state})]
    assert not stuck
