"""Edits: changing objects so that nobody's work is lost and every step can be undone.

In charge of: creating, replacing, patching, deleting and rolling back objects; dry runs; reading them; keeping the live
copies of this node up to date. Not in charge of: who may edit (`access/permissions.py`), audit rows (they ride along as
`writes`), what the objects mean.

How an edit goes. The registry reads what is new, plans the edit on what it then knows, and writes it in one transaction
that begins by raising the one revision number *if it still is the one seen*. If another node was faster, the whole plan
is made again; so If-Match, unique keys and the hooks' judgement hold in the database, not only in memory. The object
row itself is replaced only if its version is the one edited, and a unique index guards the keys. After the commit the
edit is live here at once; other nodes see the revision within `watch`'s period.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import structlog
from pydantic import BaseModel

from ..outlet import Write
from ..store.store import Answer, Store, StoreClosed
from . import tables
from .documents import Problem, merge_patch
from .living import Living, Page, read_rows
from .planning import Planner, Step, Wanted, step_writes
from .snapshot import Snapshot
from .versioned import (
    Edit,
    EditConflict,
    EditFailed,
    InvalidObject,
    ObjectKind,
    ObjectNotFound,
    Stored,
    Version,
    View,
    refuse_secrets,
)

__all__ = ["Registry", "Riders", "let_go"]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

TRIES = 20  #: times an edit is planned anew because another node was faster
POLL_S = 0.5  #: seconds between looks at the revision; an edit must be live everywhere within one second
MAX_VERSION = 2**31 - 1
LARGE = 20_000  #: characters of objects that are read on another thread

log = structlog.get_logger(__name__)

#: Statements that ride in the edit's transaction: as they are, or made from the edit (a new object's number is in it).
Riders = Sequence[Write] | Callable[[Edit[Any]], Sequence[Write]]


class Registry:
    """All objects that operators edit. Lives on the event loop."""

    def __init__(self, store: Store) -> None:
        """`store` must be open before `open` is called."""
        self._store = store
        self._living: dict[str, Living[Any, Any]] = {}
        self._numbers: set[int] = set()  # every number there ever was, of unregistered kinds too
        self._next_number = 1
        self._revision = 0
        self._stirred = asyncio.Event()
        #: Called after each edit made here: other nodes may be told.
        self.on_edit: list[Callable[[], None]] = []
        self._editing = asyncio.Lock()
        self._refreshing = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------ living

    def register(self, kind: ObjectKind[M, T]) -> Snapshot[T]:
        """Make a kind known; before `open`. Returns its live snapshot."""
        if kind.name in self._living:
            raise ValueError(f"the kind {kind.name} is registered already")
        refuse_secrets(kind.model)
        living = Living(kind, Snapshot[T]())
        self._living[kind.name] = living
        return living.snapshot

    def snapshot(self, kind: ObjectKind[M, T]) -> Snapshot[T]:
        """The live copies of a kind."""
        return cast("Snapshot[T]", self._living[kind.name].snapshot)

    def kinds(self) -> list[ObjectKind[Any, Any]]:
        """Every kind, in order of registration."""
        return [living.kind for living in self._living.values()]

    @property
    def revision(self) -> int:
        """How many edits this node knows of."""
        return self._revision

    async def open(self) -> None:
        """Read everything."""
        if not await self._store.fetch(tables.GET_REVISION):
            await self._store.apply(writes=[Write(tables.BEGIN, {})])  # another node may be faster
        await self.refresh()

    async def refresh(self) -> bool:
        """Take over what other processes edited. True if there was anything."""
        async with self._refreshing:
            state = await self._store.fetch(tables.GET_REVISION)
            if not state or state[0]["revision"] == self._revision:
                return False
            news: list[tuple[Living[Any, Any], list[tuple[Stored[Any], Any]]]] = []
            while True:  # until no edit of our own came between
                seen = self._revision
                rows = await self._store.fetch(tables.GET_CHANGED, revision=seen)
                # Where the loop is for others meanwhile: large objects take their time.
                news = await asyncio.to_thread(self._read, rows) if _are_large(rows) else self._read(rows)
                if self._revision == seen:
                    break
            # The rows may be newer than the state that was read before them, never older: revisions commit in order.
            self._revision = max([self._revision, state[0]["revision"], *(row["revision"] for row in rows)])
            self._numbers.update(row["number"] for row in rows)
            self._next_number = max([state[0]["next_number"], *(n + 1 for n in self._numbers)])
            for living, mine in news:
                let_go(living.absorb(mine, self._revision))
            for name in {row["kind"] for row in rows} - set(self._living):
                log.warning("registry.unknown-kind", kind=name)
            return True

    def _read(
        self, rows: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Living[Any, Any], list[tuple[Stored[Any], Any]]]]:
        """Rows as objects, by kind."""
        found: list[tuple[Living[Any, Any], list[tuple[Stored[Any], Any]]]] = []
        for living in self._living.values():
            mine = [row for row in rows if row["kind"] == living.kind.name]
            if mine:
                found.append((living, list(read_rows(living.kind, mine))))
        return found

    async def watch(self, every_s: float = POLL_S) -> None:
        """Refresh for ever; run it as a task. Ends when the store is closed."""
        while True:
            try:
                await asyncio.wait_for(self._stirred.wait(), every_s)
            except TimeoutError:
                pass
            self._stirred.clear()
            try:
                await self.refresh()
            except StoreClosed:
                return
            except Exception as error:  # the database may come back; until then the last state goes on
                log.warning("registry.refresh-failed", error=type(error).__name__)

    def stir(self) -> None:
        """Somebody says that there was an edit elsewhere: `watch` looks at once."""
        self._stirred.set()

    # ----------------------------------------------------------------------------------------------- reading

    async def get(self, kind: ObjectKind[M, Any], number: int) -> Stored[M]:
        """A living object as the database has it now; raises ObjectNotFound."""
        await self.refresh()
        found = cast("Stored[M] | None", self._living[kind.name].stored.get(number))
        if found is None:
            raise ObjectNotFound(kind.name, kind.id(number))
        return found

    async def by_key(self, kind: ObjectKind[M, Any], key: str) -> Stored[M]:
        """The same by key."""
        await self.refresh()
        living = self._living[kind.name]
        if key not in living.keys:
            raise ObjectNotFound(kind.name, key)
        return cast("Stored[M]", living.stored[living.keys[key]])

    async def page(
        self,
        kind: ObjectKind[M, Any],
        *,
        after: str = "",
        limit: int = 50,
        filters: Mapping[str, str] | None = None,
        q: str = "",
    ) -> Page[M]:
        """Up to `limit` objects whose key is above `after`, in order of keys.

        `filters`: field -> text; a list field must hold it, "true" and "false" for booleans, "" for null; a dot leads
        into an object. `q`: part of the key or the description, in any case.
        """
        await self.refresh()
        return cast("Page[M]", self._living[kind.name].page(after, limit, filters or {}, q))

    async def history(
        self, kind: ObjectKind[Any, Any], number: int, *, before: int = MAX_VERSION, limit: int = 50
    ) -> list[Version]:
        """Versions below `before`, newest first, of a deleted object too; raises ObjectNotFound."""
        await self.refresh()
        living = self._living[kind.name]
        if number not in living.stored and number not in living.gone:
            raise ObjectNotFound(kind.name, kind.id(number))
        rows = await self._store.fetch(tables.GET_HISTORY, number=number, before=before, limit=limit)
        return [
            Version(
                number=number,
                version=row["version"],
                at=row["at"],
                author=row["author"],
                reason=row["reason"],
                body=json.loads(row["body"]),
                deleted=bool(row["deleted"]),
            )
            for row in rows
        ]

    # ----------------------------------------------------------------------------------------------- editing

    async def create(
        self,
        kind: ObjectKind[M, Any],
        body: Mapping[str, Any],
        *,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> Edit[M]:
        """Make a new object. Raises InvalidObject, KeyTaken, EditConflict, EditFailed."""
        value = await asyncio.to_thread(kind.parse, body)
        wanted = Wanted(kind, lambda _: value)
        return await self._one(wanted, actor, reason, dry_run, writes)

    async def replace(
        self,
        kind: ObjectKind[M, Any],
        number: int,
        body: Mapping[str, Any],
        *,
        if_match: int,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> Edit[M]:
        """Give an object another value. Raises what `create` does, ObjectNotFound and StaleVersion."""
        wanted = Wanted(kind, lambda _: kind.parse(body), number, if_match)
        return await self._one(wanted, actor, reason, dry_run, writes)

    async def patch(
        self,
        kind: ObjectKind[M, Any],
        number: int,
        patch: Mapping[str, Any],
        *,
        if_match: int,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> Edit[M]:
        """Change parts of an object by a merge-patch (RFC 7396); null puts a field back to its default."""

        def patched(now: Stored[Any] | None) -> BaseModel:
            assert now is not None
            return kind.parse(cast("dict[str, Any]", merge_patch(now.body(), patch)))

        return await self._one(Wanted(kind, patched, number, if_match), actor, reason, dry_run, writes)

    async def delete(
        self,
        kind: ObjectKind[M, Any],
        number: int,
        *,
        if_match: int,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> Edit[M]:
        """Remove an object from the living; its history stays, and `rollback` brings it back."""
        return await self._one(Wanted(kind, lambda _: None, number, if_match), actor, reason, dry_run, writes)

    async def rollback(
        self,
        kind: ObjectKind[M, Any],
        number: int,
        to_version: int,
        *,
        if_match: int,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> Edit[M]:
        """Write a new version with the value of an old one. Credentials are no part of it and stay."""
        found = await self.history(kind, number, before=to_version + 1, limit=1)
        if not found or found[0].version != to_version:
            raise ObjectNotFound(kind.name, f"{kind.id(number)} version {to_version}")
        if found[0].deleted:
            raise InvalidObject(kind.name, [Problem("", "deleted-version", "that version is a deletion")])
        body = found[0].body
        wanted = Wanted(kind, lambda _: kind.parse(body), number, if_match, revive=True)
        return await self._one(wanted, actor, reason or f"back to version {to_version}", dry_run, writes)

    async def change_all(
        self,
        wanted: Callable[[View], Sequence[Wanted]],
        *,
        actor: str,
        reason: str = "",
        dry_run: bool = False,
        writes: Riders = (),
    ) -> list[Edit[Any]]:
        """Make several edits in one transaction: all or none. `wanted` is asked again whenever the plan is made anew.
        Riders that are a function are asked once per edit."""
        async with self._editing:
            for _ in range(TRIES):
                await self.refresh()
                seen = self._revision
                living = {name: one.as_it_is() for name, one in self._living.items()}
                planner = Planner(living, self._numbers, self._next_number)
                # Where the loop is for others meanwhile: a file of zones brings thousands, and large ones.
                now = self._store.clock.now_ms()
                steps, edits = await asyncio.to_thread(_planned, planner, wanted, actor, now, dry_run)
                if dry_run:
                    return edits
                if not steps or await self._write(seen, steps, edits, planner.next_number, reason, writes):
                    return edits
            raise EditConflict("registry", "edit")

    async def _one(self, wanted: Wanted, actor: str, reason: str, dry_run: bool, writes: Riders) -> Edit[Any]:
        edits = await self.change_all(
            lambda _: [wanted], actor=actor, reason=reason, dry_run=dry_run, writes=writes
        )
        return edits[0]

    async def _write(
        self,
        seen: int,
        steps: Sequence[Step],
        edits: Sequence[Edit[Any]],
        next_number: int,
        reason: str,
        writes: Riders,
    ) -> bool:
        """Write steps that were planned at a revision and make them live here; False: another node was faster, plan
        again."""
        riders = [write for edit in edits for write in writes(edit)] if callable(writes) else list(writes)
        raise_revision = {"seen": seen, "new_revision": seen + 1, "new_number": next_number}
        said = reason.replace("\0", "")

        def changes() -> list[Write]:
            return [write for step in steps for write in step_writes(step, seen + 1, said)]

        statements = await asyncio.to_thread(changes)
        answer = await self._store.apply(
            writes=[Write(tables.RAISE_REVISION, raise_revision, expect=1), *statements, *riders]
        )
        let_go(statements)
        first = steps[0]
        if answer is Answer.CONFLICT:
            await self.refresh()
            if self._revision != seen:
                return False
            raise EditConflict(first.kind.name, first.stored.id)
        if answer is not Answer.STORED:
            raise EditFailed(first.kind.name, first.stored.id, answer)
        self._absorb(steps, seen, next_number)
        for hook in self.on_edit:
            hook()
        return True

    def _absorb(self, steps: Sequence[Step], seen: int, next_number: int) -> None:
        """Make a committed edit live here, unless a refresh has seen it already."""
        if self._revision != seen:
            return
        self._revision = seen + 1
        self._next_number = next_number
        self._numbers.update(step.stored.number for step in steps)
        for living in self._living.values():
            mine = [(step.stored, step.built) for step in steps if step.kind.name == living.kind.name]
            if mine:
                let_go(living.absorb(mine, self._revision))


def _are_large(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether reading rows would hold others up for more than a few milliseconds."""
    return sum(len(row["body"]) for row in rows) > LARGE


def _planned(
    planner: Planner, wanted: Callable[[View], Sequence[Wanted]], actor: str, now: int, dry_run: bool
) -> tuple[list[Step], list[Edit[Any]]]:
    """The steps of an edit, and what its author is told of them."""
    steps = planner.plan(wanted, actor, now)
    edits = [replace(step.edit, dry_run=True) if dry_run else step.edit for step in steps]
    return ([] if dry_run else steps), edits


#: Fewer things than this are let go at once.
FEW = 200


def let_go(things: list[Any]) -> None:
    """Forget many things one after the other, on another thread: to free thousands of zones at once takes as long as
    some hundred messages. On the event loop, by the last who holds them."""
    if len(things) > FEW:
        asyncio.get_running_loop().run_in_executor(None, _forget, things)


def _forget(things: list[Any]) -> None:
    while things:
        things.pop()
