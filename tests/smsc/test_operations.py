"""query_sm, cancel_sm and replace_sm as PDUs: ids that are nobody's, states by version, and never no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from message_path import HOUR, INGRESS, Path

from restante.message import MessageState
from restante.smsc.operations import Operations
from restante.smsc.smpp import pdu
from restante.smsc.smpp.command_status import CommandStatus as Status
from restante.store.store import Answer

Run = Callable[..., None]
ENROUTE = MessageState.ENROUTE


class Asker:
    """A connection that keeps what it is answered."""

    version = 0x34
    ingress = INGRESS

    def __init__(self, path: Path) -> None:
        self.account = path.account("shop")
        self.answers: list[Any] = []

    def respond(self, request: pdu.Pdu, response: pdu.Pdu) -> None:
        self.answers.append(response)

    def refuse(self, request: pdu.Pdu, status: int) -> None:
        self.answers.append(status)

    def abort(self) -> None:
        self.answers.append("aborted")


async def ask(path: Path, request: pdu.Pdu, asker: Asker | None = None) -> Any:
    asker = asker or Asker(path)
    Operations(path.recall, path.clock).request(asker, request)
    while not asker.answers:
        await asyncio.sleep(0)
    return asker.answers.pop()


SHOP_FIELDS: dict[str, Any] = {"source_addr_ton": 5, "source_addr": b"Shop"}


@pytest.mark.parametrize(
    "id", [b"", b"x", b"-1", b"0", b"1", b"9223372036854775807", b"9223372036854775808", b"9" * 64, b"\xb2"]
)
def test_an_id_that_is_nobodys(on_path: Run, id: bytes) -> None:
    async def test(path: Path) -> None:
        asks: list[tuple[pdu.Pdu, int]] = [
            (pdu.QuerySm(message_id=id, **SHOP_FIELDS), Status.ESME_RQUERYFAIL),
            (pdu.ReplaceSm(message_id=id, short_message=b"x", **SHOP_FIELDS), Status.ESME_RREPLACEFAIL),
            (
                pdu.CancelSm(message_id=id, destination_addr=b"447700900001", dest_addr_ton=1, **SHOP_FIELDS),
                Status.ESME_RCANCELFAIL,
            ),
        ]
        for request, status in asks:
            assert await ask(path, request) == status

    on_path(test)


def test_too_many_at_a_time_are_told_to_slow_down(on_path: Run) -> None:
    async def test(path: Path) -> None:
        operations, asker = Operations(path.recall, path.clock), Asker(path)
        for _ in range(201):
            operations.request(asker, pdu.QuerySm(message_id=b"5", **SHOP_FIELDS))
        assert asker.answers == [Status.ESME_RTHROTTLED]
        while len(asker.answers) < 201:
            await asyncio.sleep(0)
        assert asker.answers[1:] == [Status.ESME_RQUERYFAIL] * 200

    on_path(test)


def test_no_operation_stays_without_an_answer(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        query = pdu.QuerySm(message_id=b"%d" % id, **SHOP_FIELDS)
        path.store.unavailable = True
        assert await ask(path, query) == Status.ESME_RSYSERR
        path.store.unavailable = False
        path.store.trouble_with = lambda change: Answer.UNKNOWN
        assert await ask(path, pdu.CancelSm(message_id=b"%d" % id, **SHOP_FIELDS)) == "aborted"
        both = pdu.ReplaceSm(message_id=b"%d" % id, short_message=b"a", **SHOP_FIELDS).add_tlv(0x0424, b"b")
        assert await ask(path, both) == Status.ESME_RINVOPTPARAMVAL
        late = pdu.ReplaceSm(message_id=b"%d" % id, schedule_delivery_time=b"soon", **SHOP_FIELDS)
        assert await ask(path, late) == Status.ESME_RINVSCHED
        late = pdu.ReplaceSm(message_id=b"%d" % id, validity_period=b"never", **SHOP_FIELDS)
        assert await ask(path, late) == Status.ESME_RINVEXPIRY

    on_path(test)


def test_a_scheduled_message_is_scheduled_to_5_0_peers_only(on_path: Run) -> None:
    async def test(path: Path) -> None:
        id = await path.submit(schedule_at=path.clock.now + HOUR)
        asker = Asker(path)
        query = pdu.QuerySm(message_id=b"%d" % id, **SHOP_FIELDS)
        assert (await ask(path, query, asker)).message_state == ENROUTE
        asker.version = 0x50
        assert (await ask(path, query, asker)).message_state == MessageState.SCHEDULED

    on_path(test)
