"""The contract between the rooms and the database.

In charge of: the unit of change, what a room may ask of the store, and how it is answered. Not in charge of: how
either database does it (`sqlite.py`, `postgresql.py`, `writer.py`).

The promise: a change is answered STORED only after the transaction that holds it is on disk. Changes that arrive
while a commit is under way form the next batch (group commit), so nobody waits for a timer. Each change is atomic by
itself: a fenced or conflicting one is answered so and leaves its neighbours in the batch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..message import Event, Message
from ..outlet import Write

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from .clock import Clock
    from .nodes import LifeState
    from .statement import Query

__all__ = [
    "Answer",
    "Change",
    "Health",
    "QueueReason",
    "Release",
    "Requeue",
    "Store",
    "StoreClosed",
    "StoreRefused",
    "StoreUnavailable",
    "Work",
]


class QueueReason:
    """Why a row waits in the queue; a word, stored as it is."""

    NONE = ""  #: no queue row: the message is recorded already finished (a refused or dropped one)
    NEW = "new"  #: first attempt
    SCHEDULED = "scheduled"  #: schedule_delivery_time
    RETRY = "retry"  #: an attempt failed
    FORWARDED = (
        "forwarded"  #: another center has it: nobody's until its receipt comes, or is overdue at due_at
    )
    HELD = "held"  #: parked by a check, until due_at or released
    QUARANTINED = "quarantined"  #: parked by a check, until an operator decides
    PENDING_CHECK = "pending-check"  #: a check owes an answer before the first attempt
    DIVERTED = "diverted"  #: a check sends it to the mailbox: no attempt on the handset
    RELEASED = "released"  #: an operator let it go: its checks resume behind the one that parked it
    WITHHELD = "withheld"  #: rejected, unnoticed: goes the way of an absent recipient's, is never handed over
    BLOCKED = "blocked"  #: rejected at an attempt, unnoticed: the same way, but its checks are asked at each attempt
    REDELIVERY = "redelivery"  #: the copy in the mailbox, wanted on the handset: one attempt


#: What waits like a message for an absent recipient although a check rejected it.
UNNOTICED = (QueueReason.WITHHELD, QueueReason.BLOCKED)


@dataclass(slots=True)
class Release:
    """Take a row out of the queue: the message is finished or goes to the mailbox. Fenced by `owner`."""

    id: int
    owner: int  #: epoch that must still own the row


@dataclass(slots=True)
class Requeue:
    """Leave a row in the queue with a new due time. Fenced by `owner`."""

    id: int
    owner: int  #: epoch that must still own the row
    due_at: int  #: UTC epoch milliseconds
    attempts: int  #: attempts made so far
    reason: str  #: a QueueReason
    keep: bool = False  #: True: this node goes on owning it; False: owner becomes `heir`
    heir: int = 0  #: epoch of the node that works on it from now on; 0: whoever claims it


class Answer(Enum):
    """What became of a change."""

    STORED = "stored"  #: on disk
    FENCED = "fenced"  #: the queue row is not ours any more: stop working on this message, tell nobody
    CONFLICT = "conflict"  #: a Write did not touch the rows it expected, or a unique key exists already
    FULL = "full"  #: no room on the disk or the store's limit: nothing was stored
    FAILED = "failed"  #: the database refused or could not be reached: nothing was stored
    UNKNOWN = "unknown"  #: the commit's outcome could not be established in time: say nothing to the peer


@dataclass(slots=True)
class Change:
    """Everything that must become true together.

    Order inside: messages (with body and queue row), queue change, events, writes. `done` is called once, on the
    event loop, in the order in which changes were put.
    """

    done: Callable[[Answer], None]
    messages: tuple[Message, ...] = ()  #: new messages; the queue row is owned by `message.owner`
    reasons: tuple[str, ...] = ()  #: QueueReason of each message's row; empty: all NEW (or SCHEDULED)
    #: Due time of each message's row; empty: expires_at for HELD and QUARANTINED, else schedule_at or submitted_at.
    due_at: tuple[int, ...] = ()
    release: Release | None = None
    requeue: Requeue | None = None
    events: tuple[Event, ...] = ()
    writes: tuple[Write, ...] = ()


@dataclass(slots=True)
class Work:
    """A queue row read back, with its message: what delivery works on."""

    message: Message
    due_at: int
    attempts: int
    reason: str


class Health(NamedTuple):
    """What /readyz and the doctor show."""

    accepting: bool
    why: str = ""  #: for people, when not accepting
    pending: int = 0  #: changes waiting for a commit
    commit_ms: float = 0.0  #: duration of the last commit


class StoreClosed(Exception):
    """The store was closed or fenced: this node must not write any more."""


class StoreRefused(Exception):
    """The store does not open: the text says why and which command or setting mends it."""


class StoreUnavailable(OSError):
    """A read took too long or found no database; nothing is known about its answer."""


class Store(Protocol):
    """SqliteStore or PostgresqlStore. Methods without `async` never block the loop."""

    clock: Clock
    epoch: int  #: of this node's present life; names the owner of queue rows
    node: int  #: leased node number

    async def open(self) -> None:
        """Connect, verify schema revision and durability settings, lease a node number, take a new epoch.

        Raises StoreRefused with the fix in its text.
        """
        ...

    async def close(self) -> None:
        """Commit what was put, release the lease, close."""
        ...

    def put(self, change: Change) -> None:
        """Queue a change for the next commit. `change.done` gets the answer. Raises StoreClosed after close."""
        ...

    async def apply(
        self,
        *,
        messages: Sequence[Message] = (),
        release: Release | None = None,
        requeue: Requeue | None = None,
        events: Sequence[Event] = (),
        writes: Sequence[Write] = (),
    ) -> Answer:
        """`put` for cold paths: await the answer."""
        ...

    async def bulk(self, writes: Sequence[Write]) -> list[int]:
        """Run bulk work in its own small transactions, behind everything that was `put`; rows touched by each.

        A statement with a parameter `limit` that the write leaves open is repeated in chunks of about 20 ms until it
        touches fewer rows than its limit.
        """
        ...

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call `hook` on the loop after the `done`s of each batch: responses are flushed, then delivery starts."""
        ...

    async def fetch(self, query: Query | Executable, /, **params: object) -> list[Mapping[str, Any]]:
        """Read rows, for cold paths; each row maps column names to values."""
        ...

    async def fetch_plain(self, query: Query, /, **params: object) -> list[Sequence[Any]]:
        """`fetch` for long lists: each row has its values in the order of the query's columns, none of octets."""
        ...

    async def load(self, ids: Sequence[int]) -> list[Message]:
        """Read messages with their newest body. Unknown ids are left out; the order is the ids'."""
        ...

    async def claim(self, *, due_before: int, limit: int, recipient: str | None = None) -> list[Work]:
        """Take ownership of unowned queue rows (or rows of dead epochs) in due order and load them.

        HELD, QUARANTINED rows are left out unless due. On start the same call takes up a dead node's rows.
        """
        ...

    async def next_due(self) -> int | None:
        """Due time of the earliest unowned row, or None."""
        ...

    def next_id(self) -> int:
        """Make a message id (see `message.IdGenerator`). Raises StoreClosed when the reserve of ids is used up."""
        ...

    def alive(self) -> bool:
        """Say whether this node may send: False while its heartbeat is late or its epoch gone (see `nodes.py`)."""
        ...

    def on_life(self, hook: Callable[[LifeState], None]) -> None:
        """Call `hook` when this node becomes live, stale (stop sending for now) or fenced (stop for ever)."""
        ...

    def health(self) -> Health:
        """Say whether accepts are possible."""
        ...
