"""A subscriber's box, as REST and keywords use it.

In charge of: showing, opening, changing, removing and exporting items; what the subscriber chose. Not in charge of: who
may call (`api/`), deposits (`outlet.py`), the end of messages (`endings.py`), the change feed (`changes.py`), handing
items to the handset (`redelivery.py`).

Theory. Listing is not retrieval: only `open` (and `export`, which gives everything away) ends a message as delivered,
and answers after that is on disk. Every method takes the subscriber's id, and every statement below names it, so that
another's item is as unknown as one that never was. A box is open to its owner while the subscriber is active; operators
look at any box with `operator=True`, which retrieves nothing.

Every edit reads items, computes, and writes on condition that they are unchanged; a few tries settle any race.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..access.subscribers import Subscribers
from ..message import Event, EventKind, MessageState, id_at
from ..outlet import Write
from ..store.store import Answer, Store
from . import statements as sql
from .deposit_statements import OPEN_BOX
from .edits import Flags, flagging, removal
from .endings import Conclusion, Endings
from .folders import Folder, IllegalMove, after_move
from .item import PART_TOTAL, Group, Item, Row, group_rows
from .model import (
    BatchAction,
    BatchResult,
    BoxClosed,
    BoxUnavailable,
    Choices,
    Conversation,
    ItemNotFound,
    Page,
    StaleItem,
    Summary,
    Wanted,
)
from .quota import read_parts
from .settings import DAY_MS, MailboxSettings

__all__ = ["MAX_BATCH", "MAX_PAGE", "Box"]

MAX_PAGE = 200  #: items of one page
MAX_BATCH = 500  #: items of one batch
_TRIES = 8  #: at an edit that meets another one
_HIGHEST = 2**63 - 1


class Box:
    """All boxes; each call names one."""

    def __init__(
        self, store: Store, subscribers: Subscribers, settings: MailboxSettings, endings: Endings
    ) -> None:
        self._store = store
        self._subscribers = subscribers
        self._settings = settings
        self._endings = endings
        self._changed: list[Callable[[int], None]] = []

    def on_change(self, hook: Callable[[int], None]) -> None:
        """Call `hook` with the subscriber's id after each change made here."""
        self._changed.append(hook)

    # --------------------------------------------------------------------------------------------------- looking

    async def summary(self, subscriber: int, *, operator: bool = False) -> Summary:
        """Counters, room and the feed's state."""
        await self.check_open(subscriber, operator)
        rows = await self._store.fetch(sql.SUMMARY, subscriber=subscriber)
        row: Mapping[str, Any] = rows[0] if rows else dict.fromkeys(_COUNTERS, 0)
        days = row["retention_days"] or self._settings.retention_days
        oldest = (row["oldest"] >> 20) + days * DAY_MS if row["oldest"] else 0
        return Summary(
            subscriber,
            row["unread"],
            row["total"],
            row["bytes"],
            self._settings.quota_bytes,
            self._settings.quota_messages,
            row["modseq"],
            oldest,
        )

    async def page(
        self,
        subscriber: int,
        wanted: Wanted | None = None,
        *,
        before: int = 0,
        limit: int = 50,
        operator: bool = False,
    ) -> Page:
        """A list, newest first. A search may return fewer items than asked and still have more."""
        await self.check_open(subscriber, operator)
        wanted = wanted or Wanted()
        limit = max(1, min(limit, MAX_PAGE))
        if wanted.text:
            return await self._search(subscriber, wanted, before, limit)
        rows, state = await self._leaders(subscriber, wanted, before, limit + 1)
        more = len(rows) > limit
        items = await self._items(subscriber, rows[:limit])
        return Page(items, items[-1].id if more else 0, state)

    async def conversations(
        self, subscriber: int, *, before: int = 0, limit: int = 50, operator: bool = False
    ) -> tuple[Conversation, ...]:
        """Correspondents by their newest item, from `before` (the last one's newest id) on."""
        await self.check_open(subscriber, operator)
        rows = await self._store.fetch(
            sql.CONVERSATIONS, subscriber=subscriber, high=before or _HIGHEST, limit=min(limit, MAX_PAGE)
        )
        groups = await self._with_parts(subscriber, [Row.of(row) for row in rows])
        return tuple(
            Conversation(group.leader.peer, row["total"], row["unread"], self._show(group))
            for row, group in zip(rows, groups, strict=True)
        )

    async def peek(self, subscriber: int, id: int, *, operator: bool = False, whole: bool = False) -> Item:
        """One item as a list shows it. `whole` is for operators who may read content: it retrieves nothing."""
        await self.check_open(subscriber, operator)
        return self._show(await self._one(subscriber, id), whole=whole and operator)

    async def check_open(self, subscriber: int, operator: bool = False) -> None:
        """Raise BoxClosed unless the subscriber may read, or an operator looks."""
        if operator:
            return
        found = await self._subscribers.get(subscriber)
        if found is None or not found.active:
            raise BoxClosed(f"sub_{subscriber}")

    async def groups(self, subscriber: int, ids: Sequence[int]) -> dict[int, Group]:
        """Whole messages by the ids that were asked for; the id of a part finds its message. At most sql.CHUNK."""
        rows = await self._rows(subscriber, ids)
        away = [row.leader for row in rows.values() if row.leader not in rows]
        if away:
            rows |= await self._rows(subscriber, away[: sql.CHUNK])
        leaders = [row for row in rows.values() if row.leader == row.id]
        whole = {group.leader.id: group for group in await self._with_parts(subscriber, leaders)}
        return {id: whole[rows[id].leader] for id in ids if id in rows and rows[id].leader in whole}

    async def _rows(self, subscriber: int, ids: Sequence[int]) -> dict[int, Row]:
        if not ids:
            return {}
        found = await self._store.fetch(sql.ITEMS, subscriber=subscriber, **sql.in_chunk(ids))
        return {row["id"]: Row.of(row) for row in found}

    async def _one(self, subscriber: int, id: int) -> Group:
        found = (await self.groups(subscriber, [id])).get(id)
        if found is None:
            raise ItemNotFound(str(id))
        return found

    async def _with_parts(self, subscriber: int, leaders: Sequence[Row]) -> list[Group]:
        return group_rows(leaders, await read_parts(self._store, subscriber, leaders))

    async def _leaders(
        self, subscriber: int, wanted: Wanted, before: int, limit: int
    ) -> tuple[list[Sequence[Any]], int]:
        """The leaders that fit, each by its values of `LISTED`, and the box's state when they were read."""
        high = before or _HIGHEST
        if wanted.until:
            high = min(high, id_at(wanted.until))
        query = sql.listing(
            folder=wanted.folder is not None,
            unread=wanted.unread,
            starred=wanted.starred,
            kind=bool(wanted.kind),
            sender=bool(wanted.sender),
            peer=bool(wanted.peer),
        )
        asked: dict[str, object] = {"high": high, "low": id_at(wanted.since), "limit": limit}
        if wanted.folder is not None:
            asked["folder"] = int(wanted.folder)
        for name in ("kind", "sender", "peer"):
            if value := getattr(wanted, name):
                asked[name] = value
        rows = await self._store.fetch_plain(query, subscriber=subscriber, **asked)
        state = rows[0][-1] if rows else await self._state(subscriber)
        return [row[:-1] for row in rows], state

    async def _items(self, subscriber: int, leaders: Sequence[Sequence[Any]]) -> tuple[Item, ...]:
        """What a list shows of some leaders. Few came in parts: the others need no more than their row."""
        parted = [Row.listed(row, subscriber) for row in leaders if row[PART_TOTAL]]
        joined = iter(await self._with_parts(subscriber, parted))
        most = self._settings.preview_chars
        return tuple(
            self._show(next(joined)) if row[PART_TOTAL] else Item.alone(row, most) for row in leaders
        )

    async def _search(self, subscriber: int, wanted: Wanted, before: int, limit: int) -> Page:
        """Look through a bounded number of items; joined texts and letters of any script compare alike."""
        needle = wanted.text.casefold()
        found: list[Item] = []
        looked = state = 0
        while looked < self._settings.search_items:
            leaders, newest = await self._leaders(subscriber, wanted, before, MAX_PAGE)
            groups = await self._with_parts(subscriber, [Row.listed(row, subscriber) for row in leaders])
            state = state or newest
            for group in groups:
                looked += 1
                before = group.leader.id
                haystack = f"{group.text()[0]}\n{group.leader.sender}\n{group.leader.recipient}".casefold()
                if needle in haystack:
                    found.append(self._show(group))
                if len(found) == limit or looked == self._settings.search_items:
                    return Page(tuple(found), before, state)
            if len(groups) < MAX_PAGE:
                break
        return Page(tuple(found), 0, state)

    async def _state(self, subscriber: int) -> int:
        rows = await self._store.fetch(sql.BOX, subscriber=subscriber)
        return rows[0]["modseq"] if rows else 0

    def _show(self, group: Group, *, whole: bool = False) -> Item:
        return group.item(self._settings.preview_chars, whole=whole)

    # --------------------------------------------------------------------------------------------------- opening

    async def open(self, subscriber: int, id: int, *, route: str = "rest") -> Item:
        """Read an item in full. The first time this is its retrieval: delivered, if its validity is not over.

        `route` says by which door, for the trace.
        """
        await self.check_open(subscriber)
        choices = await self.choices(subscriber)
        for _ in range(_TRIES):
            group = await self._one(subscriber, id)
            now = self._store.clock.now_ms()
            flags = Flags.of(group)
            new = replace(flags, read=flags.read or choices.auto_read, retrieved_at=flags.retrieved_at or now)
            if new == flags and not group.owed:
                return self._show(group, whole=True)
            conclusion, events = self._retrieval(group, now, route, first=not flags.retrieved_at)
            answer = await self._endings.commit(flagging(subscriber, [(group, new)], now), conclusion, events)
            if answer is Answer.STORED:
                self._tell(subscriber)
                return self._show(await self._one(subscriber, group.leader.id), whole=True)
            _unless_conflict(answer)
        raise BoxUnavailable(Answer.CONFLICT)

    def _retrieval(
        self, group: Group, now: int, route: str, *, first: bool
    ) -> tuple[Conclusion, list[Event]]:
        """The ends that opening brings about, and the RETRIEVED events when it is the first time."""
        in_time = [row for row in group.owed if row.expires_at > now]
        late = [row for row in group.owed if row.expires_at <= now]
        good = self._endings.conclude(in_time, MessageState.DELIVERED, at=now, reason="retrieved")
        bad = self._endings.conclude(late, MessageState.EXPIRED, at=now, reason="expired")
        events = [
            Event(
                row.id,
                now,
                EventKind.RETRIEVED,
                state=row.state,
                account=row.account,
                segments=row.segments,
                route=route,
                node=self._store.node,
            )
            for row in (group.rows if first and not group.outgoing else group.owed)
        ]
        conclusion = Conclusion(
            good.events + bad.events,
            good.receipts + bad.receipts,
            good.first + bad.first,
            good.last + bad.last,
        )
        return conclusion, events

    async def export(self, subscriber: int) -> AsyncIterator[Item]:
        """Everything in the box but the bin, newest first, in full: giving it away is retrieval."""
        before = 0
        while True:
            page = await self.page(subscriber, before=before, limit=MAX_PAGE)
            for item in page.items:
                try:
                    yield item if item.opened else await self.open(subscriber, item.id, route="export")
                except ItemNotFound:
                    continue
            if not page.after:
                return
            before = page.after

    # -------------------------------------------------------------------------------------------------- changing

    async def change(
        self,
        subscriber: int,
        id: int,
        *,
        read: bool | None = None,
        starred: bool | None = None,
        folder: Folder | None = None,
        if_match: int | None = None,
    ) -> Item:
        """Set flags or move. Marking read is not retrieval. Raises ItemNotFound, StaleItem, IllegalMove."""
        await self.check_open(subscriber)

        def edit(group: Group) -> Flags:
            if if_match is not None and group.leader.modseq != if_match:
                raise StaleItem(group.leader.modseq)
            flags = Flags.of(group)
            return Flags(
                flags.read if read is None else read,
                flags.starred if starred is None else starred,
                flags.folder if folder is None else after_move(flags.folder, folder, outgoing=group.outgoing),
                flags.retrieved_at,
            )

        results = await self._edit(subscriber, [id], edit)
        if results[0].problem == "item-not-found":
            raise ItemNotFound(str(id))
        return self._show(await self._one(subscriber, id))

    async def delete(self, subscriber: int, id: int, *, permanent: bool = False) -> None:
        """Into the bin; for good if it is there already, or if `permanent`."""
        await self.check_open(subscriber)
        group = await self._one(subscriber, id)
        if permanent or group.leader.folder == Folder.TRASH:
            await self._remove(subscriber, [group.leader.id])
        else:
            await self.change(subscriber, id, folder=Folder.TRASH)

    async def batch(
        self, subscriber: int, ids: Sequence[int], action: BatchAction, *, folder: Folder | None = None
    ) -> list[BatchResult]:
        """The same with up to MAX_BATCH items; one that cannot be leaves the others alone. In the order of `ids`.

        Not for REDELIVER, which is `Redelivery.request`'s.
        """
        await self.check_open(subscriber)
        if len(ids) > MAX_BATCH:
            raise ValueError(f"a batch has at most {MAX_BATCH} ids")
        if action is BatchAction.REDELIVER or (action is BatchAction.MOVE) != (folder is not None):
            raise ValueError("a folder goes with move, and only with it; redelivery is asked of Redelivery")
        results: dict[int, BatchResult] = {}
        unique = list(dict.fromkeys(ids))
        for at in range(0, len(unique), sql.CHUNK):
            chunk = unique[at : at + sql.CHUNK]
            if action is BatchAction.DELETE:
                done = await self._delete_some(subscriber, chunk)
            else:
                done = await self._edit(subscriber, chunk, _editor(action, folder))
            results.update({result.id: result for result in done})
        return [results[id] for id in ids]

    async def _delete_some(self, subscriber: int, ids: Sequence[int]) -> list[BatchResult]:
        groups = await self.groups(subscriber, ids)
        binned = [id for id, group in groups.items() if group.leader.folder == Folder.TRASH]
        others = [id for id in ids if id not in binned]
        done = await self._edit(subscriber, others, _editor(BatchAction.MOVE, Folder.TRASH)) if others else []
        if binned:
            await self._remove(subscriber, [groups[id].leader.id for id in binned])
        return [*done, *(BatchResult(id) for id in binned)]

    async def _edit(
        self, subscriber: int, ids: Sequence[int], edit: Callable[[Group], Flags]
    ) -> list[BatchResult]:
        """Change some items in one transaction; items that cannot be changed are left out of it."""
        for _ in range(_TRIES):
            groups = await self.groups(subscriber, ids)
            problems = {id: "item-not-found" for id in ids if id not in groups}
            edits: dict[int, tuple[Group, Flags]] = {}
            for id, group in groups.items():
                try:
                    flags = edit(group)
                except IllegalMove:
                    if len(ids) == 1:
                        raise
                    problems[id] = "illegal-move"
                    continue
                if flags != Flags.of(group):
                    edits[group.leader.id] = (group, flags)
            answer = Answer.STORED
            if edits:
                now = self._store.clock.now_ms()
                answer = await self._endings.commit(flagging(subscriber, list(edits.values()), now))
            if answer is Answer.STORED:
                if edits:
                    self._tell(subscriber)
                return [BatchResult(id, problems.get(id, "")) for id in ids]
            _unless_conflict(answer)
        raise BoxUnavailable(Answer.CONFLICT)

    async def _remove(self, subscriber: int, ids: Sequence[int], writes: Sequence[Write] = ()) -> int:
        """Remove for good; unread ones end as deleted. How many."""
        for _ in range(_TRIES):
            groups = list({g.leader.id: g for g in (await self.groups(subscriber, ids)).values()}.values())
            if not groups:
                return 0
            now = self._store.clock.now_ms()
            owed = [row for group in groups for row in group.owed]
            conclusion = self._endings.conclude(
                owed, MessageState.DELETED, at=now, reason="deleted-by-recipient", removed=True
            )
            answer = await self._endings.commit([*removal(subscriber, groups, now), *writes], conclusion)
            if answer is Answer.STORED:
                self._tell(subscriber)
                return len(groups)
            _unless_conflict(answer)
        raise BoxUnavailable(Answer.CONFLICT)

    async def purge(self, subscriber: int, *, operator: bool = False, writes: Sequence[Write] = ()) -> int:
        """Remove everything for good, the bin included. `writes` (audit) ride with the first removal. How many."""
        await self.check_open(subscriber, operator)
        removed = 0
        for folder in Folder:
            while True:
                found, _ = await self._leaders(subscriber, Wanted(folder), 0, sql.CHUNK)
                if not found:
                    break
                removed += await self._remove(subscriber, [row[0] for row in found], writes)
                writes = ()
        if writes:
            _unless_conflict(await self._store.apply(writes=tuple(writes)), stored=True)
        return removed

    # --------------------------------------------------------------------------------------------------- choices

    async def choices(self, subscriber: int) -> Choices:
        """What the subscriber set."""
        rows = await self._store.fetch(sql.BOX, subscriber=subscriber)
        if not rows:
            return Choices()
        row = rows[0]
        return Choices(
            row["retention_days"],
            bool(row["notify"]),
            bool(row["auto_read"]),
            row["language"],
            row["settings_version"],
        )

    async def choose(self, subscriber: int, new: Choices, *, if_match: int | None = None) -> Choices:
        """Set all choices. Raises StaleItem, ValueError for what cannot be chosen."""
        await self.check_open(subscriber)
        if not 0 <= new.retention_days <= self._settings.retention_days:
            raise ValueError(f"retention_days is 0 to {self._settings.retention_days}")
        if new.language and new.language not in self._settings.notices:
            raise ValueError(f"language is one of {', '.join(sorted(self._settings.notices))}")
        for _ in range(_TRIES):
            current = await self.choices(subscriber)
            if if_match is not None and current.version != if_match:
                raise StaleItem(current.version)
            params: dict[str, object] = {
                "subscriber": subscriber,
                "seen": current.version or 1,
                "to_retention_days": new.retention_days,
                "to_notify": int(new.notify),
                "to_auto_read": int(new.auto_read),
                "to_language": new.language,
            }
            opened = Write(OPEN_BOX, {"subscriber": subscriber})
            answer = await self._store.apply(writes=(opened, Write(sql.CHOOSE, params, expect=1)))
            if answer is Answer.STORED:
                return await self.choices(subscriber)
            _unless_conflict(answer)
        raise BoxUnavailable(Answer.CONFLICT)

    def _tell(self, subscriber: int) -> None:
        for hook in self._changed:
            hook(subscriber)


_COUNTERS = ("unread", "total", "bytes", "modseq", "oldest", "retention_days")


def _editor(action: BatchAction, folder: Folder | None) -> Callable[[Group], Flags]:
    def edit(group: Group) -> Flags:
        flags = Flags.of(group)
        if action in (BatchAction.READ, BatchAction.UNREAD):
            return replace(flags, read=action is BatchAction.READ)
        if action in (BatchAction.STAR, BatchAction.UNSTAR):
            return replace(flags, starred=action is BatchAction.STAR)
        assert folder is not None
        return replace(flags, folder=after_move(flags.folder, folder, outgoing=group.outgoing))

    return edit


def _unless_conflict(answer: Answer, *, stored: bool = False) -> None:
    """A conflict is tried again; any other refusal is the caller's problem."""
    if answer is Answer.CONFLICT and not stored:
        return
    if answer is not Answer.STORED:
        raise BoxUnavailable(answer)
