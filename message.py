"""The vocabulary of the house: messages, addresses, states and ids.

In charge of: what a message *is* while it is inside the center, which states it may have and how it gets from one to
the next, and how ids are made. Not in charge of: where it is kept (`store/`), how it is spelled on a wire
(`smsc/smpp/`), or what happens to it (`smsc/`).

Sources: SMPP 3.4 §5.2 (field names and values), §5.2.28 (message_state); SMPP 5.0 §4.7.15 (SCHEDULED, SKIPPED).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = [
    "FINAL_STATES",
    "ID_SHIFT",
    "MAX_NODE",
    "TRANSITIONS",
    "Address",
    "Event",
    "EventKind",
    "IdGenerator",
    "IllegalTransition",
    "Ingress",
    "Kind",
    "Message",
    "MessageState",
    "NumberKind",
    "Role",
    "id_at",
    "number_kind",
    "transition",
]


# --------------------------------------------------------------------------------------------------- addresses


class Address(NamedTuple):
    """An address as a peer wrote it: SMPP's triple (SMPP 3.4 §5.2.5, §5.2.6, §5.2.8).

    It is kept so that receipts, query and cancel see what was submitted. Routing and policy never look at it: they
    use the *normal form* below.
    """

    ton: int  #: type of number, one octet
    npi: int  #: numbering plan indicator, one octet
    digits: str  #: address value; octets decoded as Latin-1, so that every octet survives the round trip


class NumberKind(StrEnum):
    """What a number in normal form is; its first character tells."""

    E164 = "e164"  #: "+447700900123"
    SHORT = "short"  #: "12345": a short code, digits only
    ALPHANUMERIC = "alphanumeric"  #: "@Restante"
    NETWORK = "network"  #: "#901": network specific
    ACCOUNT = "account"  #: "=12": an account itself; the recipient of receipts


_KIND_BY_FIRST = {
    "+": NumberKind.E164,
    "@": NumberKind.ALPHANUMERIC,
    "#": NumberKind.NETWORK,
    "=": NumberKind.ACCOUNT,
}


def number_kind(number: str) -> NumberKind:
    """Tell the kind of a number in normal form."""
    return _KIND_BY_FIRST.get(number[:1], NumberKind.SHORT)


# ------------------------------------------------------------------------------------------------------ ingress


class Role(StrEnum):
    """What stands behind an account or link; decides what it may claim (behaviour.md 3)."""

    ESME = "esme"  #: an application
    SWITCH = "switch"  #: a network element through which handsets are reached and speak
    INTERCONNECT = "interconnect"  #: another operator
    SYSTEM = "system"  #: the center itself: receipts, notices, one-time codes


@dataclass(frozen=True, slots=True)
class Ingress:
    """The door a message came through: made once per bind or request, shared by all its messages, never changed.

    `trusted` is what the center itself established; `asserted` is what the peer merely said.
    """

    door: str  #: "smpp", "http", "system"
    account: int  #: account number; 0 is the center itself
    role: Role
    name: str  #: system_id, key id or room, for people
    peer: str = ""  #: "address:port" of the peer
    authenticated: str = ""  #: how: "password", "certificate", "api-key", ""
    version: int = 0  #: SMPP interface_version of the bind; 0 elsewhere
    trusted: str = ""  #: trusted switch address, if the account is bound to one
    asserted: Mapping[str, str] = field(default_factory=dict[str, str])
    encoded: str = ""  #: the JSON that is stored with each message; filled in here

    def __post_init__(self) -> None:
        if not self.encoded:
            facts = {
                "door": self.door,
                "account": self.account,
                "role": self.role.value,
                "name": self.name,
                "peer": self.peer,
                "authenticated": self.authenticated,
                "version": self.version,
                "trusted": self.trusted,
                "asserted": dict(self.asserted),
            }
            text = json.dumps({k: v for k, v in facts.items() if v}, separators=(",", ":"))
            object.__setattr__(self, "encoded", text)

    @classmethod
    def decode(cls, text: str) -> Ingress:
        """Read back what `encoded` holds. Raises ValueError on text that this class did not write."""
        return _decoded_ingress(text)


@lru_cache(maxsize=1024)  # one text per bind, and many messages of each
def _decoded_ingress(text: str) -> Ingress:
    try:
        facts: dict[str, Any] = {"door": "", "account": 0, "name": ""}
        facts |= json.loads(text)
        facts["role"] = Role(facts["role"])
        return Ingress(**facts, encoded=text)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an ingress: {text[:80]!r}") from error


# ------------------------------------------------------------------------------------------------------ message


class Kind(IntEnum):
    """Why the message exists. Everything but MESSAGE is a *system message* (behaviour.md 4): it passes no checks,
    never enters a mailbox, asks for no receipt and gets no reply."""

    MESSAGE = 0  #: from an ESME, a subscriber, a switch or another network
    RECEIPT = 1  #: delivery receipt or intermediate notification
    NOTICE = 2  #: tells a subscriber what waits in the mailbox
    CODE = 3  #: one-time code; its body is blanked when it is final
    ANSWER = 4  #: answer to a keyword


@dataclass(slots=True)
class Message:
    """One message to one destination: a draft until `smsc/submission.py` has completed it, then never changed.

    A door fills in what the peer said. Submission gives it its id, the normal forms and its times.
    Field names are SMPP's (SMPP 3.4 §4.4.1) where SMPP has the field. Times are UTC epoch milliseconds.
    """

    source: Address  #: as the peer wrote it
    destination: Address  #: as the peer wrote it
    body: bytes = b""  #: short_message or message_payload, with its UDH; 0..65535 octets
    id: int = 0  #: 63 bit, never repeats; decimal text on every interface
    kind: int = Kind.MESSAGE
    account: int = 0  #: account number of the submitter; for a receipt, of the account it goes to
    ingress: str = ""  #: `Ingress.encoded`
    sender: str = ""  #: normal form of the source
    recipient: str = ""  #: normal form of the destination
    service_type: str = ""  #: up to 5 characters
    esm_class: int = 0  #: SMPP 3.4 §5.2.12
    protocol_id: int = 0  #: SMPP 3.4 §5.2.13 (TP-PID)
    priority_flag: int = 0  #: 0..3, higher first
    registered_delivery: int = 0  #: SMPP 3.4 §5.2.17
    data_coding: int = 0  #: SMPP 3.4 §5.2.19
    sm_default_msg_id: int = 0
    tlvs: bytes = b""  #: optional parameters as received, without message_payload
    submitted_at: int = 0
    schedule_at: int = 0  #: 0: at once
    expires_at: int = 0  #: end of the validity period
    parent: int = 0  #: receipts: the message reported on; submit_multi: the public id
    reference: int = 0  #: user_message_reference, or 0
    part_reference: int = 0  #: concatenation reference (UDH or sar_msg_ref_num)
    part_total: int = 0  #: 0: not a part
    part_number: int = 0  #: 1..part_total
    segments: int = 1  #: radio segments this row costs
    owner: int = 0  #: epoch of the node that works on it; 0: nobody yet

    @property
    def is_system(self) -> bool:
        """True for receipts, notices, codes and answers."""
        return self.kind != 0  # Kind.MESSAGE; asked several times a message

    @property
    def public_id(self) -> int:
        """The id a submitter knows it by: its own, or the one shared by a submit_multi."""
        return self.parent if self.parent and self.kind == Kind.MESSAGE else self.id


# -------------------------------------------------------------------------------------------------------- states
#
# A message is ENROUTE from the moment it is on disk. It ends in exactly one final state, and each ending is one row
# in the event table. A deposit in the mailbox is not an ending: the message stays ENROUTE until the recipient
# retrieves it, the validity period ends, or the box refuses it. SCHEDULED is ENROUTE with a due time in the future;
# SKIPPED is an ending that only SMPP 5.0 peers are shown. ACCEPTED and UNKNOWN are never ours: they come back from
# upstream links and describe the attempt there.


class MessageState(IntEnum):
    """SMPP 3.4 §5.2.28, with the two of SMPP 5.0 §4.7.15."""

    SCHEDULED = 0
    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8
    SKIPPED = 9


FINAL_STATES = frozenset(
    {
        MessageState.DELIVERED,
        MessageState.EXPIRED,
        MessageState.DELETED,
        MessageState.UNDELIVERABLE,
        MessageState.REJECTED,
        MessageState.SKIPPED,
    }
)

#: from -> the states it may go to. There is nothing after a final state.
TRANSITIONS: Mapping[MessageState, frozenset[MessageState]] = {
    MessageState.SCHEDULED: frozenset(
        {
            MessageState.ENROUTE,
            MessageState.EXPIRED,
            MessageState.DELETED,
            MessageState.REJECTED,
            MessageState.SKIPPED,
        }
    ),
    MessageState.ENROUTE: frozenset({MessageState.ENROUTE, *FINAL_STATES}),
    **{state: frozenset[MessageState]() for state in FINAL_STATES},
}


class IllegalTransition(Exception):
    """A room tried to move a message along an arrow that is not in the table: a bug, never a peer's fault."""


def transition(now: MessageState, to: MessageState) -> MessageState:
    """Return `to` if a message in state `now` may go there; raise IllegalTransition if not."""
    if to not in TRANSITIONS.get(now, frozenset()):
        raise IllegalTransition(f"{now.name} -> {to.name}")
    return to


# -------------------------------------------------------------------------------------------------------- events


class EventKind(StrEnum):
    """What happened to a message. The rows in order are its trace, its CDR and its history."""

    ACCEPTED = "accepted"  #: on disk; never stored as a row, because the message row itself says it
    EVIDENCE = "evidence"  #: a check had something to say, at submit or at an attempt
    HELD = "held"  #: parked by a check
    RELEASED = "released"  #: goes on after it was parked
    ATTEMPT = (
        "attempt"  #: an attempt failed; `reason` is its error class, `due_at` in the detail the next try
    )
    FORWARDED = "forwarded"  #: handed to another center, whose receipt will tell the outcome
    STORED = "stored"  #: deposited in the recipient's mailbox
    RETRIEVED = "retrieved"  #: read by its recipient
    REDELIVERY = "redelivery"  #: the recipient asked for it on the handset
    REPLACED = "replaced"  #: replace_sm wrote a new body
    FINAL = "final"  #: the end; `state` says which, exactly one per message
    RECEIPT = "receipt"  #: the receipt about this message was acknowledged by its submitter
    NOTE = "note"  #: an operator's action or remark


@dataclass(slots=True)
class Event:
    """One thing that happened to one message; append-only."""

    message: int  #: id
    at: int  #: UTC epoch milliseconds
    kind: str  #: an EventKind
    state: int = MessageState.ENROUTE  #: the message's state after this
    reason: str = ""  #: stable slug: error class, check's reason, refusal
    attempt: int = 0  #: number of the attempt, from 1
    account: int = 0  #: submitter's account
    segments: int = 0
    route: str = ""  #: name of the outlet
    node: int = 0  #: node number that wrote it
    detail: str = ""  #: JSON object, for people and for evidence; never message text


# ----------------------------------------------------------------------------------------------------------- ids
#
# id = milliseconds since 1970 << 20 | node << 10 | sequence: ordered by time, unique without asking anyone, decimal
# text of at most 19 digits below 2**63. The generator only ever goes up: it starts above the durable high-water mark
# that it is given, and a clock that jumps back makes it count on from where it was.

_NODE_BITS = 10
_SEQUENCE_BITS = 10
ID_SHIFT = _NODE_BITS + _SEQUENCE_BITS  #: id >> ID_SHIFT is the time in epoch milliseconds
MAX_NODE = (1 << _NODE_BITS) - 1


class IdGenerator:
    """Makes message ids for one node. Not shared between threads."""

    __slots__ = ("_now_ms", "_node", "_time", "_sequence")

    def __init__(self, node: int, above: int, now_ms: Callable[[], int]) -> None:
        """`node`: leased node number, 0..1023; `above`: highest id (or reserved mark) known to be in use."""
        if not 0 <= node <= MAX_NODE:
            raise ValueError(f"node number {node} is not in 0..{MAX_NODE}")
        self._node = node << _SEQUENCE_BITS
        self._now_ms = now_ms
        self._time = above >> ID_SHIFT
        self._sequence = (1 << _SEQUENCE_BITS) - 1  # the first id takes the next millisecond

    def next(self) -> int:
        """Return an id above every id this generator made or was told of."""
        now = self._now_ms()
        if now > self._time:
            self._time = now
            self._sequence = 0
        elif self._sequence < (1 << _SEQUENCE_BITS) - 1:
            self._sequence += 1
        else:
            self._time += 1
            self._sequence = 0
        return self._time << ID_SHIFT | self._node | self._sequence


def id_at(ms: int) -> int:
    """Return the lowest id of a millisecond: the bound for "all messages since"."""
    return ms << ID_SHIFT
