"""Subscribers: who has a number, and with it a box.

In charge of: a subscriber's life and its numbers, and finding the subscriber of a number. Not in charge of: what is in
its box (`mailbox/`), its sessions (`api/`), which numbers are ours (`ranges.py`).

Source: behaviour.md 9; E.164 §6 (numbers), E.212 (IMSI: at most 15 digits).

Theory. Everything kept for a subscriber hangs on its id, never on a number. So whoever must not see what was there
before gets another id:

    provision ──> active <──> suspended
                    │             │
                    └──> closed <─┘        nothing follows; the box is sealed, sessions end

Closing, port-out, reassignment of a number and a changed card all close the subscriber; numbers that stay in use go to
a *successor*, a new subscriber that starts empty, in the same change. A closed subscriber keeps the numbers that nobody
took over, so that messages to them fail as undeliverable instead of making a new subscriber on first use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..outlet import Write
from ..store.store import Answer, Store
from . import subscriber_tables as sql
from .ranges import NumberRanges
from .subscriber import (
    TRANSITIONS,
    ImsiTaken,
    InvalidSubscriber,
    NotStored,
    NumberTaken,
    RowResult,
    StaleSubscriber,
    Subscriber,
    SubscriberClosed,
    SubscriberError,
    SubscriberNotFound,
    SubscriberSettings,
    SubscriberState,
    check_numbers,
)

__all__ = ["Subscribers"]

_ATTEMPTS = 8  #: at an edit that meets another one; each sees the other's result
_BULK_ROWS = 100  #: rows put at once; they share commits


class _Cache:
    """What was read lately, by any key. An entry read while an edit was under way is not kept."""

    def __init__(self, settings: SubscriberSettings, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._entries: dict[str | int, tuple[int, Subscriber | None]] = {}
        self.edits = 0

    def get(self, key: str | int) -> tuple[Subscriber | None] | None:
        """The look-up's result in a tuple, or None if it must be made."""
        entry = self._entries.get(key)
        if entry is None or not 0 <= self._now_ms() - entry[0] < self._settings.cache_ms:
            return None
        return (entry[1],)

    def keep(self, key: str | int, found: Subscriber | None, edits: int) -> None:
        """Remember a result that was asked for when `edits` was the count of edits."""
        if edits != self.edits:
            return
        self._entries.pop(key, None)
        while len(self._entries) >= self._settings.cache_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._now_ms(), found)

    def clear(self) -> None:
        """Forget everything: an edit may concern any number."""
        self.edits += 1
        self._entries.clear()


@dataclass(frozen=True, slots=True)
class _Heir:
    """A new subscriber to be made from numbers of one that is being closed."""

    numbers: tuple[str, ...]
    imsi: str
    state: SubscriberState


class Subscribers:
    """Finds and edits subscribers. Every edit takes `writes` of the caller (audit rows) into its transaction."""

    def __init__(
        self, store: Store, ranges: NumberRanges, settings: SubscriberSettings | None = None
    ) -> None:
        self._store = store
        self._ranges = ranges
        self._settings = settings or SubscriberSettings()
        self._cache = _Cache(self._settings, lambda: store.clock.now_ms())
        self._making = asyncio.Lock()  # ids are counted up; within one process nobody need collide
        self._barred: list[Callable[[Subscriber], None]] = []

    def on_barred(self, hook: Callable[[Subscriber], None]) -> None:
        """Call `hook` when a subscriber may no longer read: its sessions end; if `closed`, its box is sealed."""
        self._barred.append(hook)

    # -------------------------------------------------------------------------------------------------- reading

    async def find(self, msisdn: str) -> Subscriber | None:
        """Who has a number in normal form, or had it last; may be closed."""
        return await self._cached(msisdn, sql.BY_MSISDN, msisdn=msisdn)

    async def get(self, number: int) -> Subscriber | None:
        """The subscriber with an id."""
        return await self._cached(number, sql.BY_NUMBER, number=number)

    async def by_imsi(self, imsi: str) -> Subscriber | None:
        """The open subscriber with a card; never remembered."""
        found = await self._with_numbers(await self._store.fetch(sql.BY_IMSI, imsi=imsi))
        return found[0] if found else None

    async def imsi_of(self, msisdn: str) -> str:
        """The card behind a number; empty if it is not known or the number is nobody's."""
        found = await self.find(msisdn)
        return found.imsi if found is not None and not found.closed else ""

    async def resolve(self, msisdn: str) -> Subscriber | None:
        """`find`, but a number inside own ranges that nobody has yet becomes a subscriber, if the settings say so."""
        found = await self.find(msisdn)
        if found is not None or not self.on_first_use(msisdn):
            return found
        try:
            return await self.provision([msisdn], origin="first-use")
        except NumberTaken:
            return await self.find(msisdn)

    def on_first_use(self, msisdn: str) -> bool:
        """Would this number become a subscriber with its first message?"""
        inside = self._ranges.find(msisdn)
        if inside is None or not inside.model.own:
            return False
        wanted = inside.model.first_use
        return self._settings.first_use if wanted is None else wanted

    async def page(
        self, *, after: int = 0, limit: int = 50, state: SubscriberState | None = None, prefix: str = ""
    ) -> list[Subscriber]:
        """Subscribers with ids above `after`, in one state or with a number that starts with `prefix` (not both)."""
        if prefix:
            if not set(prefix) <= set("+0123456789"):
                return []
            rows = await self._store.fetch(sql.PAGE_BY_MSISDN, after=after, limit=limit, pattern=prefix + "%")
        elif state is not None:
            rows = await self._store.fetch(sql.PAGE_IN_STATE, after=after, limit=limit, state=state.value)
        else:
            rows = await self._store.fetch(sql.PAGE, after=after, limit=limit)
        return await self._with_numbers(rows)

    async def closed_since(self, at: int) -> list[int]:
        """Ids of subscribers who were closed at or after a time (UTC epoch milliseconds)."""
        return [row["number"] for row in await self._store.fetch(sql.CLOSED_SINCE, since=at)]

    async def _cached(self, key: str | int, query: sql.Query, **params: object) -> Subscriber | None:
        known = self._cache.get(key)
        if known is not None:
            return known[0]
        edits = self._cache.edits
        found = await self._with_numbers(await self._store.fetch(query, **params))
        answer = found[0] if found else None
        self._cache.keep(key, answer, edits)
        return answer

    async def _fresh(self, number: int, if_match: int | None = None) -> Subscriber:
        """Read past the cache; SubscriberNotFound, SubscriberClosed or StaleSubscriber if it cannot be edited."""
        found = await self._with_numbers(await self._store.fetch(sql.BY_NUMBER, number=number))
        if not found:
            raise SubscriberNotFound(f"sub_{number}")
        if if_match is not None and found[0].version != if_match:
            raise StaleSubscriber(found[0].version)
        if found[0].closed:
            raise SubscriberClosed(found[0].id)
        return found[0]

    async def _with_numbers(self, rows: Sequence[Mapping[str, Any]]) -> list[Subscriber]:
        numbers: dict[int, list[str]] = {row["number"]: [] for row in rows}
        ids = list(numbers)
        for at in range(0, len(ids), sql.CHUNK):
            for row in await self._store.fetch(sql.NUMBERS_OF, **sql.in_chunk(ids[at : at + sql.CHUNK])):
                numbers[row["subscriber"]].append(row["msisdn"])
        return [Subscriber.of(row, numbers[row["number"]]) for row in rows]

    # -------------------------------------------------------------------------------------------- coming to be

    async def provision(
        self,
        msisdns: Sequence[str],
        *,
        imsi: str = "",
        origin: str = "api",
        writes: Callable[[Subscriber], Sequence[Write]] | None = None,
    ) -> Subscriber:
        """Make a subscriber of numbers that nobody has. `writes` is given the new subscriber.

        Raises InvalidSubscriber, NumberTaken, ImsiTaken, NotStored.
        """
        numbers = tuple(dict.fromkeys(msisdns))
        check_numbers(numbers, imsi)
        async with self._making:
            for _ in range(_ATTEMPTS):
                for msisdn in numbers:
                    await self._check_free(msisdn)
                await self._check_card_free(imsi)
                made = self._new(await self._next_number(), numbers, imsi, origin, SubscriberState.ACTIVE)
                changes = [Write(sql.NEW, made.row(), expect=1)]
                changes += [
                    Write(
                        sql.CLAIM,
                        {"msisdn": n, "subscriber": made.number, "since": made.created_at},
                        expect=1,
                    )
                    for n in numbers
                ]
                answer = await self._apply(changes + list(writes(made) if writes else ()))
                if answer is Answer.STORED:
                    return made
        raise NotStored(Answer.CONFLICT)

    async def provision_rows(
        self, rows: Iterable[tuple[str, str]], *, origin: str = "csv"
    ) -> list[RowResult]:
        """Make a subscriber of each (number, IMSI or ""); a bad row leaves the others alone."""
        results: list[RowResult] = []
        batch: list[tuple[int, str, str]] = []
        for line, (msisdn, imsi) in enumerate(rows, 1):
            batch.append((line, msisdn, imsi))
            if len(batch) == _BULK_ROWS:
                results += await self._provision_batch(batch, origin)
                batch = []
        return results + await self._provision_batch(batch, origin)

    async def _provision_batch(self, batch: Sequence[tuple[int, str, str]], origin: str) -> list[RowResult]:
        """All rows at once with ids in a row, so that they share a commit; those that fail are told why one by one."""
        ready: list[tuple[int, Subscriber]] = []
        failed: dict[int, RowResult] = {}
        async with self._making:
            first = await self._next_number()
            for line, msisdn, imsi in batch:
                try:
                    check_numbers((msisdn,), imsi)
                except InvalidSubscriber as error:
                    failed[line] = RowResult(line, msisdn, None, error.reason, str(error))
                    continue
                made = self._new(first + len(ready), (msisdn,), imsi, origin, SubscriberState.ACTIVE)
                ready.append((line, made))
            answers = await asyncio.gather(*(self._apply(_birth(made)) for _, made in ready))
        done: dict[int, RowResult] = dict(failed)
        for (line, made), answer in zip(ready, answers, strict=True):
            if answer is Answer.STORED:
                done[line] = RowResult(line, made.numbers[0], made)
                continue
            try:
                again = await self.provision(made.numbers, imsi=made.imsi, origin=origin)
                done[line] = RowResult(line, made.numbers[0], again)
            except SubscriberError as error:
                done[line] = RowResult(line, made.numbers[0], None, error.reason, str(error))
        return [done[line] for line, _, _ in batch]

    async def add_number(
        self, number: int, msisdn: str, *, if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> Subscriber:
        """Give an open subscriber one more number that nobody has."""
        check_numbers((msisdn,), "")
        for _ in range(_ATTEMPTS):
            found = await self._fresh(number, if_match)
            await self._check_free(msisdn)
            at = self._now()
            claim = Write(sql.CLAIM, {"msisdn": msisdn, "subscriber": number, "since": at}, expect=1)
            touch = Write(sql.TOUCH, {"id": number, "seen": found.version, "at": at}, expect=1)
            if await self._apply([touch, claim, *writes]) is Answer.STORED:
                return await self._fresh(number)
        raise NotStored(Answer.CONFLICT)

    # ------------------------------------------------------------------------------------------------- changing

    async def suspend(
        self, number: int, *, reason: str = "", if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> Subscriber:
        """Bar it from reading until `resume`; what comes is still kept."""
        return await self._move(number, SubscriberState.SUSPENDED, reason or "suspended", if_match, writes)

    async def resume(
        self, number: int, *, if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> Subscriber:
        """Let a suspended subscriber read again."""
        return await self._move(number, SubscriberState.ACTIVE, "", if_match, writes)

    async def close(
        self,
        number: int,
        *,
        reason: str = "closed",
        if_match: int | None = None,
        writes: Sequence[Write] = (),
    ) -> Subscriber:
        """End its life: the box is sealed, its numbers fail until somebody else gets them."""
        return (await self._end(number, reason, lambda _: [], if_match, writes))[0]

    async def port_out(
        self, msisdn: str, *, if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> tuple[Subscriber, ...]:
        """The number went to another network. Returns the closed subscriber, and its successor if it had more."""
        owner = await self._owner(msisdn)

        def heirs(found: Subscriber) -> list[_Heir]:
            rest = tuple(n for n in found.numbers if n != msisdn)
            return [_Heir(rest, found.imsi, found.state)] if rest else []

        return await self._end(owner.number, "ported-out", heirs, if_match, writes)

    async def reassign(
        self, msisdn: str, *, imsi: str = "", if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> tuple[Subscriber, ...]:
        """The number goes to somebody else. Returns the closed subscriber, the new one, and who has the rest."""
        check_numbers((msisdn,), imsi)
        owner = await self._owner(msisdn)

        def heirs(found: Subscriber) -> list[_Heir]:
            rest = tuple(n for n in found.numbers if n != msisdn)
            kept = "" if imsi == found.imsi else found.imsi  # the card stays with the numbers that stay
            others = [_Heir(rest, kept, found.state)] if rest else []
            return [_Heir((msisdn,), imsi, SubscriberState.ACTIVE), *others]

        return await self._end(owner.number, "reassigned", heirs, if_match, writes)

    async def change_imsi(
        self, number: int, imsi: str, *, if_match: int | None = None, writes: Sequence[Write] = ()
    ) -> tuple[Subscriber, ...]:
        """Another card. A card that was not known is only learned; a changed one closes the subscriber.

        Returns the subscriber, or the closed one and its successor.
        """
        check_numbers((), imsi)
        found = await self._fresh(number, if_match)
        if found.imsi == imsi:
            return (found,)
        await self._check_card_free(imsi)
        if found.imsi:
            return await self._end(
                number, "imsi-changed", lambda now: [_Heir(now.numbers, imsi, now.state)], if_match, writes
            )
        params = {"id": number, "seen": found.version, "card": imsi, "at": self._now()}
        answer = await self._apply([Write(sql.SET_IMSI, params, expect=1), *writes])
        if answer is Answer.CONFLICT:
            raise StaleSubscriber((await self._fresh(number)).version)
        return (await self._fresh(number),)

    async def _owner(self, msisdn: str) -> Subscriber:
        found = await self._with_numbers(await self._store.fetch(sql.BY_MSISDN, msisdn=msisdn))
        if not found:
            raise SubscriberNotFound(msisdn)
        return found[0]

    async def _move(
        self, number: int, to: SubscriberState, reason: str, if_match: int | None, writes: Sequence[Write]
    ) -> Subscriber:
        """Go along an arrow that is not an ending."""
        for _ in range(_ATTEMPTS):
            found = await self._fresh(number, if_match)
            if found.state is to:
                return found
            if to not in TRANSITIONS[found.state]:
                raise InvalidSubscriber(f"a subscriber that is {found.state} cannot become {to}")
            if await self._apply([self._state(found, to, reason, 0), *writes]) is Answer.STORED:
                now = await self._fresh(number)
                if not now.active:
                    self._tell(now)
                return now
        raise NotStored(Answer.CONFLICT)

    async def _end(
        self,
        number: int,
        reason: str,
        heirs: Callable[[Subscriber], list[_Heir]],
        if_match: int | None,
        writes: Sequence[Write],
    ) -> tuple[Subscriber, ...]:
        """Close a subscriber and hand numbers on, in one change; returns it and its successors."""
        async with self._making:
            for _ in range(_ATTEMPTS):
                found = await self._fresh(number, if_match)
                first = await self._next_number()
                made = [
                    self._new(first + at, heir.numbers, heir.imsi, "successor", heir.state)
                    for at, heir in enumerate(heirs(found))
                ]
                closing = self._state(found, SubscriberState.CLOSED, reason, made[0].number if made else 0)
                changes = [closing, *(Write(sql.NEW, heir.row(), expect=1) for heir in made)]
                for heir in made:
                    changes += [
                        Write(
                            sql.PASS_ON,
                            {"msisdn": n, "giver": number, "taker": heir.number, "at": heir.created_at},
                            expect=1,
                        )
                        for n in heir.numbers
                    ]
                if await self._apply([*changes, *writes]) is Answer.STORED:
                    closed = (
                        await self._with_numbers(await self._store.fetch(sql.BY_NUMBER, number=number))
                    )[0]
                    self._tell(closed)
                    return (closed, *made)
                for heir in made:
                    if heir.imsi != found.imsi:
                        await self._check_card_free(heir.imsi)
        raise NotStored(Answer.CONFLICT)

    # --------------------------------------------------------------------------------------------------- pieces

    def _tell(self, barred: Subscriber) -> None:
        for hook in self._barred:
            hook(barred)

    def _now(self) -> int:
        return self._store.clock.now_ms()

    def _state(self, found: Subscriber, to: SubscriberState, reason: str, heir: int) -> Write:
        at = self._now()
        params: dict[str, object] = {
            "id": found.number,
            "seen": found.version,
            "to_state": to.value,
            "why": reason,
            "at": at,
            "closing": at if to is SubscriberState.CLOSED else 0,
            "heir": heir,
        }
        return Write(sql.SET_STATE, params, expect=1)

    def _new(
        self, number: int, numbers: tuple[str, ...], imsi: str, origin: str, state: SubscriberState
    ) -> Subscriber:
        at = self._now()
        reason = "" if state is SubscriberState.ACTIVE else state.value
        return Subscriber(number, state, reason, imsi, numbers, origin, 0, at, at, 0, 1)

    async def _next_number(self) -> int:
        return (await self._store.fetch(sql.HIGHEST))[0]["highest"] + 1

    async def _check_free(self, msisdn: str) -> None:
        rows = await self._store.fetch(sql.BY_MSISDN, msisdn=msisdn)
        if rows and rows[0]["state"] != SubscriberState.CLOSED.value:
            raise NumberTaken(msisdn)

    async def _check_card_free(self, imsi: str) -> None:
        if imsi and await self._store.fetch(sql.BY_IMSI, imsi=imsi):
            raise ImsiTaken(imsi)

    async def _apply(self, writes: Sequence[Write]) -> Answer:
        """STORED or CONFLICT; NotStored for anything else. Look-ups made meanwhile are not believed afterwards."""
        self._cache.clear()
        answer = await self._store.apply(writes=tuple(writes))
        self._cache.clear()
        if answer not in (Answer.STORED, Answer.CONFLICT):
            raise NotStored(answer)
        return answer


def _birth(made: Subscriber) -> list[Write]:
    claims = [
        Write(sql.CLAIM, {"msisdn": n, "subscriber": made.number, "since": made.created_at}, expect=1)
        for n in made.numbers
    ]
    return [Write(sql.NEW, made.row(), expect=1), *claims]
