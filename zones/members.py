"""Which single numbers belong to which zones, and who is in which group.

In charge of: the tables of memberships, their copy in memory, and telling every node of changes within a second. Not
in charge of: memberships of prefixes and groups (`membership.py`), what a membership means for a message
(`rules.py`).

A membership names a zone, or holds a circle of its own: a home circle per subscriber costs about 60 octets of memory
and no object of the registry, so that millions are possible. A number's memberships are always replaced together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from ..message import id_at
from ..outlet import Write
from ..store.statement import Query
from ..store.store import Answer, Store, StoreClosed
from . import tables
from .packed import Packed

__all__ = ["Member", "Members", "MembersNotStored", "digits_of"]

PAGE = 5_000  #: rows read at a time
#: Changed numbers kept beside the packed arrays before they are merged.
MERGE_FROM = 10_000
#: Revisions are ids and ids are times: commits of other nodes may become visible so much later than their ids say.
OVERLAP_MS = 5_000
POLL_S = 0.5
#: Ended rows are kept so long, for nodes that were away.
KEEP_ENDED_MS = 86_400_000
E7 = 1e-7

log = structlog.get_logger(__name__)


class MembersNotStored(Exception):
    """The store did not take a change; its answer."""

    def __init__(self, answer: Answer) -> None:
        """`answer`: of the store."""
        super().__init__(f"the store answered {answer.value}")
        self.answer = answer


class Member(NamedTuple):
    """One membership of one number."""

    zone: int  #: object number; 0: the circle in here
    policy: int  #: object number
    priority: int = 100  #: lower decides
    latitude: float = 0.0  #: degrees; of the own circle
    longitude: float = 0.0
    radius_m: int = 0
    valid_from: int = 0  #: UTC epoch milliseconds; 0: no bound
    valid_to: int = 0


_LAYOUT = "<IIHiiIqq"  # as Member, degrees in ten-millionths


def digits_of(number: str) -> int:
    """The key of a number in normal form; 0 for one that is not E.164 and so is nowhere."""
    digits = number[1:]
    return (
        int(digits)
        if number[:1] == "+" and digits.isascii() and digits.isdecimal() and len(digits) <= 18
        else 0
    )


def _packed(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        row["zone"], row["policy"], row["priority"], row["latitude_e7"], row["longitude_e7"], row["radius_m"],
        row["valid_from"], row["valid_to"],
    )  # fmt: skip


def _member(record: tuple[Any, ...]) -> Member:
    zone, policy, priority, lat, lon, radius, starts, ends = record
    return Member(zone, policy, priority, lat * E7, lon * E7, radius, starts, ends)


class Members:
    """The memberships of single numbers, on one node. Lives on the event loop."""

    def __init__(self, store: Store) -> None:
        """`store` must be open before `open` is called."""
        self._store = store
        self._members = Packed(_LAYOUT)
        self._groups = Packed("<I")
        self._group_names: list[str] = []
        self._group_numbers: dict[str, int] = {}
        self._seen: dict[tuple[str, int], int] = {}  # (table, number) -> newest revision taken over
        self._after = 0
        self._refreshing = asyncio.Lock()

    # ------------------------------------------------------------------------------------------------ asking

    def of(self, number: str) -> list[Member]:
        """Memberships of a number in normal form."""
        found = self._members.get(digits_of(number))
        return [_member(record) for record in found] if found else []

    def groups_of(self, number: str) -> list[str]:
        """Groups that a number is in."""
        found = self._groups.get(digits_of(number))
        return [self._group_names[record[0]] for record in found] if found else []

    def __len__(self) -> int:
        """How many memberships there are, about."""
        return len(self._members)

    # ------------------------------------------------------------------------------------------------ changing

    async def replace(
        self, number: str, members: Sequence[Member], *, actor: str, writes: Sequence[Write] = ()
    ) -> None:
        """Give a number these memberships and no others; `writes` (audit) ride. Raises MembersNotStored, ValueError."""
        await self.replace_many([(number, members)], actor=actor, writes=writes)

    async def replace_many(
        self,
        changes: Sequence[tuple[str, Sequence[Member]]],
        *,
        actor: str,
        writes: Sequence[Write] = (),
    ) -> None:
        """The same for several numbers in one transaction; keep it to some hundreds."""
        all_writes: list[Write] = []
        revision = self._store.next_id()
        for number, members in changes:
            key = digits_of(number)
            if not key:
                raise ValueError(f"{number} is not an E.164 number")
            all_writes.append(
                Write(tables.END_MEMBERS, {"of_number": key, "revision": revision, "updated_by": actor})
            )
            all_writes += [
                Write(tables.INSERT_MEMBER, self._row(key, member, revision, actor), expect=1)
                for member in members
            ]
        await self._apply([*all_writes, *writes])
        await self._take_over("member", {digits_of(number): revision for number, _ in changes})

    def _row(self, key: int, member: Member, revision: int, actor: str) -> dict[str, object]:
        return {
            "id": self._store.next_id(),
            "number": key,
            "zone": member.zone,
            "policy": member.policy,
            "priority": member.priority,
            "latitude_e7": round(member.latitude / E7),
            "longitude_e7": round(member.longitude / E7),
            "radius_m": member.radius_m,
            "valid_from": member.valid_from,
            "valid_to": member.valid_to,
            "revision": revision,
            "deleted": 0,
            "updated_by": actor,
        }

    async def change_group(
        self, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = (), writes: Sequence[Write] = ()
    ) -> None:
        """Put numbers into a group and take others out. Raises MembersNotStored, ValueError."""
        revision = self._store.next_id()
        keys: dict[int, int] = {}
        all_writes: list[Write] = []
        for numbers, deleted in ((add, 0), (remove, 1)):
            for number in numbers:
                key = keys[digits_of(number)] = digits_of(number)
                if not key:
                    raise ValueError(f"{number} is not an E.164 number")
                row: dict[str, object] = {
                    "number": key,
                    "name": name,
                    "revision": revision,
                    "deleted": deleted,
                }
                all_writes.append(Write(tables.PUT_GROUP_MEMBER, row))
        await self._apply([*all_writes, *writes])
        await self._take_over("group", dict.fromkeys(keys, revision))

    async def _apply(self, writes: Sequence[Write]) -> None:
        answer = await self._store.apply(writes=writes)
        if answer is not Answer.STORED:
            raise MembersNotStored(answer)

    # ------------------------------------------------------------------------------------------------ keeping up

    async def open(self) -> None:
        """Read everything."""
        since = self._store.clock.now_ms() - OVERLAP_MS
        entries: list[tuple[int, tuple[Any, ...]]] = []
        after = 0
        while rows := await self._store.fetch(tables.MEMBERS_PAGE, after=after, limit=PAGE):
            after = rows[-1]["id"]
            entries += [(row["number"], _packed(row)) for row in rows]
        entries.sort(key=lambda entry: entry[0])
        self._members.load(entries)
        after = 0
        listed: dict[int, list[str]] = {}
        while rows := await self._store.fetch(tables.GROUPS_PAGE, after=after, limit=PAGE):
            if len(rows) == PAGE and rows[0]["number"] != rows[-1]["number"]:
                last = rows[-1]["number"]  # the rest of its groups may be on the next page
                rows = [row for row in rows if row["number"] != last]
            for row in rows:
                listed.setdefault(row["number"], []).append(row["name"])
            after = rows[-1]["number"]
        self._groups.load(
            (key, (self._group_number(name),)) for key in sorted(listed) for name in listed[key]
        )
        self._after = id_at(since)

    async def refresh(self) -> bool:
        """Take over what was changed here or elsewhere. True if there was anything."""
        async with self._refreshing:
            now = self._store.clock.now_ms()
            found = False
            for table, query in (("member", tables.MEMBERS_CHANGED), ("group", tables.GROUPS_CHANGED)):
                found = await self._refresh_table(table, query) or found
            self._after = max(self._after, id_at(now - OVERLAP_MS))
            self._seen = {key: rev for key, rev in self._seen.items() if rev > self._after}
        for packed in (self._members, self._groups):
            if packed.changed > MERGE_FROM:
                keys, records = await asyncio.to_thread(packed.merged, *packed.begin_merge())
                packed.end_merge(keys, records)
        return found

    async def _refresh_table(self, table: str, query: Query) -> bool:
        after, found = self._after, False
        while True:
            rows = await self._store.fetch(query, after=after, limit=PAGE)
            new = {
                row["number"]: row["revision"]
                for row in rows
                if self._seen.get((table, row["number"]), 0) < row["revision"]
            }
            if new:
                found = True
                await self._take_over(table, new)
            if len(rows) < PAGE:
                return found
            after = rows[-1]["revision"] - 1  # a revision may cover many rows
            if rows[0]["revision"] == rows[-1]["revision"]:
                after = rows[-1]["revision"]

    async def _take_over(self, table: str, revisions: Mapping[int, int]) -> None:
        """Read the present rows of some numbers."""
        numbers = list(revisions)
        for start in range(0, len(numbers), 500):
            chunk = numbers[start : start + 500]
            if table == "member":
                rows = await self._store.fetch(tables.MEMBERS_OF, numbers=chunk)
                records = _grouped(chunk, ((row["number"], _packed(row)) for row in rows))
                for key, found in records.items():
                    self._members.put(key, found)
            else:
                rows = await self._store.fetch(tables.GROUPS_OF, numbers=chunk)
                named = ((row["number"], (self._group_number(row["name"]),)) for row in rows)
                for key, found in _grouped(chunk, named).items():
                    self._groups.put(key, found)
        for number, revision in revisions.items():
            self._seen[table, number] = max(revision, self._seen.get((table, number), 0))

    def _group_number(self, name: str) -> int:
        number = self._group_numbers.get(name)
        if number is None:
            number = self._group_numbers[name] = len(self._group_names)
            self._group_names.append(name)
        return number

    async def watch(self, every_s: float = POLL_S) -> None:
        """Refresh for ever; run it as a task. Ends when the store is closed."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.refresh()
            except StoreClosed:
                return
            except Exception as error:  # the database may come back; until then the last state goes on
                log.warning("zones.members-refresh-failed", error=type(error).__name__)

    async def sweep(self) -> None:
        """Remove rows that ended long ago."""
        before = id_at(self._store.clock.now_ms() - KEEP_ENDED_MS)
        await self._store.bulk([Write(tables.SWEEP_MEMBERS, {"before": before})])

    # ------------------------------------------------------------------------------------------------ lists

    async def in_zone(self, zone: int, *, after: str = "", limit: int = 100) -> list[str]:
        """Numbers with a membership in a zone, in order."""
        key = digits_of(after)
        rows = await self._store.fetch(tables.MEMBERS_PER, zone=zone, after=key, limit=limit)
        return [f"+{row['number']}" for row in rows]

    async def in_group(self, name: str, *, after: str = "", limit: int = 100) -> list[str]:
        """Numbers in a group, in order."""
        key = digits_of(after)
        rows = await self._store.fetch(tables.GROUP_MEMBERS, name=name, after=key, limit=limit)
        return [f"+{row['number']}" for row in rows]


def _grouped(
    keys: Sequence[int], rows: Iterable[tuple[int, tuple[Any, ...]]]
) -> dict[int, list[tuple[Any, ...]]]:
    """Records by key; an empty list for a key that has none left."""
    found: dict[int, list[tuple[Any, ...]]] = {key: [] for key in keys}
    for key, record in rows:
        found[key].append(record)
    return found
