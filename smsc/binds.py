"""Who is bound where, and the outlet that hands messages to them.

In charge of: the binds of this node by account, their number, the connections that have something to write, and
delivery over an account's receiver binds. Not in charge of: sockets and sessions (`connection.py`), whether an account
may bind (`listener.py`), where messages go (`routing.py`).

Theory: an account has one outlet for life, bound or not, so that routing and waiting never dangle. Its messages go
round the account's receiver and transceiver binds; each bind has a window of its own. A bind that goes takes its
unanswered deliveries with it: they end as timeouts, because the peer may have acted on them. A message that one PDU
does not hold, for this account, goes out in parts (`long_messages.py`), each of which takes its place in a window.
Sources: SMPP 3.4 §4.6 (deliver_sm), §2.7 (windowing).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ..access.accounts import Account
from ..message import Kind, Role
from ..metrics import gauge
from ..outlet import Delivery, ErrorClass, Outcome, Outlet, Result
from ..store.failpoints import Failpoint, nothing
from .causes import class_of_status
from .long_messages import LongMessages
from .normaliser import address_for
from .smpp import tlv
from .smpp.codec import Pdu
from .smpp.command_status import CommandStatus as Status
from .smpp.command_status import status_name
from .smpp.pdu import AlertNotification, DeliverSm
from .spelling import Piece, TooManyParts, passes, spell

__all__ = ["Bind", "Binds", "BoundOutlet", "Handover"]

_bound = gauge("binds", "bound", "Binds on this node, by type", ("bind_type",))

_MAX_SHORT_MESSAGE = 254  #: octets (SMPP 3.4 §5.2.22)
_ESM_UDHI = 0x40
_ESM_FEATURES = 0xC0  #: UDHI and reply path; mode and type bits of a submit mean nothing in deliver_sm
_SME_ACK_BITS = 0x0C  #: registered_delivery bits 2-3 go to the other end (behaviour.md 6)
_VERSION_WITH_TLVS = 0x34

#: TLVs that speak to the center, not to the other end.
_NOT_FOR_THE_RECIPIENT = (
    tlv.Tag.set_dpf,
    tlv.Tag.qos_time_to_live,
    tlv.Tag.more_messages_to_send,
    tlv.Tag.alert_on_message_delivery,
)
#: Written anew for each part.
_OF_PARTS = (tlv.Tag.sar_msg_ref_num, tlv.Tag.sar_total_segments, tlv.Tag.sar_segment_seqnum)

_LINK_LOST = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="bind-lost")
_NO_ANSWER = Outcome(Result.FAILED, ErrorClass.TIMEOUT, reason="no-response")
_UNSENDABLE = Outcome(Result.FAILED, ErrorClass.PERMANENT, reason="not-expressible")
_TOO_MANY_PARTS = Outcome(Result.FAILED, ErrorClass.PERMANENT, reason="too-many-parts")


@dataclass(slots=True)
class Handover:
    """A deliver_sm that waits for its response: the context of the request in its session."""

    outlet: BoundOutlet
    done: Callable[[Outcome], None]


class Bind(Protocol):
    """One bound session, as seen from here; `connection.Connection` is it."""

    number: int  #: for operators: "bnd_7"
    account: Account
    bind_type: str  #: "tx", "rx", "trx"
    version: int  #: interface_version of the peer
    peer: str  #: "address:port"
    address: str  #: IP address of the peer
    bound_at: int  #: UTC epoch milliseconds

    def can_send(self) -> bool:
        """True if the window and the socket have room for one more request."""
        ...

    def send(self, pdu: Pdu, context: Handover) -> None:
        """Put a request into the session's output; `Binds.flush` writes it."""
        ...

    def flush(self) -> None:
        """Write what the session has to say, in one write."""
        ...

    def notify(self, pdu: AlertNotification) -> bool:
        """Write a PDU that has no response; False if it cannot be said now."""
        ...

    def unbind(self, reason: str) -> None:
        """Ask the peer to leave, and close when it answered or in a moment."""
        ...


class BoundOutlet:
    """The outlet of one account."""

    gone = Outcome(Result.FAILED, ErrorClass.ABSENT, reason="not-bound")

    def __init__(
        self,
        account: Account,
        accounts: Callable[[int], Account | None],
        long_messages: LongMessages | None = None,
    ) -> None:
        """The account may change later; its number stays. `accounts` finds submitters by number; without
        `long_messages` everything goes out in one PDU."""
        self.account = account
        self._accounts = accounts
        self._long = long_messages
        self._held_back = False  # a long message was refused for want of room
        self.name = f"{account.role.value}:{account.system_id}"
        self.handset = account.role is Role.SWITCH
        self.transit = self.handset
        self._receivers: list[Bind] = []
        self._next = 0
        self._wake: Callable[[Outlet], None] | None = None

    def reachable(self) -> bool:
        """True while any receiver is bound."""
        return bool(self._receivers)

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Remember delivery's entrance."""
        self._wake = wake

    def hand(self, delivery: Delivery, done: Callable[[Outcome], None]) -> bool:
        """Send over the next receiver bind with room."""
        bind = self._with_room()
        if bind is None:
            return False
        message = delivery.message
        if message.kind != Kind.RECEIPT:
            submitter = self._accounts(message.account)
            if not passes(message, self.account, submitter, bind.version):
                return self._hand_spelled(delivery, submitter, bind, done)
        self._send(bind, deliver_sm(delivery, self.account, bind.version), done)
        return True

    def _hand_spelled(
        self, delivery: Delivery, submitter: Account | None, bind: Bind, done: Callable[[Outcome], None]
    ) -> bool:
        """Hand over what this account reads otherwise than it was written, or wants in parts."""
        # A window may differ from bind to bind, a version hardly ever: parts are cut for the one that has room first.
        cut = partial(spell, delivery.message, self.account, submitter, bind.version)
        try:
            pieces = cut(0)
        except TooManyParts:
            done(_TOO_MANY_PARTS)
            return True
        if len(pieces) == 1 or self._long is None:
            self._send(bind, deliver_sm(delivery, self.account, bind.version, pieces[0]), done)
            return True
        if self._long.under_way(self.name) >= self.account.window * len(self._receivers):
            self._held_back = True
            return False
        self._long.begin(self, delivery, cut, done)
        return True

    def carry(self, delivery: Delivery, piece: Piece, done: Callable[[Outcome], None]) -> bool:
        """Send one part; see `long_messages.Carrier`."""
        bind = self._with_room()
        if bind is None:
            return False
        self._send(bind, deliver_sm(delivery, self.account, bind.version, piece), done)
        return True

    def course_over(self) -> None:
        """A long message ended: another one may begin."""
        if self._held_back:
            self._held_back = False
            self.room()

    def _with_room(self) -> Bind | None:
        """The next receiver bind that may send."""
        receivers = self._receivers
        for _ in range(len(receivers)):
            self._next = (self._next + 1) % len(receivers)
            bind = receivers[self._next]
            if bind.can_send():
                return bind
        return None

    def _send(self, bind: Bind, pdu: DeliverSm | None, done: Callable[[Outcome], None]) -> None:
        if pdu is None:
            done(_UNSENDABLE)
        else:
            bind.send(pdu, Handover(self, done))

    # --- what connections report

    def joined(self, bind: Bind) -> None:
        """A receiver is bound."""
        self._receivers.append(bind)
        self.room()

    def left(self, bind: Bind) -> None:
        """A receiver is gone."""
        if bind in self._receivers:
            self._receivers.remove(bind)
            self._next = 0
            if not self._receivers and self._long is not None:
                self._long.room(self)  # whose parts wait for a window that will not come

    def room(self) -> None:
        """A window or a socket has room again: parts of what is under way go first."""
        if self._long is not None:
            self._long.room(self)
        if self._wake is not None:
            self._wake(self)

    def answered(self, handover: Handover, pdu: Pdu) -> None:
        """deliver_sm_resp came."""
        status = pdu.command_status
        if status == Status.ESME_ROK:
            handover.done(_DELIVERED)
        else:
            network_error = pdu.get_tlv(tlv.Tag.network_error_code) or b""
            reason = pdu.get_tlv_int(tlv.Tag.delivery_failure_reason)
            error = class_of_status(status, network_error=network_error, failure_reason=reason)
            detail: dict[str, object] = {"status": status_name(status)}
            if network_error:
                detail["network_error"] = network_error.hex()
            handover.done(
                Outcome(
                    Result.FAILED,
                    error,
                    error.value,
                    status=status,
                    network_error=network_error,
                    detail=detail,
                )
            )

    def not_sendable(self, handover: Handover) -> None:
        """The session refused to say it."""
        handover.done(_UNSENDABLE)

    def unanswered(self, handover: Handover, *, link_lost: bool) -> None:
        """No response will come any more."""
        handover.done(_LINK_LOST if link_lost else _NO_ANSWER)


_DELIVERED = Outcome(Result.DELIVERED)


def deliver_sm(
    delivery: Delivery, account: Account, version: int, piece: Piece | None = None
) -> DeliverSm | None:
    """Put a message, or a piece of it, into deliver_sm for a peer; None if its version cannot carry it (SMPP 3.4
    §4.6.1)."""
    message = delivery.message
    receipt = message.kind == Kind.RECEIPT
    source, destination = message.source, message.destination
    if not receipt:
        source = address_for(message.sender, account.egress, account.number_rules.country_code)
        destination = address_for(message.recipient, account.egress, account.number_rules.country_code)
    tlvs = b""
    body, data_coding, features = message.body, message.data_coding, message.esm_class & _ESM_FEATURES
    if piece is not None:
        body, data_coding = piece.body, piece.data_coding
        features = features & ~_ESM_UDHI | (_ESM_UDHI if piece.has_header else 0)
    if version >= _VERSION_WITH_TLVS:
        tlvs = message.tlvs
        if tlvs and not receipt:
            tlvs = tlv.strip(tlvs, *_NOT_FOR_THE_RECIPIENT)
        if piece is not None and piece.total > 1:
            tlvs = (tlv.strip(tlvs, *_OF_PARTS) if tlvs else b"") + piece.tlvs
        if len(body) > _MAX_SHORT_MESSAGE:
            tlvs += tlv.one(tlv.Tag.message_payload, body)
            body = b""
        if delivery.more_messages_to_send and account.role is Role.SWITCH:
            tlvs += tlv.one(tlv.Tag.more_messages_to_send, 1)
    elif len(body) > _MAX_SHORT_MESSAGE:
        return None
    return DeliverSm(
        service_type=message.service_type.encode("latin-1"),
        source_addr_ton=source.ton,
        source_addr_npi=source.npi,
        source_addr=source.digits.encode("latin-1"),
        dest_addr_ton=destination.ton,
        dest_addr_npi=destination.npi,
        destination_addr=destination.digits.encode("latin-1"),
        esm_class=message.esm_class if receipt else features,
        protocol_id=message.protocol_id,
        priority_flag=0 if receipt else message.priority_flag,
        registered_delivery=message.registered_delivery & _SME_ACK_BITS,
        data_coding=data_coding,
        short_message=body,
        tlvs=tlvs,
    )


class Binds:
    """All binds of this node."""

    def __init__(
        self,
        accounts: Callable[[int], Account | None],
        *,
        long_messages: LongMessages | None = None,
        failpoint: Failpoint = nothing,
    ) -> None:
        """`accounts` finds live accounts by number; `long_messages` hands over what goes in parts."""
        self._accounts = accounts
        self._long = long_messages
        self._failpoint = failpoint
        self._binds: dict[int, Bind] = {}
        self._by_account: dict[int, list[Bind]] = {}
        self._outlets: dict[int, BoundOutlet] = {}
        self._wake: Callable[[Outlet], None] | None = None
        self._dirty: dict[int, Bind] = {}
        self._flush_soon = False
        self._last_number = 0
        #: Called when a bind came or went; the admin API's live view listens.
        self.on_change: list[Callable[[], None]] = []

    def wake_with(self, wake: Callable[[Outlet], None]) -> None:
        """Tell every outlet, now and later, whom to wake."""
        self._wake = wake
        for outlet in self._outlets.values():
            outlet.wake_with(wake)

    def outlet(self, number: int) -> BoundOutlet:
        """The outlet of an account, bound or not. Raises KeyError for an account that does not exist."""
        outlet = self._outlets.get(number)
        account = self._accounts(number)
        if outlet is None:
            if account is None:
                raise KeyError(number)
            outlet = self._outlets[number] = BoundOutlet(account, self._accounts, self._long)
            if self._wake is not None:
                outlet.wake_with(self._wake)
        elif account is not None:
            outlet.account = account
        return outlet

    def outlets(self) -> list[BoundOutlet]:
        """Those that were ever asked for."""
        return list(self._outlets.values())

    def next_number(self) -> int:
        """A number for a new bind."""
        self._last_number += 1
        return self._last_number

    def has_room(self, account: Account) -> bool:
        """True if the account may have one bind more on this node."""
        return len(self._by_account.get(account.number, ())) < account.max_binds

    def add(self, bind: Bind) -> None:
        """A session is bound."""
        self._binds[bind.number] = bind
        self._by_account.setdefault(bind.account.number, []).append(bind)
        _bound.labels(bind.bind_type).inc()
        if bind.bind_type != "tx":
            self.outlet(bind.account.number).joined(bind)
        self._changed()

    def remove(self, bind: Bind) -> None:
        """A session is not bound any more."""
        if self._binds.pop(bind.number, None) is None:
            return
        self._dirty.pop(bind.number, None)
        siblings = self._by_account[bind.account.number]
        siblings.remove(bind)
        if not siblings:
            del self._by_account[bind.account.number]
        _bound.labels(bind.bind_type).dec()
        outlet = self._outlets.get(bind.account.number)
        if outlet is not None:
            outlet.left(bind)
        self._changed()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    def of(self, account: int) -> list[Bind]:
        """The binds of an account."""
        return list(self._by_account.get(account, ()))

    def get(self, number: int) -> Bind | None:
        """One bind."""
        return self._binds.get(number)

    def __iter__(self) -> Iterator[Bind]:
        """Every bind, oldest first."""
        return iter(list(self._binds.values()))

    def __len__(self) -> int:
        """How many."""
        return len(self._binds)

    # --- writing: one write per connection and batch

    def soil(self, bind: Bind) -> None:
        """Remember that a bind has something to write: at the latest when this turn of the loop ends."""
        self._dirty[bind.number] = bind
        if not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what every bind has to say. Called after each commit, before delivery goes on."""
        self._flush_soon = False
        if self._dirty:
            self._failpoint("before-response")
            dirty, self._dirty = self._dirty, {}
            for bind in dirty.values():
                bind.flush()
            self._failpoint("after-response")
