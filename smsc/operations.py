"""What a bound peer may ask besides submitting.

In charge of: reading query_sm, cancel_sm and replace_sm, and spelling their answers. Not in charge of: who may and what
follows (`recall.py`), submitting (`submission.py`). Sources: SMPP 3.4 §4.8 to §4.10; behaviour.md 7: what is
another's is answered byte for byte like what never was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from ..access.accounts import Account
from ..message import Address, Ingress, MessageState
from ..store.clock import Clock
from ..store.history import joint_state
from .answers import Refused
from .drafts import BadField, time_of
from .recall import Recall, Replacement
from .smpp import times, tlv
from .smpp.codec import Pdu
from .smpp.command_status import CommandStatus as Status
from .smpp.pdu import CancelSm, CancelSmResp, QuerySm, QuerySmResp, ReplaceSm, ReplaceSmResp

__all__ = ["Asker", "Operations"]

_log = structlog.get_logger(__name__)

#: Operations under way at a time; beyond it a peer is told to slow down.
MAX_UNDER_WAY = 200

_VERSION_5_0 = 0x50
_MOST_DIGITS = 19
_HIGHEST_ID = (1 << 63) - 1


class Asker(Protocol):
    """The connection that asked."""

    version: int
    account: Account

    @property
    def ingress(self) -> Ingress:
        """Of everything that comes over this bind."""
        ...

    def respond(self, request: Pdu, response: Pdu) -> None:
        """Answer with fields."""
        ...

    def refuse(self, request: Pdu, status: int) -> None:
        """Answer with an error."""
        ...

    def abort(self) -> None:
        """End the connection without an answer."""
        ...


class Operations:
    """Answers operations about stored messages."""

    def __init__(self, recall: Recall, clock: Clock) -> None:
        """`recall` does what is asked."""
        self._recall = recall
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()

    def request(self, asker: Asker, pdu: Pdu) -> None:
        """Take an operation up; its answer follows."""
        match pdu:
            case QuerySm():
                self._begin(asker, pdu, self._query(asker, pdu))
            case CancelSm():
                self._begin(asker, pdu, self._cancel(asker, pdu))
            case ReplaceSm():
                self._begin(asker, pdu, self._replace(asker, pdu))
            case _:
                asker.refuse(pdu, Status.ESME_RINVCMDID)

    def _begin(self, asker: Asker, pdu: Pdu, work: Coroutine[None, None, None]) -> None:
        if len(self._under_way) >= MAX_UNDER_WAY:
            work.close()
            asker.refuse(pdu, Status.ESME_RTHROTTLED)
            return

        async def answered() -> None:
            try:
                await work
            except BadField as error:
                asker.refuse(pdu, error.status)
            except Exception:  # whatever the database says: a peer that asked is answered
                _log.exception("operation-failed", operation=pdu.name)
                asker.refuse(pdu, Status.ESME_RSYSERR)

        task = asyncio.get_running_loop().create_task(answered(), name=pdu.name)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _answer(self, asker: Asker, pdu: Pdu, refused: Refused | None, response: Callable[[], Pdu]) -> None:
        if refused is None:
            asker.respond(pdu, response())
        elif refused.unknown:  # it may be done or not: say neither (behaviour.md 10)
            asker.abort()
        else:
            asker.refuse(pdu, refused.status)

    async def _query(self, asker: Asker, pdu: QuerySm) -> None:
        id = _id_of(pdu.message_id)
        views = await self._recall.find(asker.account, id, _source_of(pdu)) if id else []
        if not views:
            asker.refuse(pdu, Status.ESME_RQUERYFAIL)
            return
        state, final_at = joint_state(views)
        if asker.version < _VERSION_5_0:
            state = _BEFORE_5_0.get(state, state)
        response = QuerySmResp(
            message_id=pdu.message_id,
            final_date=times.format_absolute(final_at) if final_at else b"",
            message_state=int(state),
            error_code=0,
        )
        asker.respond(pdu, response)

    async def _cancel(self, asker: Asker, pdu: CancelSm) -> None:
        account, by, source = asker.account, asker.ingress, _source_of(pdu)
        destination = Address(pdu.dest_addr_ton, pdu.dest_addr_npi, pdu.destination_addr.decode("latin-1"))
        if not pdu.message_id:
            service_type = pdu.service_type.decode("latin-1")
            refused = await self._recall.cancel_matching(account, source, destination, service_type, by)
        else:
            only = destination if destination.digits else None
            id = _id_of(pdu.message_id)
            refused = await self._recall.cancel(account, id, by, source=source, destination=only)
        self._answer(asker, pdu, refused, CancelSmResp)

    async def _replace(self, asker: Asker, pdu: ReplaceSm) -> None:
        now = self._clock.now_ms()
        body, payload = pdu.short_message, pdu.get_tlv(tlv.Tag.message_payload)
        if payload is not None:
            if body:
                raise BadField("message_payload", Status.ESME_RINVOPTPARAMVAL)
            body = payload
        new = Replacement(
            body=body,
            registered_delivery=pdu.registered_delivery,
            sm_default_msg_id=pdu.sm_default_msg_id,
            schedule_at=time_of(
                pdu.schedule_delivery_time, now, "schedule_delivery_time", Status.ESME_RINVSCHED
            ),
            expires_at=time_of(pdu.validity_period, now, "validity_period", Status.ESME_RINVEXPIRY),
        )
        id, source = _id_of(pdu.message_id), _source_of(pdu)
        refused = await self._recall.replace(asker.account, id, new, asker.ingress, source=source)
        self._answer(asker, pdu, refused, ReplaceSmResp)


def _id_of(text: bytes) -> int:
    """A message id as we write them; 0, which is nobody's, for anything else."""
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        return 0
    id = int(text)
    return id if id <= _HIGHEST_ID else 0


def _source_of(pdu: QuerySm | CancelSm | ReplaceSm) -> Address:
    return Address(pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr.decode("latin-1"))


#: What peers who do not know a state are told instead.
_BEFORE_5_0 = {
    MessageState.SCHEDULED: MessageState.ENROUTE,
    MessageState.SKIPPED: MessageState.DELETED,
}
