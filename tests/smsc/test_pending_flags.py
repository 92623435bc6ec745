"""set_dpf: when the flag is set, who is told of the return, once, however late; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from message_path import (
    ABSENT,
    BUSY,
    DAY,
    DELIVERED,
    HOUR,
    MINUTE,
    PERMANENT,
    PHONE,
    SECOND,
    Path,
    ScriptedBox,
    a_draft,
    failed,
)

from restante.message import Message
from restante.outlet import ErrorClass, Outcome
from restante.smsc.answers import Refused
from restante.smsc.flag_tables import pending_flag
from restante.smsc.pending_flags import FLAG_VALIDITY_MS, PendingFlags
from restante.smsc.smpp import tlv
from restante.smsc.smpp.pdu import AlertNotification
from restante.smsc.upkeep import Upkeep
from restante.store.statement import Query
from restante.store.store import Answer

Run = Callable[..., None]

FLAGS = Query("test: flags", pending_flag.select())
DPF = tlv.one(tlv.Tag.set_dpf, 1)
FULL = failed(ErrorClass.MEMORY_FULL)


class Receiver:
    """A bind that remembers what it was told."""

    def __init__(self, bind_type: str = "trx", version: int = 0x34) -> None:
        self.bind_type = bind_type
        self.version = version
        self.takes = True
        self.alerts: list[AlertNotification] = []

    def notify(self, pdu: AlertNotification) -> bool:
        if self.takes:
            self.alerts.append(pdu)
        return self.takes


class Here:
    """The flags as a node sees them, with the binds that the test says."""

    def __init__(self, path: Path, *binds: Receiver) -> None:
        self.path = path
        self.binds = list(binds)
        self.flags = PendingFlags(
            path.store, accounts=lambda: [1] if self.binds else [], binds=lambda number: self.binds
        )
        path.delivery.on_seen(self.flags.seen)
        path.delivery.on_arrived(self.flags.seen)

    async def turn(self) -> list[tuple[bytes, bytes]]:
        """Whose return was told to whom since the last time."""
        await self.flags.turn()
        told = [(alert.source_addr, alert.esme_addr) for bind in self.binds for alert in bind.alerts]
        for bind in self.binds:
            bind.alerts.clear()
        return told

    async def rows(self) -> list[Any]:
        return await self.path.store.fetch(FLAGS)


def asking(**fields: Any) -> Message:
    return a_draft(tlvs=fields.pop("tlvs", DPF), **fields)


SHOP_HEARS = [(PHONE[1:].encode(), b"Shop")]


@pytest.mark.parametrize("failure", [ABSENT, FULL])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("box", [False, True])
def test_the_return_is_told_once(on_path: Run, failure: Outcome, mode: int, box: bool) -> None:
    """Whatever became of the message: retried, deposited, or ended with its one attempt."""

    async def test(path: Path) -> None:
        receiver = Receiver()
        here = Here(path, receiver)
        path.switch.says = lambda attempt: failure
        answer = await path.answer_to(asking(esm_class=mode))
        if mode == 2:
            assert isinstance(answer, Refused)
            assert answer.flagged
        assert await here.turn() == []
        assert len(await here.rows()) == 1
        path.switch.says = lambda attempt: DELIVERED
        path.delivery.spoke(PHONE)  # which says nothing about its memory
        await path.settle()
        assert await here.turn() == (SHOP_HEARS if failure is ABSENT else [])
        path.delivery.wake(PHONE)
        await path.settle()
        assert await here.turn() == (SHOP_HEARS if failure is FULL else [])
        assert await here.rows() == []
        path.delivery.wake(PHONE)
        await path.settle()
        assert await here.turn() == []

    on_path(test, box=ScriptedBox() if box else None)


@pytest.mark.parametrize(
    ("draft", "failure"),
    [
        (lambda: asking(tlvs=b""), ABSENT),
        (lambda: asking(tlvs=tlv.one(tlv.Tag.set_dpf, 0)), ABSENT),
        (lambda: asking(), BUSY),
        (lambda: asking(), PERMANENT),
        (lambda: asking(esm_class=2), PERMANENT),
        (lambda: asking(), DELIVERED),
    ],
)
def test_no_flag(on_path: Run, draft: Callable[[], Message], failure: Outcome) -> None:
    async def test(path: Path) -> None:
        here = Here(path, Receiver())
        path.switch.says = lambda attempt: failure
        answer = await path.answer_to(draft())
        assert not (isinstance(answer, Refused) and answer.flagged)
        assert await here.rows() == []

    on_path(test)


def test_who_is_not_bound_is_told_later(on_stores: Run) -> None:
    """By a success as well; a transmitter, a peer of 3.3 and a peer that does not read are not told."""

    async def test(path: Path) -> None:
        here = Here(path)
        path.switch.says = lambda attempt: ABSENT
        for _ in range(2):
            await path.submit(asking())
        await path.submit(asking(to="+447700900003", source=path_source("Other")))
        await path.submit(asking(to="+447700900002"))
        assert len(await here.rows()) == 3
        path.switch.says = lambda attempt: DELIVERED
        await path.step(MINUTE)
        assert len(path.switch.handed) > 4
        assert await here.turn() == []
        deaf = Receiver()
        deaf.takes = False
        here.binds = [Receiver("tx"), Receiver(version=0x33), deaf]
        assert await here.turn() == []
        here.binds = [Receiver("rx")]
        assert await here.turn() == []  # claimed for the one that did not read
        await path.step(31 * SECOND)
        told = await here.turn()
        assert sorted(told) == [
            (b"447700900001", b"Shop"), (b"447700900002", b"Shop"), (b"447700900003", b"Other"),
        ]  # fmt: skip
        assert await here.rows() == []

    def path_source(name: str) -> Any:
        return a_draft().source._replace(digits=name)

    on_stores(test)


def test_two_nodes_tell_once(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        one, other = Here(path, Receiver()), Here(path, Receiver())
        path.switch.says = lambda attempt: ABSENT
        await path.submit(asking())
        path.delivery.wake(PHONE)
        await path.settle()
        await one.flags._due([PHONE], path.clock.now)
        rows = await one.rows()
        await one.flags._send(rows[0], path.clock.now)
        await other.flags._send(rows[0], path.clock.now)
        assert (len(one.binds[0].alerts), len(other.binds[0].alerts)) == (1, 0)

    on_stores(test)


def test_what_a_crash_swallowed(on_path: Run) -> None:
    """The handset was reached, and nobody heard of it: the sweep finds the flag. A claim that was not kept ends."""

    async def test(path: Path) -> None:
        path.switch.says = lambda attempt: ABSENT
        await path.submit(asking())
        path.switch.says = lambda attempt: DELIVERED
        await path.step(MINUTE)  # nobody listens to `seen` in this life
        again = await path.next_life()
        here = Here(again, Receiver())
        again.store.trouble_with = lambda change: None if len(again.store.committed) < 2 else Answer.FAILED
        assert await here.turn() == SHOP_HEARS
        assert len(await here.rows()) == 1  # the alert went out, and then the life ended
        last = await again.next_life()
        here = Here(last, Receiver())
        assert await here.turn() == []
        await last.step(31 * SECOND)
        assert await here.turn() == SHOP_HEARS
        assert await here.rows() == []

    on_path(test)


def test_an_application_that_binds_again_is_there(on_path: Run) -> None:
    async def test(path: Path) -> None:
        here = Here(path, Receiver())
        bank = path.outlets["bank"]
        bank.up = False
        await path.submit(asking(to="12345"))
        assert len(await here.rows()) == 1
        assert await here.turn() == []
        path.switch.up = False
        path.switch.wake()
        assert await here.turn() == []
        bank.up = True
        bank.wake()
        await path.settle()
        assert await here.turn() == [(b"12345", b"Shop")]

    on_path(test)


def test_nobody_came_for_a_week(on_stores: Run) -> None:
    async def test(path: Path) -> None:
        here = Here(path)
        path.switch.says = lambda attempt: ABSENT
        await path.submit(asking(expires_at=path.clock.now + HOUR))
        await path.step(FLAG_VALIDITY_MS - DAY)
        assert (await Upkeep(path.store).once())[2] == 0
        await path.step(2 * DAY)
        assert (await Upkeep(path.store).once())[2] == 1
        assert await here.rows() == []

    on_stores(test)
