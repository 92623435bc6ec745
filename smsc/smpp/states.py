"""The states of an SMPP session and who may send what in them.

In charge of: the state table, the one transition function, and the diagram that documentation draws from the table.
Not in charge of: windows, timers, octets, or what to answer (session.py).
Source: SMPP 3.4 section 2.2 and table 2-1; SMPP 5.0 section 2.3 and table 2-1.

Theory. Both ends of a connection are in the same state, because every change is carried by a PDU that one of them
sends and the other receives; so there is one table for the two roles, keyed by sender. Two rules cover everything:

1. A request may be sent in a state if the table lists it for that state and sender. A request by itself changes
   nothing (outbind, which has no response, is the exception).
2. A response, generic_nack and enquire_link may pass in every state that has a connection. The state changes when a
   *positive* response to a bind or unbind passes: until then a bind may still be refused, and what an ESME sends
   behind its bind without waiting is refused too.

The end of the connection, by whomever and at any time, leads to CLOSED, and nothing leads out of it.
"""

from enum import StrEnum
from typing import Literal

from .command_id import CommandId, is_response

#: The two ends of a session.
Role = Literal["SMSC", "ESME"]
ROLES: tuple[Role, Role] = ("SMSC", "ESME")


class State(StrEnum):
    """What both ends know of their session."""

    OPEN = "connected, nobody bound"
    OUTBOUND = "the message center asked the ESME to bind"
    BOUND_TX = "the ESME submits"
    BOUND_RX = "the ESME is delivered to"
    BOUND_TRX = "both"
    UNBOUND = "unbound, the connection is still there"
    CLOSED = "no connection"


BOUND = frozenset({State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX})
BINDS = frozenset({CommandId.bind_transmitter, CommandId.bind_receiver, CommandId.bind_transceiver})

_SUBMITS = frozenset(
    {
        CommandId.submit_sm,
        CommandId.submit_multi,
        CommandId.data_sm,
        CommandId.query_sm,
        CommandId.cancel_sm,
        CommandId.replace_sm,
    }
)
_DELIVERS = frozenset({CommandId.deliver_sm, CommandId.data_sm, CommandId.alert_notification})
_UNBIND = frozenset({CommandId.unbind})
_NOTHING: frozenset[CommandId] = frozenset()

#: Rule 1: the requests that each side may send in each state.
REQUESTS: dict[State, dict[Role, frozenset[CommandId]]] = {
    State.OPEN: {"ESME": BINDS, "SMSC": frozenset({CommandId.outbind})},
    State.OUTBOUND: {"ESME": BINDS - {CommandId.bind_transmitter}, "SMSC": _NOTHING},
    State.BOUND_TX: {"ESME": _SUBMITS | _UNBIND, "SMSC": _UNBIND},
    State.BOUND_RX: {"ESME": _UNBIND, "SMSC": _DELIVERS | _UNBIND},
    State.BOUND_TRX: {"ESME": _SUBMITS | _UNBIND, "SMSC": _DELIVERS | _UNBIND},
    State.UNBOUND: {"ESME": _NOTHING, "SMSC": _NOTHING},
    State.CLOSED: {"ESME": _NOTHING, "SMSC": _NOTHING},
}

#: Rule 2 and outbind: the PDUs that change the state when they pass with ESME_ROK.
MOVES: dict[tuple[State, Role, CommandId], State] = {
    (State.OPEN, "SMSC", CommandId.outbind): State.OUTBOUND,
    (State.OPEN, "SMSC", CommandId.bind_transmitter_resp): State.BOUND_TX,
    (State.OPEN, "SMSC", CommandId.bind_receiver_resp): State.BOUND_RX,
    (State.OPEN, "SMSC", CommandId.bind_transceiver_resp): State.BOUND_TRX,
    (State.OUTBOUND, "SMSC", CommandId.bind_receiver_resp): State.BOUND_RX,
    (State.OUTBOUND, "SMSC", CommandId.bind_transceiver_resp): State.BOUND_TRX,
    (State.BOUND_TX, "SMSC", CommandId.unbind_resp): State.UNBOUND,
    (State.BOUND_TX, "ESME", CommandId.unbind_resp): State.UNBOUND,
    (State.BOUND_RX, "SMSC", CommandId.unbind_resp): State.UNBOUND,
    (State.BOUND_RX, "ESME", CommandId.unbind_resp): State.UNBOUND,
    (State.BOUND_TRX, "SMSC", CommandId.unbind_resp): State.UNBOUND,
    (State.BOUND_TRX, "ESME", CommandId.unbind_resp): State.UNBOUND,
}
#: From where the end of the connection leads to CLOSED.
CONNECTED = frozenset(State) - {State.CLOSED}

_MOVES: dict[tuple[State, Role, int], State] = {
    (state, sender, int(command)): after for (state, sender, command), after in MOVES.items()
}
_REQUESTS: dict[tuple[State, Role], frozenset[int]] = {
    (state, sender): frozenset(int(command) for command in commands)
    for state, by_sender in REQUESTS.items()
    for sender, commands in by_sender.items()
}


def transition(state: State, sender: Role, command_id: int, command_status: int = 0) -> State | None:
    """The state after `sender` sent this PDU, or None where the table does not allow it."""
    if state is State.CLOSED:
        return None
    always = is_response(command_id) or command_id == CommandId.enquire_link
    if not always and command_id not in _REQUESTS[state, sender]:
        return None
    if command_status:
        return state
    return _MOVES.get((state, sender, command_id), state)


def requests_allowed(state: State, sender: Role) -> frozenset[int]:
    """The command_ids of the requests that `sender` may send; enquire_link, always allowed, is not among them."""
    return _REQUESTS[state, sender]


def state_diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> OPEN"]
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, sender, command), after in MOVES.items():
        arrows.setdefault((state, after), []).append(f"{sender} {command.name}")
    for (state, after), labels in arrows.items():
        lines.append(f"    {state.name} --> {after.name}: {', '.join(labels)}")
    for state in State:
        if state in CONNECTED:
            lines.append(f"    {state.name} --> CLOSED: connection ends")
    lines.append("    CLOSED --> [*]")
    for state in State:
        for sender in ROLES:
            allowed = sorted(command.name for command in REQUESTS[state][sender])
            if allowed:
                lines.append(f"    note right of {state.name}: {sender} may send {', '.join(allowed)}")
    return "\n".join(lines) + "\n"
