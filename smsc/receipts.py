"""Delivery receipts: what a submitter is told about the end of a message.

In charge of: whether a receipt is wanted, its text and TLVs, the one FINAL event it belongs to, and how many may wait
for an account. Not in charge of: storing or sending it: a receipt is a message like any other, to the account itself.

The cap. An account that does not come for its receipts would fill the queue: beyond `receipt_cap` waiting ones no more
are made, the ending says so, and it is counted. Each node counts what it makes and ends, and now and then reads the
true numbers, so that the cap holds within what several nodes make in that time.

Sources: SMPP 3.4 §5.2.17 (registered_delivery), §5.2.12 (esm_class), Appendix B (text), §5.3.2.12 and §5.3.2.35
(receipted_message_id, message_state); SMPP 5.0 §4.7.21 (success only). Rules: behaviour.md 6.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import func, select

from ..access.accounts import Account
from ..message import (
    FINAL_STATES,
    TRANSITIONS,
    Event,
    EventKind,
    IllegalTransition,
    Ingress,
    Kind,
    Message,
    MessageState,
    Role,
)
from ..metrics import counter, gauge
from ..store import tables
from ..store.statement import Query
from ..store.store import Store
from .smpp import tlv
from .text import codings

__all__ = [
    "RECEIPT_VALIDITY_MS",
    "SYSTEM_INGRESS",
    "Receipts",
    "reported_state",
    "told_state",
    "wants_final",
    "wants_intermediate",
]

_log = structlog.get_logger(__name__)

_capped = counter("receipts", "capped", "Receipts not made, because too many wait for the account")
_waiting = gauge("receipts", "waiting", "Receipts that wait for their account, when last counted")

RECEIPT_VALIDITY_MS = 7 * 24 * 3600 * 1000  #: how long a receipt waits for a bind

#: Doors by which handsets themselves submit: their receipts go to the handset.
HANDSET_DOORS = frozenset({"gsup", "sgd"})

ESM_DELIVERY_RECEIPT = 0x04  #: esm_class of a receipt in deliver_sm
ESM_INTERMEDIATE_NOTIFICATION = 0x20

_REQUESTED_MASK = 0x03
_FAILURE_ONLY = 2
_SUCCESS_ONLY = 3  # SMPP 5.0; reserved before, and taken as "both" from such peers
_INTERMEDIATE_BIT = 0x10
_VERSION_5_0 = 0x50
_MODE_MASK = 0x03  # of esm_class (SMPP 3.4 §5.2.12)
_MODE_DATAGRAM = 0x01
_PRIORITY = 1  # before ordinary traffic of the same account, after one-time codes

#: Where the center's own messages come from.
SYSTEM_INGRESS = Ingress(door="system", account=0, role=Role.SYSTEM, name="center")

#: The seven-letter words of Appendix B; 5.0's SKIPPED has none there.
_STAT = {
    MessageState.ENROUTE: "ENROUTE",
    MessageState.SCHEDULED: "ENROUTE",
    MessageState.DELIVERED: "DELIVRD",
    MessageState.EXPIRED: "EXPIRED",
    MessageState.DELETED: "DELETED",
    MessageState.UNDELIVERABLE: "UNDELIV",
    MessageState.ACCEPTED: "ACCEPTD",
    MessageState.UNKNOWN: "UNKNOWN",
    MessageState.REJECTED: "REJECTD",
    MessageState.SKIPPED: "SKIPPED",
}


_STATE_BY_STAT = {
    word.encode(): state for state, word in _STAT.items() if state is not MessageState.SCHEDULED
}

#: Where a message that is under way may end.
_ENDS = TRANSITIONS[MessageState.ENROUTE] & FINAL_STATES

_STATES = {int(state): state for state in MessageState}
_STATE_TLV = {state: tlv.one(tlv.Tag.message_state, int(state)) for state in MessageState}

#: Control characters, NUL above all, end a text for many a parser: they become blanks.
_NO_CONTROLS = bytes(octet if 0x20 <= octet < 0x7F else 0x20 for octet in range(256))

#: Receipts waiting for each account; their recipients are "=1", "=2", …
_WAITING = Query(
    "receipts: how many wait for each account",
    select(tables.queue.c.recipient, func.count().label("waiting"))
    .where(tables.queue.c.recipient >= "=", tables.queue.c.recipient < ">")
    .group_by(tables.queue.c.recipient),
)


def wants_final(message: Message, state: MessageState) -> bool:
    """True if the submitter asked for a receipt about this ending."""
    if message.is_system or not message.account or message.esm_class & _MODE_MASK == _MODE_DATAGRAM:
        return False
    asked = message.registered_delivery & _REQUESTED_MASK
    if asked == _FAILURE_ONLY:
        return state is not MessageState.DELIVERED
    if asked == _SUCCESS_ONLY and _version(message) >= _VERSION_5_0:
        return state is MessageState.DELIVERED
    return asked != 0


def wants_intermediate(message: Message) -> bool:
    """True if the submitter asked to be told of what happens before the end."""
    return (
        bool(message.registered_delivery & _INTERMEDIATE_BIT)
        and not message.is_system
        and message.account != 0
    )


def _version(message: Message) -> int:
    try:
        return Ingress.decode(message.ingress).version
    except ValueError:
        return 0


def _from_handset(message: Message) -> bool:
    """True if its submitter is the handset itself, not the account it came under."""
    try:
        return Ingress.decode(message.ingress).door in HANDSET_DOORS
    except ValueError:
        return False


def reported_state(receipt: Message) -> MessageState:
    """The state that a final receipt of ours reports; UNKNOWN for what is none (an intermediate notification)."""
    if receipt.esm_class != ESM_DELIVERY_RECEIPT:
        return MessageState.UNKNOWN
    return told_state(receipt)


def told_state(receipt: Message) -> MessageState:
    """The state that a receipt or notification tells, final or not."""
    told = tlv.get_int(receipt.tlvs, tlv.Tag.message_state)
    if told is not None:
        return _STATES[told]
    word = receipt.body.partition(b" stat:")[2][:7]
    return _STATE_BY_STAT.get(word, MessageState.UNKNOWN)


class Receipts:
    """Makes receipts for one node."""

    def __init__(
        self,
        *,
        accounts: Callable[[int], Account | None],
        next_id: Callable[[], int],
        epoch: Callable[[], int],
        node: int = 0,
        owner_of: Callable[[int], int] | None = None,
    ) -> None:
        """`accounts` finds live accounts by number; `epoch` owns the queue rows of the receipts, unless `owner_of`
        knows a node that reaches the account."""
        self._accounts = accounts
        self._next_id = next_id
        self._epoch = epoch
        self._owner_of = owner_of
        self._node = node
        self._zones: dict[str, ZoneInfo] = {}
        self._waiting: dict[int, int] = {}  # receipts that wait, by account
        self._full: set[int] = set()  # accounts at their cap, already complained about

    async def count(self, store: Store) -> None:
        """Read how many receipts wait for each account."""
        rows = await store.fetch(_WAITING)
        self._waiting = {int(row["recipient"][1:]): int(row["waiting"]) for row in rows}
        _waiting.set(sum(self._waiting.values()))

    def waiting(self, account: int) -> int:
        """Receipts that wait for an account, as far as this node knows."""
        return self._waiting.get(account, 0)

    def concluded(self, receipt: Message) -> None:
        """A receipt was acknowledged or has expired."""
        if receipt.recipient[:1] == "=":
            left = self._waiting.get(receipt.account, 0) - 1
            self._waiting[receipt.account] = max(left, 0)

    def ending(
        self,
        message: Message,
        state: MessageState,
        *,
        at: int,
        reason: str = "",
        error: int = 0,
        attempt: int = 0,
        route: str = "",
        network_error: bytes = b"",
        detail: str = "",
    ) -> tuple[tuple[Event, ...], tuple[Message, ...]]:
        """The FINAL event of a message and the receipt that was asked for, if any.

        Both belong into the one change that ends the message; then the receipt is admitted to delivery. `error` is a
        `causes.ReceiptError`; `at` is UTC epoch milliseconds; `detail` is a JSON object.
        """
        if state not in _ENDS:
            raise IllegalTransition(f"{state.name} is not an end")
        wanted = wants_final(message, state)
        if wanted and not _from_handset(message) and not self._has_room(message.account):
            wanted = False
            detail = json.dumps({**json.loads(detail or "{}"), "receipt": "capped"}, separators=(",", ":"))
        final = Event(
            message=message.id,
            at=at,
            kind=EventKind.FINAL,
            state=state,
            reason=reason,
            attempt=attempt,
            account=message.account,
            segments=message.segments,
            route=route,
            node=self._node,
            detail=detail,
        )
        if not wanted:
            return (final,), ()
        receipt = self._receipt(message, state, at, error, network_error, ESM_DELIVERY_RECEIPT)
        return (final,), (receipt,)

    def notification(self, message: Message, *, at: int, error: int = 0) -> tuple[Message, ...]:
        """An intermediate notification, if asked for (SMPP 3.4 §5.2.17, bit 4)."""
        if not wants_intermediate(message) or not self._has_room(message.account):
            return ()
        return (self._receipt(message, MessageState.ENROUTE, at, error, b"", ESM_INTERMEDIATE_NOTIFICATION),)

    def inquiry(self, message: Message, state: MessageState, *, at: int, reference: int) -> Message:
        """What a handset is told that asked what became of its message. `reference`: TP-MR of its question."""
        answer = self._receipt(message, state, at, 0, b"", ESM_INTERMEDIATE_NOTIFICATION)
        answer.tlvs = _STATE_TLV[state]
        answer.tlvs += tlv.one(tlv.Tag.user_message_reference, reference)
        return answer

    def _has_room(self, number: int) -> bool:
        """True if one more receipt may wait for an account."""
        account = self._accounts(number)
        if account is None or self._waiting.get(number, 0) < account.receipt_cap:
            self._full.discard(number)
            return True
        _capped.inc()
        if number not in self._full:
            self._full.add(number)
            _log.warning("receipts-capped", account=account.system_id, cap=account.receipt_cap)
        return False

    def _receipt(
        self, message: Message, state: MessageState, at: int, error: int, network_error: bytes, esm_class: int
    ) -> Message:
        """Source and destination swapped, addressed to the account, or to the handset (behaviour.md 6)."""
        account = self._accounts(message.account)
        recipient = message.sender if _from_handset(message) else f"={message.account}"
        if recipient[0] == "=":
            self._waiting[message.account] = self._waiting.get(message.account, 0) + 1
        if state is MessageState.SKIPPED and _version(message) < _VERSION_5_0:
            state = MessageState.DELETED  # a state that older peers do not know (behaviour.md 1)
        known_as = str(message.public_id).encode()
        says = account.receipt_format if account is not None else "text+tlvs"
        tlvs = b""
        if "tlvs" in says:
            tlvs = tlv.one(tlv.Tag.receipted_message_id, known_as + b"\0") + _STATE_TLV[state]
            if network_error:
                tlvs += tlv.one(tlv.Tag.network_error_code, network_error)
        if message.reference:
            tlvs += tlv.one(tlv.Tag.user_message_reference, message.reference)
        return Message(
            id=self._next_id(),
            kind=Kind.RECEIPT,
            account=message.account,
            ingress=SYSTEM_INGRESS.encoded,
            source=message.destination,
            destination=message.source,
            sender=message.recipient,
            recipient=recipient,
            service_type=message.service_type,
            esm_class=esm_class,
            priority_flag=_PRIORITY,
            body=self._text(message, account, state, at, error) if "text" in says else b"",
            tlvs=tlvs,
            submitted_at=at,
            expires_at=at + RECEIPT_VALIDITY_MS,
            parent=message.id,
            owner=self._owner_of(message.account) if self._owner_of is not None else self._epoch(),
        )

    def _text(
        self, message: Message, account: Account | None, state: MessageState, at: int, error: int
    ) -> bytes:
        """Appendix B with all eight fields; strict parsers stumble over fewer."""
        zone = self._zone(account)
        delivered = 1 if state is MessageState.DELIVERED else 0
        alphabet = codings.ALPHABETS[account.default_alphabet if account is not None else "gsm7"]
        return b"id:%d sub:001 dlvrd:%03d submit date:%s done date:%s stat:%s err:%03d text:%s" % (
            message.public_id,
            delivered,
            _stamp(message.submitted_at, zone),
            _stamp(at, zone),
            _STAT[state].encode(),
            error,
            _excerpt(message, alphabet),
        )

    def _zone(self, account: Account | None) -> ZoneInfo | None:
        """The account's time zone; None for UTC, the common case."""
        name = account.time_zone if account is not None else "UTC"
        if name == "UTC":
            return None
        zone = self._zones.get(name)
        if zone is None:
            zone = self._zones[name] = ZoneInfo(name)
        return zone


def _stamp(ms: int, zone: ZoneInfo | None) -> bytes:
    """YYMMDDhhmm (Appendix B)."""
    return _minute(ms // 60_000, zone)


@lru_cache(maxsize=4096)
def _minute(minute: int, zone: ZoneInfo | None) -> bytes:
    return datetime.fromtimestamp(minute * 60, zone or UTC).strftime("%y%m%d%H%M").encode()


def _excerpt(message: Message, alphabet: codings.DefaultAlphabet) -> bytes:
    """First 20 characters of the text, as far as they can be said in ASCII; peers parse this field with ASCII tools."""
    if message.kind == Kind.CODE:
        return b""
    text = codings.decode(
        message.data_coding,
        message.body[:80],
        default_alphabet=alphabet,
        has_udh=bool(message.esm_class & 0x40),
    ).text
    if not text:
        return b""
    return text[:20].encode("ascii", "replace").translate(_NO_CONTROLS)
