"""Receipts from other centers: whose they are, and what they lead to.

In charge of: finding the message of a receipt, keeping on disk those that came before their message was known, and
answering deliver_sm only after what it said is on disk. Not in charge of: reading the PDU (`receipt_reading.py`), the
change that follows (`reports.py`), spellings of ids (`remote_ids.py`).

Theory. Receipts of a link are collected and looked up together. One whose message is found becomes a report. One whose
id was given a moment ago, and is on its way to disk, waits for that in memory, unanswered. Any other is *kept*: written
to `remote_receipt` and answered; every quarter of a second kept ones whose message is known by now are taken up. So it
does not matter whether response or receipt comes first, nor on which node, nor whether the center was killed between
the two. A kept receipt ends after `kept_s`; a link may fill no more than `most_kept`.

A long message that went in parts has an id for each, and the other center tells of each. A part that arrived is settled
by itself; the message ends with the last of them, in the change that finds nothing more awaited. A part that failed
ends, or takes back, the whole. A receipt for a part while others are still being sent is kept like one that came too
early. Long because that is one machine with the above.

Who is believed. A link can only end messages that were forwarded through it. The recipient, whom a receipt names too,
must be the message's, or one that ends in the same digits (centers write numbers in their own way); otherwise an id
that was given twice, or read in another base, would end another message than was meant.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ..message import ID_SHIFT, Address, Message, MessageState
from ..metrics import counter, gauge
from ..outlet import ErrorClass, Write
from ..store.store import Answer, Change, QueueReason, Store, StoreClosed
from . import link_tables as tables
from .causes import class_of_network_error
from .link_outlet import LinkOutlet
from .links import Link
from .receipt_reading import SaidReceipt, read_receipt
from .remote_ids import Learned, readings
from .reports import Report, Reports
from .retry import DEFAULT_SCHEDULES
from .routing import Lead
from .smpp.codec import Pdu
from .smpp.command_status import CommandStatus as Status

__all__ = ["LinkReceipts", "LinkReceiptSettings", "RETRY_LATER"]

_log = structlog.get_logger(__name__)

_receipts = counter(
    "links", "receipts", "Receipts that links brought, by what became of them", ("link", "result")
)
_kept = gauge("links", "kept_receipts", "Receipts on disk whose message is not known yet")

RETRY_LATER = Status.ESME_RX_T_APPN
_BATCH = 200
_MOST_FOUND = 3000  #: rows that ids of one batch may mean
_SWEEP_S = 0.25  #: between two looks at kept receipts, while there are any
_COUNT_EVERY_S = 30.0  #: between two counts of what all nodes keep
_SAME_DIGITS = 7  #: last digits by which two spellings of one number are known
_SETTLED_KEPT_MS = 24 * 3_600_000  #: so long a second receipt is known to be one
_OTHER_RECIPIENT_MS = 60_000  #: so long a kept receipt may know the id of another recipient's message only
_EXPIRED_EARLY_MS = 60_000  #: EXPIRED with more than this of our own validity left is a failure that may pass

#: Answers a deliver_sm: 0 or a command_status, or None: not at all, the connection ends.
Answered = Callable[[int | None], None]


class LinkReceiptSettings(BaseModel):
    """[links] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept_receipts_s: int = Field(
        default=21_600,
        ge=60,
        le=2_592_000,
        description="how long a receipt waits for the response that tells whose it is (seconds)",
    )
    most_kept_receipts: int = Field(
        default=100_000,
        ge=100,
        description="receipts of one link that may wait so; more are refused for a while",
    )


@dataclass(slots=True, eq=False)
class _Arrived:
    """One receipt that is being looked up."""

    outlet: LinkOutlet
    said: SaidReceipt
    recipients: tuple[str, ...]  #: normal forms of its source and destination; centers mix them up
    answered: Answered
    since: float  #: monotonic seconds
    kept: int = 0  #: id of its row in remote_receipt; 0: it has none


@dataclass(frozen=True, slots=True)
class _Match:
    """Whose receipt it is."""

    row: Mapping[str, Any]
    remote_id: str  #: as the receipt has it


class LinkReceipts:
    """The receipts of all links of one node."""

    def __init__(
        self,
        store: Store,
        reports: Reports,
        *,
        outlet_of: Callable[[int], LinkOutlet | None],
        normal: Callable[[Link, Address], str],
        settings: LinkReceiptSettings,
        now: Callable[[], float],
    ) -> None:
        """`outlet_of` a link by number; `normal` form of an address by a link's rules; `now`: monotonic seconds."""
        self._store = store
        self._reports = reports
        self._outlet_of = outlet_of
        self._normal = normal
        self._settings = settings
        self._now = now
        self._arrived: deque[_Arrived] = deque()  # bounded by the sessions' limit of unanswered requests
        self._waiting: list[_Arrived] = []  # for an id that is on its way to disk
        self._work = asyncio.Event()
        self._kept_by_link: dict[int, int] = {}
        self._learned: dict[int, Learned] = {}
        self._counted_at = -_COUNT_EVERY_S
        self._swept_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        store.after_commit(self._committed)

    # ------------------------------------------------------------------------------------------------ entrance

    def take(self, outlet: LinkOutlet, pdu: Pdu, answered: Answered) -> None:
        """A receipt came."""
        said = read_receipt(pdu)
        if said is None:
            self._count(outlet, "unreadable")
            answered(0)  # it would be no more readable the next time
            return
        link = outlet.link
        numbers = [self._normal(link, address) for address in _addresses(pdu)]
        named = tuple(number for number in numbers if number)
        self._arrived.append(_Arrived(outlet, said, named, answered, self._now()))
        self._work.set()

    def _committed(self) -> None:
        """An id that a receipt waits for may be on disk now."""
        if self._waiting:
            self._arrived.extend(self._waiting)
            self._waiting.clear()
            self._work.set()

    def awaited(self, link: int) -> int:
        """Receipts of a link that are kept."""
        return self._kept_by_link.get(link, 0)

    # ------------------------------------------------------------------------------------------------ the work

    async def run(self) -> None:
        """Look up what arrives, for ever."""
        while True:
            try:
                await asyncio.wait_for(self._work.wait(), _SWEEP_S)
            except TimeoutError:
                self._committed()
            self._work.clear()
            try:
                await self.turn()
            except StoreClosed:
                return
            except (
                Exception
            ):  # the database is away; what arrived stays unanswered, and the next turn may succeed
                _log.exception("link-receipts-turn-failed")
                await asyncio.sleep(_SWEEP_S)

    async def turn(self) -> None:
        """One round: what arrived, then what is kept."""
        while self._arrived:
            batch = [self._arrived.popleft() for _ in range(min(len(self._arrived), _BATCH))]
            try:
                await self._look_up(batch)
            except BaseException:
                for one in batch:
                    one.answered(RETRY_LATER)
                raise
        now = self._now()
        if now - self._counted_at >= _COUNT_EVERY_S:
            self._counted_at = now
            rows = await self._store.fetch(tables.COUNT_PARKED)
            self._kept_by_link = {int(row["link"]): int(row["kept"]) for row in rows}
            _kept.set(sum(self._kept_by_link.values()))
        if any(self._kept_by_link.values()) and now - self._swept_at >= _SWEEP_S:
            self._swept_at = now
            await self._sweep()

    async def _sweep(self) -> None:
        """Take up kept receipts whose message is known by now."""
        rows = await self._store.fetch(tables.MATCHES, limit=_BATCH)
        found: list[_Arrived] = []
        for row in rows:
            outlet = self._outlet_of(int(row["link"]))
            if outlet is None:
                continue
            said = SaidReceipt(
                tuple(row["remote_id"].split("\n")),
                MessageState(row["state"]),
                row["error"],
                bytes(row["network_error"]),
            )
            numbers = tuple(row["recipient"].split("\n")) if row["recipient"] else ()
            found.append(_Arrived(outlet, said, numbers, _nobody, self._now(), kept=int(row["id"])))
        if found:
            await self._look_up(found)

    async def _look_up(self, batch: Sequence[_Arrived]) -> None:
        """Find the messages of receipts and settle them."""
        matches: list[tuple[_Arrived, _Match | None]] = []
        for number in {one.outlet.link.number for one in batch}:
            mine = [one for one in batch if one.outlet.link.number == number]
            keys = sorted({key for one in mine for key, _ in self._readings(one)})
            rows = await self._store.fetch(tables.FIND, of_link=number, keys=keys, limit=_MOST_FOUND)
            by_key: dict[str, list[Mapping[str, Any]]] = {}
            for row in rows:
                by_key.setdefault(row["key"], []).append(row)
            matches += [(one, self._choose(one, by_key)) for one in mine]
        wanted = {match.row["message"] for _, match in matches if match is not None}
        messages = {message.id: message for message in await self._store.load(sorted(wanted))}
        for one, match in matches:
            message = messages.get(match.row["message"]) if match is not None else None
            if match is None:
                self._unknown(one)
            elif match.row["settled_at"] and (
                message is None or one.said.state is not MessageState.DELIVERED
            ):
                self._finished(one, "duplicate")
            elif message is None:  # its history is over
                self._finished(one, "late")
            else:
                await self._settle(one, match, message)

    def _readings(self, one: _Arrived) -> list[tuple[str, str]]:
        """(key, id it was read from), likeliest first."""
        link = one.outlet.link
        learned = self._learned.setdefault(link.number, Learned())
        found: dict[str, str] = {}
        for id in one.said.remote_ids or ("",):
            for key in readings(id, link.model.message_ids, learned.first):
                found.setdefault(key, id)
        return list(found.items())

    def _choose(self, one: _Arrived, by_key: Mapping[str, Sequence[Mapping[str, Any]]]) -> _Match | None:
        """The message that is meant: of the right recipient, still awaited, by the likeliest reading, the newest."""
        best: _Match | None = None
        for key, id in self._readings(one):
            for row in by_key.get(key, ()):  # newest first
                if not _is_about(one.recipients, row["recipient"]):
                    continue
                if not row["settled_at"]:
                    return _Match(row, id)
                best = best or _Match(row, id)
        return best

    async def _settle(self, one: _Arrived, match: _Match, message: Message) -> None:
        row, outlet = match.row, one.outlet
        self._learned[outlet.link.number].right(match.remote_id, row["key"])
        now = self._store.clock.now_ms()
        kept = (Write(tables.UNPARK, {"row_id": one.kept}, expect=1),) if one.kept else ()
        report = Report(
            message,
            Lead(row["rule"], outlet),
            int(row["attempt"]),
            one.said.state,
            network_error=one.said.network_error,
            remote_id=row["remote_id"],
            writes=kept,
        )
        try:
            if row["settled_at"]:  # said again: was it the last part, and the end not on disk before we were?
                self._end(one, replace(report, end=self._end_of(row)), otherwise="duplicate")
                return
            if one.said.state in _UNDER_WAY:
                self._reports.note(report, lambda answer: self._recorded(one, "note", answer))
                return
            settled = {
                "of_link": outlet.link.number, "of_key": row["key"], "of_message": row["message"], "settled_at": now,
                "expires_at": now + _SETTLED_KEPT_MS,
            }  # fmt: skip
            if one.said.state is MessageState.DELIVERED:
                done = (*kept, Write(tables.SETTLED, settled))
                whole = replace(report, writes=done, end=self._end_of(row))
                self._end(one, whole, part=done)
                return
            rest = Write(
                tables.SETTLED_ALL, {k: settled[k] for k in ("of_message", "settled_at", "expires_at")}
            )
            report = replace(report, writes=(*kept, Write(tables.SETTLED, settled), rest))
            report = await self._judged(report, one.said, outlet.link, now)
            self._reports.settle(report, lambda answer: self._recorded(one, "failed", answer, row))
        except StoreClosed:
            one.answered(RETRY_LATER)

    def _end_of(self, row: Mapping[str, Any]) -> Write:
        return Write(tables.ALL_SETTLED, {"row_id": row["message"], "of_link": row["link"]}, expect=1)

    def _end(
        self, one: _Arrived, report: Report, *, part: tuple[Write, ...] = (), otherwise: str = "late"
    ) -> None:
        """End a message if nothing more of it is awaited; else settle only the `part` that arrived. StoreClosed."""

        def ended(answer: Answer) -> None:
            if answer is not Answer.CONFLICT:
                self._recorded(one, "delivered", answer)
            elif part:
                self._begin(one, self._settle_part(one, report, part))
            else:
                self._finished(one, otherwise)

        self._reports.settle(report, ended)

    async def _settle_part(self, one: _Arrived, report: Report, part: tuple[Write, ...]) -> None:
        """Others are awaited, or being sent; or the message is over."""
        rows = await self._store.fetch(tables.WAITS, of_message=report.message.id)
        if not rows:
            self._recorded(one, "late", Answer.CONFLICT)
        elif rows[0]["reason"] != QueueReason.FORWARDED:
            self._early(one)
        else:
            answer = await self._store.apply(writes=part)
            if answer is Answer.STORED:  # whoever settles last finds nothing awaited, and ends it
                again = replace(report, writes=())
                self._reports.settle(again, lambda answer: self._part_recorded(one, answer))
            else:
                self._recorded(one, "part", answer)

    def _part_recorded(self, one: _Arrived, answer: Answer) -> None:
        """The part is on disk; CONFLICT: it was not the last, or another one ended the message."""
        if answer is Answer.CONFLICT:
            self._recorded(one, "part", Answer.STORED)
        else:  # not stored: the other side says it again, and then the end is tried again
            self._recorded(one, "delivered", answer)

    def _early(self, one: _Arrived) -> None:
        """Parts of its message are still on their way there: it waits on disk."""
        if one.kept:
            return
        self._keep(one, one.outlet.link.number)

    def _begin(self, one: _Arrived, work: Coroutine[None, None, None]) -> None:
        """Go on beside the other receipts; the sessions bound how many."""

        async def guarded() -> None:
            try:
                await work
            except (OSError, TimeoutError, StoreClosed):
                one.answered(RETRY_LATER)

        task = asyncio.get_running_loop().create_task(guarded(), name="link receipt")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judged(self, report: Report, said: SaidReceipt, link: Link, now: int) -> Report:
        """What the reported state means for the message."""
        state, message = report.state, report.message
        if state is MessageState.DELIVERED:
            return report
        if state is MessageState.DELETED or state is MessageState.SKIPPED:
            return replace(report, reason=f"{state.name.lower()}-at-link")
        if state is MessageState.UNKNOWN:  # it may have arrived: not tried again
            return replace(report, state=MessageState.UNDELIVERABLE, reason="unknown-at-link")
        error = class_of_network_error(said.network_error) or link.model.receipt_errors.get(said.error)
        if state is MessageState.EXPIRED:
            if message.expires_at - now <= _EXPIRED_EARLY_MS:
                return replace(report, reason="expired")
            return replace(report, error=error or ErrorClass.ABSENT, reason="expired-at-link")
        if error is None:
            rejected = state is MessageState.REJECTED
            error = ErrorClass.POLICY if rejected else ErrorClass.PERMANENT
        tried: Iterable[str] = ()
        if DEFAULT_SCHEDULES[error].other_route:
            tried = await self._tried(message.id)
        reason = f"{'rejected' if state is MessageState.REJECTED else 'undelivered'}-at-link"
        return replace(report, error=error, reason=reason, tried=frozenset(tried))

    async def _tried(self, id: int) -> list[str]:
        """Names of the links that had a message."""
        found = [
            self._outlet_of(int(row["link"])) for row in await self._store.fetch(tables.TRIED, of_message=id)
        ]
        return [outlet.name for outlet in found if outlet is not None]

    # ------------------------------------------------------------------------------------------------ the answer

    def _recorded(
        self, one: _Arrived, result: str, answer: Answer, early: Mapping[str, Any] | None = None
    ) -> None:
        """`early`: the row of a part that failed, perhaps while others are still being sent."""
        if answer is Answer.CONFLICT and early is not None:
            self._begin(one, self._keep_if_under_way(one, int(early["message"])))
        elif answer is Answer.STORED:
            self._forget(one)
            self._count(one.outlet, result)
            one.answered(0)
        elif (
            answer is Answer.CONFLICT or answer is Answer.FENCED
        ):  # ended meanwhile, by the clock or another receipt
            self._finished(one, "late")
        elif answer is Answer.UNKNOWN:
            one.answered(None)
        else:
            one.answered(Status.ESME_RMSGQFUL if answer is Answer.FULL else RETRY_LATER)

    async def _keep_if_under_way(self, one: _Arrived, message: int) -> None:
        rows = await self._store.fetch(tables.WAITS, of_message=message)
        if rows and rows[0]["reason"] != QueueReason.FORWARDED:
            self._early(one)
        else:
            self._finished(one, "late")

    def _finished(self, one: _Arrived, result: str) -> None:
        """A receipt that changes nothing."""
        self._count(one.outlet, result)
        if one.kept:
            drop = Write(tables.UNPARK, {"row_id": one.kept})
            self._put(Change(lambda _: None, writes=(drop,)), one)
            self._forget(one)
        one.answered(0)

    def _unknown(self, one: _Arrived) -> None:
        """Nobody's, as far as is known now."""
        if one.kept:  # its id is known, and of another recipient's message: waits a while for a better one
            if self._store.clock.now_ms() - (one.kept >> ID_SHIFT) > _OTHER_RECIPIENT_MS:
                self._finished(one, "other-recipient")
            return
        young = self._now() - one.since < _SWEEP_S * 4
        if young and any(one.outlet.is_fresh(key) for key, _ in self._readings(one)):
            self._waiting.append(one)
            return
        number = one.outlet.link.number
        if self._kept_by_link.get(number, 0) >= self._settings.most_kept_receipts:
            self._count(one.outlet, "no-room")
            one.answered(Status.ESME_RMSGQFUL)
            return
        self._keep(one, number)

    def _keep(self, one: _Arrived, number: int) -> None:
        keys = [key for key, _ in self._readings(one)]
        said = one.said
        try:
            id = self._store.next_id()
        except StoreClosed:
            one.answered(RETRY_LATER)
            return
        row = {
            "id": id, "link": number, "remote_id": "\n".join(said.remote_ids), "key": keys[0],
            "key_2": keys[min(1, len(keys) - 1)], "key_3": keys[min(2, len(keys) - 1)],
            "recipient": "\n".join(one.recipients), "state": int(said.state), "error": said.error,
            "network_error": said.network_error,
            "expires_at": self._store.clock.now_ms() + self._settings.kept_receipts_s * 1000,
        }  # fmt: skip
        self._kept_by_link[number] = self._kept_by_link.get(number, 0) + 1
        self._put(
            Change(lambda answer: self._was_kept(one, answer), writes=(Write(tables.PARK, row, expect=1),)),
            one,
        )

    def _was_kept(self, one: _Arrived, answer: Answer) -> None:
        if answer is Answer.STORED:
            self._count(one.outlet, "kept")
            one.answered(0)
        else:
            self._forget(one, kept=True)
            one.answered(None if answer is Answer.UNKNOWN else RETRY_LATER)

    def _put(self, change: Change, one: _Arrived) -> None:
        try:
            self._store.put(change)
        except StoreClosed:
            one.answered(RETRY_LATER)

    def _forget(self, one: _Arrived, *, kept: bool = False) -> None:
        if one.kept or kept:
            number = one.outlet.link.number
            self._kept_by_link[number] = max(self._kept_by_link.get(number, 0) - 1, 0)

    def _count(self, outlet: LinkOutlet, result: str) -> None:
        _receipts.labels(outlet.link.name, result).inc()


_UNDER_WAY = frozenset({MessageState.SCHEDULED, MessageState.ENROUTE, MessageState.ACCEPTED})


def _nobody(status: int | None) -> None:
    """A kept receipt was answered long ago."""


def _addresses(pdu: Pdu) -> Iterable[Address]:
    """Source and destination of deliver_sm or data_sm."""
    fields: Any = pdu
    yield Address(fields.source_addr_ton, fields.source_addr_npi, fields.source_addr.decode("latin-1"))
    yield Address(fields.dest_addr_ton, fields.dest_addr_npi, fields.destination_addr.decode("latin-1"))


def _is_about(named: Sequence[str], recipient: str) -> bool:
    """True if a receipt that names these numbers may be about a message to that one."""
    if not named:
        return True
    tail = recipient[-_SAME_DIGITS:]
    return any(one == recipient or (len(tail) == _SAME_DIGITS and one.endswith(tail)) for one in named)
