"""The state table: nothing unreachable, nothing undocumented, one way out."""

import itertools

from restante.smsc.smpp.command_id import CommandId, is_response
from restante.smsc.smpp.pdu import PDU_CLASSES, RESPONSE_OF
from restante.smsc.smpp.states import (
    BOUND,
    CONNECTED,
    MOVES,
    REQUESTS,
    ROLES,
    State,
    requests_allowed,
    state_diagram,
    transition,
)


def test_every_state_can_be_reached() -> None:
    reached, new = {State.OPEN}, {State.OPEN}
    while new:
        new = {after for (state, _, _), after in MOVES.items() if state in new} - reached
        reached |= new
    assert reached | {State.CLOSED} == set(State)
    assert State.CLOSED not in CONNECTED


def test_every_move_is_allowed_by_its_request() -> None:
    """A response moves the state only where the other side may have asked for it."""
    for (state, sender, command), _ in MOVES.items():
        asker = "ESME" if sender == "SMSC" else "SMSC"
        if is_response(command):
            assert command & 0x7FFFFFFF in REQUESTS[state][asker]
        else:
            assert command in REQUESTS[state][sender]


def test_every_request_is_allowed_somewhere() -> None:
    somewhere = {
        command for by_sender in REQUESTS.values() for commands in by_sender.values() for command in commands
    }
    assert somewhere == {c for c in PDU_CLASSES if not is_response(c)} - {CommandId.enquire_link}


def test_transition_follows_the_table_for_every_combination() -> None:
    for state, sender, command in itertools.product(State, ROLES, CommandId):
        after = transition(state, sender, command)
        refused = transition(state, sender, command, 0x08)
        if state is State.CLOSED:
            assert after is None
        elif is_response(command) or command == CommandId.enquire_link or command in REQUESTS[state][sender]:
            assert after is MOVES.get((state, sender, command), state)
            assert refused is state
        else:
            assert after is None
            assert refused is None


def test_who_may_send_what() -> None:
    submits = {"submit_sm", "submit_multi", "data_sm", "query_sm", "cancel_sm", "replace_sm", "unbind"}
    delivers = {"deliver_sm", "data_sm", "alert_notification", "unbind"}

    def names(state, sender):
        return {CommandId(command).name for command in requests_allowed(state, sender)}

    assert names(State.OPEN, "ESME") == {"bind_transmitter", "bind_receiver", "bind_transceiver"}
    assert names(State.BOUND_TX, "ESME") == submits
    assert names(State.BOUND_TX, "SMSC") == {"unbind"}
    assert names(State.BOUND_RX, "ESME") == {"unbind"}
    assert names(State.BOUND_RX, "SMSC") == delivers
    assert names(State.BOUND_TRX, "ESME") == submits
    assert names(State.BOUND_TRX, "SMSC") == delivers
    assert all(not requests_allowed(State.UNBOUND, sender) for sender in ROLES)


def test_diagram_shows_every_state_and_move() -> None:
    text = state_diagram()
    assert text.startswith("stateDiagram-v2\n")
    for (state, sender, command), after in MOVES.items():
        line = next(line for line in text.splitlines() if f"{state.name} --> {after.name}" in line)
        assert f"{sender} {command.name}" in line
    for state in State:
        assert state.name in text
    assert BOUND < CONNECTED
    assert set(RESPONSE_OF) >= {
        command for command, _ in ((c, None) for c in REQUESTS[State.BOUND_TRX]["ESME"])
    }
