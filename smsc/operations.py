"""What a bound peer may ask besides submitting.

In charge of: query_sm, and the honest answer to operations this release does not offer. Not in charge of: submitting
(`submission.py`). Sources: SMPP 3.4 §4.8; behaviour.md 7: only the submitting account may ask, with source_addr as
submitted, and another's id is answered byte for byte like an unknown one.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from ..access.accounts import Account
from ..message import FINAL_STATES, MessageState
from ..store.history import History, MessageView
from .smpp import times
from .smpp.codec import Pdu
from .smpp.command_id import CommandId
from .smpp.command_status import CommandStatus as Status
from .smpp.pdu import QuerySm, QuerySmResp

__all__ = ["Asker", "Operations"]

_log = structlog.get_logger(__name__)

#: Look-ups under way at a time; beyond it a peer is told to slow down.
MAX_LOOK_UPS = 200

_VERSION_5_0 = 0x50
_REFUSAL = {
    CommandId.cancel_sm: Status.ESME_RCANCELFAIL,
    CommandId.replace_sm: Status.ESME_RREPLACEFAIL,
    CommandId.submit_multi: Status.ESME_RSUBMITFAIL,
}


class Asker(Protocol):
    """The connection that asked."""

    version: int

    def respond(self, request: Pdu, response: Pdu) -> None:
        """Answer with fields."""
        ...

    def refuse(self, request: Pdu, status: int) -> None:
        """Answer with an error."""
        ...


class Operations:
    """Answers operations about stored messages."""

    def __init__(self, history: History) -> None:
        """`history` reads the store."""
        self._history = history
        self._under_way: set[asyncio.Task[None]] = set()

    def refuse(self, asker: Asker, pdu: Pdu) -> None:
        """Say no in the operation's own words."""
        asker.refuse(pdu, _REFUSAL.get(CommandId(pdu.command_id), Status.ESME_RINVCMDID))

    def query(self, asker: Asker, pdu: QuerySm, account: Account) -> None:
        """query_sm: the state of one message, from the rows that are its trace."""
        if len(self._under_way) >= MAX_LOOK_UPS:
            asker.refuse(pdu, Status.ESME_RTHROTTLED)
            return
        task = asyncio.get_running_loop().create_task(self._query(asker, pdu, account))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _query(self, asker: Asker, pdu: QuerySm, account: Account) -> None:
        try:
            view = await self._find(pdu, account)
        except (OSError, TimeoutError):
            _log.exception("query-failed")
            asker.refuse(pdu, Status.ESME_RSYSERR)
            return
        if view is None:
            asker.refuse(pdu, Status.ESME_RQUERYFAIL)
            return
        state = MessageState(view.state)
        if state in (MessageState.SCHEDULED, MessageState.SKIPPED) and asker.version < _VERSION_5_0:
            state = MessageState.ENROUTE if state is MessageState.SCHEDULED else MessageState.DELETED
        final = state in FINAL_STATES and view.final_at
        asker.respond(
            pdu,
            QuerySmResp(
                message_id=pdu.message_id,
                final_date=times.format_absolute(view.final_at) if final else b"",
                message_state=int(state),
                error_code=0,
            ),
        )

    async def _find(self, pdu: QuerySm, account: Account) -> MessageView | None:
        text = pdu.message_id
        if not text.isdigit() or len(text) > 19:
            return None
        view = await self._history.message(int(text))
        if view is None or view.message.account != account.number or view.message.is_system:
            return None
        source = view.message.source
        asked = (pdu.source_addr_ton, pdu.source_addr_npi, pdu.source_addr.decode("latin-1"))
        return view if asked == (source.ton, source.npi, source.digits) else None
