"""Getting messages to the node that works on them, and what nodes tell each other about them.

In charge of: handing rows that another node owns to it, taking up rows that were handed to us, asking whether somebody
else still works for a handset, and telling other nodes that a recipient was seen or that a message they wait for has
ended. Not in charge of: which node is the right one (`neighbours.py`), the row's owner (`delivery.py` and
`submission.py` write it), and rows whose news was lost: the pump finds them (`pump.py`).

Theory. A row names its owner before anybody is told, so what travels is ids, never messages, and losing them costs
time only. Everything that leaves here within one turn of the loop goes together.

    hand        ids of rows that the other node owns -> it loads them -> its lanes
    look        "is an older row of this recipient worked on elsewhere?" -> its own are tried when there is none
    seen        numbers that spoke, or were woken: whoever keeps something for them tries it now
    ended       the end of a message whose submitter waits for it at another node (transaction mode)
    wanted      a row of another node that somebody wants to cancel or replace here -> it lets go (`waiting.py`)

How it fails: the database does not answer -> what was handed is found again by the pump; a look counts as "yes", and is
repeated. Source: behaviour.md 2, 5; notes/store.md 4.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import BigInteger, bindparam, select

from ..message import MessageState
from ..metrics import counter
from ..outlet import ErrorClass, Outcome, Outlet, Result
from ..store import tables as store_tables
from ..store.bus import Bus
from ..store.statement import Query, among
from ..store.store import QueueReason, Store, StoreClosed
from . import node_tables as tables
from .holding import resumes_behind
from .lanes import Task
from .neighbours import Neighbours
from .recipients import Silence

__all__ = ["Handover", "Looked", "MOST_PASSES", "note_of"]

_log = structlog.get_logger(__name__)

_passed = counter("handover", "messages", "Messages handed between nodes", ("direction",))
_looks = counter("handover", "looks", "Handsets asked about, because their home has changed", ("answer",))

#: A message that was passed on so often without an attempt waits a moment: the nodes do not agree yet.
MOST_PASSES = 4
#: Rows taken up at a time.
_LOAD = 1000
#: Handed rows that wait to be loaded; more are left to the pump.
_MOST_WAITING = 50_000
#: Ends that are waited for; the oldest is forgotten first, and its submitter gets its id without an outcome.
_MOST_AWAITED = 10_000
#: Numbers in one packet.
_MOST_NUMBERS = 250

#: Rows that are being let go of; who asks for more asks again.
_MOST_LETTING_GO = 1000

_SEEN, _SPOKE, _ENDED, _WANTED = "seen", "spoke", "ended", "wanted"

_OURS = Query(
    "handover: handed rows that are really ours",
    select(store_tables.queue.c.id, store_tables.queue.c.attempts, store_tables.queue.c.reason).where(
        among(store_tables.queue.c.id, "ids"),
        store_tables.queue.c.owner == bindparam("owner", type_=BigInteger),
    ),
)

#: Told of a look: True if somebody else still works for the recipient, and what is known of its silence.
Looked = Callable[[bool, Silence | None], None]
Ended = Callable[[MessageState, Outcome | None], None]


class Worker(Protocol):
    """What is needed of the desk."""

    def room(self) -> int:
        """How many more messages may be taken up."""
        ...

    def knows(self, id: int) -> bool:
        """True if a message is worked on."""
        ...

    def take(self, tasks: Sequence[Task]) -> None:
        """Work on messages whose rows this node owns."""
        ...

    def rouse(self, recipient: str) -> None:
        """Try at once what waits for a recipient here."""
        ...


class Handover:
    """The traffic about messages between this node and the others. Lives on the event loop."""

    def __init__(self, store: Store, bus: Bus, neighbours: Neighbours) -> None:
        """Serves one worker from `start` to `close`."""
        self._store = store
        self._bus = bus
        self._neighbours = neighbours
        self._worker: Worker | None = None
        self._leaving: dict[tuple[int, str], list[int]] = {}
        self._telling: dict[tuple[str, str], None] = {}
        self._flush_soon = False
        self._waiting: dict[int, str] = {}  # handed to us and not loaded yet, with their notes
        self._looking: dict[str, list[tuple[int, Looked]]] = {}
        self._awaited: OrderedDict[int, Ended] = OrderedDict()
        self._work: set[asyncio.Task[None]] = set()
        self._let_go: Callable[[int], Coroutine[None, None, bool]] | None = None
        self._letting_go: set[int] = set()
        self._loading = False
        self._stops: list[Callable[[], None]] = []

    def start(
        self,
        worker: Worker,
        *,
        spoke: Callable[[str], None],
        changed: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        """Begin to take what is handed to this node's present life. `spoke` is told of handsets that spoke at other
        nodes; `changed` is called when places may have changed, `gone` when another life ended."""
        self._worker = worker
        self._stops = [
            self._bus.take(self._store.epoch, self._handed),
            self._bus.subscribe(_SEEN, partial(self._heard_of, worker.rouse)),
            self._bus.subscribe(_SPOKE, partial(self._heard_of, spoke)),
            self._bus.subscribe(_ENDED, self._heard_end),
            self._bus.subscribe(_WANTED, self._heard_wanted),
        ]
        for hooks, hook in ((self._neighbours.on_change, changed), (self._neighbours.on_gone, gone)):
            hooks.append(hook)
            self._stops.append(partial(hooks.remove, hook))

    async def close(self) -> None:
        """Take nothing more."""
        self._flush()
        for stop in self._stops:
            stop()
        self._worker = None
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    @property
    def alone(self) -> bool:
        """No other node: nothing here needs to be asked."""
        return self._neighbours.alone

    @property
    def unsettled(self) -> bool:
        """See `Neighbours.unsettled`."""
        return self._neighbours.unsettled

    def place(self, outlet: Outlet, recipient: str) -> int:
        """See `Neighbours.place`."""
        return self._neighbours.place(outlet, recipient)

    # ------------------------------------------------------------------------------------------------ leaving

    def hand(self, epoch: int, id: int, note: str = "", ended: Ended | None = None) -> None:
        """Tell the node in that epoch of a row it owns. `ended` is told of its end, if that comes soon."""
        self._leaving.setdefault((epoch, note), []).append(id)
        if ended is not None:
            self._awaited[id] = ended
            if len(self._awaited) > _MOST_AWAITED:
                self._awaited.popitem(last=False)
        self._soon()

    def seen(self, recipient: str) -> None:
        """A recipient was woken here: what other nodes keep for it is tried as well."""
        if not self.alone:
            self._telling[_SEEN, recipient] = None
            self._soon()

    def spoke(self, number: str) -> None:
        """A handset sent something here."""
        if not self.alone:
            self._telling[_SPOKE, number] = None
            self._soon()

    def tell_end(self, id: int, state: MessageState, failure: Outcome | None) -> None:
        """Somebody may wait for this end at another node."""
        facts: dict[str, object] = {"id": id, "state": int(state)}
        if failure is not None and failure.result is Result.FAILED:
            facts |= {
                "error": failure.error or "",
                "reason": failure.reason,
                "status": failure.status,
                "network_error": failure.network_error.hex(),
            }
        self._bus.publish(_ENDED, json.dumps(facts).encode())

    def ask_to_let_go(self, epoch: int, id: int) -> None:
        """Somebody here wants a row that the node in that epoch works on."""
        self._bus.publish(_WANTED, f"{epoch} {id}".encode())

    def let_go_with(self, let_go: Callable[[int], Coroutine[None, None, bool]]) -> None:
        """Call `let_go` with messages of ours that somebody wants at another node."""
        self._let_go = let_go

    def _soon(self) -> None:
        if not self._flush_soon:
            self._flush_soon = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = False
        leaving, self._leaving = self._leaving, {}
        for (epoch, note), ids in leaving.items():
            _passed.labels("out").inc(len(ids))
            self._bus.hand(epoch, ids, note)
        telling, self._telling = list(self._telling), {}
        for topic in (_SEEN, _SPOKE):
            numbers = [number for about, number in telling if about == topic]
            for at in range(0, len(numbers), _MOST_NUMBERS):
                self._bus.publish(topic, "\n".join(numbers[at : at + _MOST_NUMBERS]).encode())

    # ------------------------------------------------------------------------------------------------ coming

    def _handed(self, ids: Sequence[int], note: str) -> None:
        """Rows of ours, says another node."""
        room = _MOST_WAITING - len(self._waiting)
        for id in ids[: max(room, 0)]:
            self._waiting[id] = note
        if self._waiting and not self._loading:
            self._loading = True
            self._begin(self._load(), "handed rows")

    async def _load(self) -> None:
        try:
            while self._waiting and self._worker is not None:
                ids = list(self._waiting)[: min(_LOAD, self._worker.room())]
                if not ids:
                    self._waiting.clear()  # no room: the pump finds them when there is
                    return
                notes = {id: self._waiting.pop(id) for id in ids}
                await self._take(notes)
        except Exception as error:  # the database is away: the pump finds them when it is back
            _log.warning("handed-rows-not-loaded", error=str(error))
            self._waiting.clear()
        finally:
            self._loading = False

    async def _take(self, notes: Mapping[int, str]) -> None:
        worker = self._worker
        fresh = [id for id in notes if worker is not None and not worker.knows(id)]
        rows = {
            int(row["id"]): row for row in await self._store.fetch(_OURS, ids=fresh, owner=self._store.epoch)
        }
        tasks: list[Task] = []
        for message in await self._store.load(sorted(rows)):
            row = rows[message.id]
            message.owner = self._store.epoch
            task = Task(message, attempts=int(row["attempts"]), reason=str(row["reason"]))
            task.passes, task.skip = _read_note(notes[message.id])
            task.claimed = bool(task.passes)
            if task.reason == QueueReason.RELEASED:
                task.resume = await resumes_behind(self._store, message.id)
            tasks.append(task)
        if self._worker is not None:
            _passed.labels("in").inc(len(tasks))
            self._worker.take([task for task in tasks if not self._worker.knows(task.message.id)])

    def _heard_of(self, tell: Callable[[str], None], payload: bytes) -> None:
        for number in payload.decode("utf-8", "replace").split("\n")[: 2 * _MOST_NUMBERS]:
            tell(number)

    def _heard_end(self, payload: bytes) -> None:
        if not self._awaited:
            return
        try:
            facts = json.loads(payload)
            ended = self._awaited.pop(facts["id"], None)
            if ended is None:
                return
            failure = None
            if "reason" in facts:
                error = ErrorClass(facts["error"]) if facts["error"] else None
                octets = bytes.fromhex(facts["network_error"])
                failure = Outcome(
                    Result.FAILED, error, str(facts["reason"]), int(facts["status"]), network_error=octets
                )
            ended(MessageState(facts["state"]), failure)
        except (ValueError, TypeError, KeyError):
            _log.warning("end-not-understood", octets=len(payload))

    def _heard_wanted(self, payload: bytes) -> None:
        try:
            epoch, id = map(int, payload.split())
        except ValueError:
            _log.warning("wish-not-understood", octets=len(payload))
            return
        if epoch != self._store.epoch or self._let_go is None or len(self._letting_go) >= _MOST_LETTING_GO:
            return
        if id not in self._letting_go:
            self._letting_go.add(id)
            self._begin(self._give_away(id, self._let_go), "row wanted elsewhere")

    async def _give_away(self, id: int, let_go: Callable[[int], Coroutine[None, None, bool]]) -> None:
        try:
            await let_go(id)
        except (OSError, StoreClosed) as error:  # whoever wants it is told that it is under delivery
            _log.warning("row-not-let-go", error=str(error))
        finally:
            self._letting_go.discard(id)

    # ------------------------------------------------------------------------------------------------ looking

    def look(self, recipient: str, id: int, looked: Looked) -> None:
        """Ask whether another node works on an older row of a recipient."""
        if not self._looking:
            asyncio.get_running_loop().call_soon(self._look_soon)
        self._looking.setdefault(recipient, []).append((id, looked))

    def _look_soon(self) -> None:
        looking, self._looking = self._looking, {}
        self._begin(self._look(looking), "look")

    async def _look(self, looking: Mapping[str, list[tuple[int, Looked]]]) -> None:
        older: dict[str, int] = {}
        silences: dict[str, Silence] = {}
        failed = False
        try:
            recipients = list(looking)
            for row in await self._store.fetch(
                tables.OLDER_ELSEWHERE, recipients=recipients, epoch=self._store.epoch
            ):
                older[str(row["recipient"])] = int(row["id"])
            for row in await self._store.fetch(tables.SILENCES, numbers=recipients):
                silences[row["number"]] = Silence(
                    row["cause"], row["since"], row["next_try"], row["failures"], row["outlet"]
                )
        except StoreClosed:
            return
        except Exception as error:  # nothing is known: ask again in a moment
            _log.warning("look-failed", error=str(error))
            failed = True
        for recipient, askers in looking.items():
            for id, looked in askers:
                taken = failed or older.get(recipient, id) < id
                _looks.labels("wait" if taken else "go").inc()
                looked(taken, silences.get(recipient))

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def note_of(task: Task) -> str:
    """What the next node must know: how often it was passed on, and which routes failed in this attempt."""
    return "\n".join([str(task.passes + 1), *task.tried])


def _read_note(note: str) -> tuple[int, tuple[str, ...]]:
    first, *tried = note.split("\n") if note else ["0"]
    return (int(first) if first.isdecimal() else 0), tuple(tried)
