"""People who are signed in: subscribers and operators.

In charge of: making sessions, the tokens that name them, renewing and revoking, and telling open streams that their
session has ended. Not in charge of: proving who somebody is (`one_time_codes.py`, `credentials.py`), cookies and
headers (`api/entrance.py`), or what the person may do.

Tokens. A token is `KIND_SESSION_GENERATION_END_MAC`; the MAC's key is not in the database, so that a copy of the
database opens no session. Kinds are apart: what stands in a cookie is no good in an Authorization header and the
other way round.
    web client   `rsw_…` in a cookie, good until the session ends
    API client   `rsa_…` access token, ten minutes; `rsr_…` refresh token, good once
A refresh token names the generation it belongs to. Renewing raises the generation; a token of an earlier one was
copied by somebody, so the whole session ends (RFC 9700 §4.14.2). An access token lives out its ten minutes unless the
session is revoked: every use looks the session up, at most `FRESH_S` late.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import bindparam, delete, insert, select, update

from ..outlet import Write
from ..store.statement import Query, Sql
from ..store.store import Answer, Store, StoreClosed, StoreUnavailable
from .door_tables import session
from .key_ring import KeyRing

__all__ = ["Client", "Session", "SessionRefused", "SessionSettings", "Sessions", "Tokens", "random_name"]

FRESH_S = 2.0  #: how long a session that was looked up is believed
POLL_S = 1.0  #: how often revocations by other processes are looked for; streams close within 5 s
CACHED = 20_000  #: sessions kept in memory
TOUCH_MS = 60_000  #: `used_at` is written at most this often
AGENT_LENGTH = 200


class SessionSettings(BaseModel):
    """How long people stay signed in."""

    model_config = ConfigDict(extra="forbid")

    access_s: int = Field(
        default=600, ge=60, le=3600, description="Life of an API client's access token, seconds."
    )
    subscriber_s: int = Field(
        default=30 * 86400, ge=600, description="A subscriber signs in again after this, seconds."
    )
    operator_s: int = Field(
        default=12 * 3600, ge=600, description="An operator signs in again after this, seconds."
    )
    operator_idle_s: int = Field(
        default=3600, ge=60, description="An operator who does nothing is signed out, seconds."
    )


class Client(StrEnum):
    """How the session's token travels."""

    WEB = "web"  #: cookie
    API = "api"  #: Authorization header


class _TokenKind(StrEnum):
    WEB = "rsw"
    ACCESS = "rsa"
    REFRESH = "rsr"


@dataclass(frozen=True, slots=True)
class Session:
    """One device of one person. Times are UTC epoch milliseconds."""

    id: str
    owner: str  #: "sub_7", "op_2"
    client: Client
    authenticated: str  #: "one-time-code", "password"
    generation: int
    created_at: int
    used_at: int
    ends_at: int
    revoked_at: int
    peer: str
    agent: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client is handed, once."""

    session: Session
    token: str  #: for the cookie or the header
    expires_in: int  #: seconds
    refresh_token: str = ""  #: API clients only


def _param(column: str) -> Any:
    return bindparam(column, type_=session.c[column].type)


_INSERT = Sql("access: open a session", insert(session))
_BY_ID = Query("access: a session", select(session).where(session.c.id == _param("id")))
_OF_OWNER = Query(
    "access: live sessions of somebody",
    select(session)
    .where(
        session.c.owner == _param("owner"),
        session.c.revoked_at == 0,
        session.c.ends_at > bindparam("now", type_=session.c.ends_at.type),
    )
    .order_by(session.c.used_at.desc(), session.c.id)
    .limit(500),
)
_LIVE = Query(
    "access: live sessions",
    select(session)
    .where(
        session.c.revoked_at == 0,
        session.c.ends_at > bindparam("now", type_=session.c.ends_at.type),
        session.c.id > bindparam("after", type_=session.c.id.type),
    )
    .order_by(session.c.id)
    .limit(bindparam("limit", type_=session.c.generation.type)),
)
_REVOKED_SINCE = Query(
    "access: sessions revoked lately",
    select(session.c.id).where(session.c.revoked_at >= bindparam("since", type_=session.c.revoked_at.type)),
)
_RENEW = Sql(
    "access: raise a session's generation",
    update(session)
    .where(
        session.c.id == bindparam("key", type_=session.c.id.type),
        session.c.generation == bindparam("held", type_=session.c.generation.type),
        session.c.revoked_at == 0,
    )
    .values(generation=bindparam("next", type_=session.c.generation.type), used_at=_param("used_at")),
)
_TOUCH = Sql(
    "access: a session was used",
    update(session)
    .where(session.c.id == bindparam("key", type_=session.c.id.type))
    .values(used_at=_param("used_at")),
)
_REVOKE = Sql(
    "access: end a session",
    update(session)
    .where(
        session.c.id == bindparam("key", type_=session.c.id.type),
        session.c.owner == bindparam("of", type_=session.c.owner.type),
        session.c.revoked_at == 0,
    )
    .values(revoked_at=_param("revoked_at"), revoked_because=_param("revoked_because")),
)
_REVOKE_OWNER = Sql(
    "access: end the sessions of somebody",
    update(session)
    .where(
        session.c.owner == bindparam("of", type_=session.c.owner.type),
        session.c.id != bindparam("but", type_=session.c.id.type),
        session.c.revoked_at == 0,
    )
    .values(revoked_at=_param("revoked_at"), revoked_because=_param("revoked_because")),
)
_PURGE = Sql(
    "access: forget sessions that ended long ago",
    delete(session).where(session.c.ends_at < bindparam("before", type_=session.c.ends_at.type)),
)


def random_name(prefix: str) -> str:
    """A name that cannot be guessed: 130 random bits in lower-case base 32."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(17)).decode()[:26].lower()}"


class Sessions:
    """The sessions of every door. One per process; lives on the event loop."""

    def __init__(
        self,
        store: Store,
        ring: KeyRing,
        settings: SessionSettings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or SessionSettings()
        self._store = store
        self._keys = ring.keys("session")
        self._monotonic = monotonic
        self._cache: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._watched: dict[str, set[asyncio.Event]] = {}

    # ------------------------------------------------------------------------------------------------- opening

    def opening(
        self, owner: str, client: Client, authenticated: str, *, peer: str, agent: str
    ) -> tuple[Tokens, Write]:
        """A new session, and the write that makes it true."""
        now = self._store.clock.now_ms()
        seconds = self.settings.operator_s if owner.startswith("op_") else self.settings.subscriber_s
        made = Session(
            id=random_name("ses"),
            owner=owner,
            client=client,
            authenticated=authenticated,
            generation=1,
            created_at=now,
            used_at=now,
            ends_at=now + seconds * 1000,
            revoked_at=0,
            peer=peer,
            agent=agent[:AGENT_LENGTH],
        )
        values = {name: getattr(made, name) for name in Session.__slots__}
        write = Write(_INSERT, {**values, "client": client.value, "revoked_because": ""}, expect=1)
        return self._tokens(made), write

    async def open(
        self,
        owner: str,
        client: Client,
        authenticated: str,
        *,
        peer: str,
        agent: str,
        writes: tuple[Write, ...] = (),
    ) -> Tokens:
        """Make a session and commit it with `writes`. Raises SessionRefused if the store takes nothing."""
        tokens, write = self.opening(owner, client, authenticated, peer=peer, agent=agent)
        answer = await self._store.apply(writes=(*writes, write))
        if answer is not Answer.STORED:
            raise SessionRefused(answer)
        return tokens

    def _tokens(self, of: Session) -> Tokens:
        now = self._store.clock.now_ms()
        if of.client is Client.WEB:
            seconds = max(0, (of.ends_at - now) // 1000)
            return Tokens(of, self._token(_TokenKind.WEB, of, of.ends_at), seconds)
        seconds = min(self.settings.access_s, max(0, (of.ends_at - now) // 1000))
        return Tokens(
            of,
            self._token(_TokenKind.ACCESS, of, now + seconds * 1000),
            seconds,
            self._token(_TokenKind.REFRESH, of, of.ends_at),
        )

    def _token(self, kind: _TokenKind, of: Session, ends_at: int) -> str:
        facts = (of.id.removeprefix("ses_"), str(of.generation), str(ends_at))
        return "_".join((kind.value, *facts, self._keys.mac(kind.value, *facts)))

    # ------------------------------------------------------------------------------------------------- checking

    def _read(self, token: str, kind: _TokenKind) -> tuple[str, int] | None:
        """Session and generation that a token names, if it is ours, of that kind and not past its end."""
        parts = token.split("_", 4)
        if len(parts) != 5 or parts[0] != kind.value or not parts[3].isascii() or not parts[3].isdigit():
            return None
        if not self._keys.made(parts[4], *parts[:4]) or int(parts[3]) <= self._store.clock.now_ms():
            return None
        return f"ses_{parts[1]}", int(parts[2])

    async def check(self, token: str, client: Client) -> Session | None:
        """The live session that a cookie or an access token names."""
        read = self._read(token, _TokenKind.WEB if client is Client.WEB else _TokenKind.ACCESS)
        if read is None:
            return None
        found = await self.find(read[0])
        if found is None or not self._lives(found):
            return None
        await self._touch(found)
        return found

    async def find(self, id: str) -> Session | None:
        """A session, at most `FRESH_S` old; None if there is none."""
        cached = self._cache.get(id)
        if cached is not None and cached[1] > self._monotonic():
            return cached[0]
        rows = await self._store.fetch(_BY_ID, id=id)
        if not rows:
            self._cache.pop(id, None)
            return None
        return self._remember(_session(rows[0]))

    def _remember(self, found: Session) -> Session:
        self._cache[found.id] = (found, self._monotonic() + FRESH_S)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return found

    def _lives(self, found: Session) -> bool:
        now = self._store.clock.now_ms()
        if found.revoked_at or found.ends_at <= now:
            return False
        idle = self.settings.operator_idle_s * 1000
        return not (found.owner.startswith("op_") and now - found.used_at > idle)

    async def _touch(self, found: Session) -> None:
        now = self._store.clock.now_ms()
        if now - found.used_at > TOUCH_MS:
            await self._store.apply(writes=[Write(_TOUCH, {"key": found.id, "used_at": now})])
            self._cache.pop(found.id, None)

    # ------------------------------------------------------------------------------------------------- renewing

    async def renew(self, refresh_token: str) -> Tokens | None:
        """New tokens for a refresh token. A token that was used before ends the whole session."""
        read = self._read(refresh_token, _TokenKind.REFRESH)
        if read is None:
            return None
        rows = await self._store.fetch(_BY_ID, id=read[0])
        found = _session(rows[0]) if rows else None
        if found is None or not self._lives(found):
            return None
        now = self._store.clock.now_ms()
        if read[1] == found.generation:
            params = {"key": found.id, "held": found.generation, "next": found.generation + 1, "used_at": now}
            answer = await self._store.apply(writes=[Write(_RENEW, params, expect=1)])
            if answer is Answer.STORED:
                rows = await self._store.fetch(_BY_ID, id=found.id)
                return self._tokens(self._remember(_session(rows[0])))
            if answer is not Answer.CONFLICT:
                raise SessionRefused(answer)
        # Of an earlier generation, or somebody was quicker with the same one: two hold it.
        await self.revoke(found.id, found.owner, "reuse")
        return None

    # ------------------------------------------------------------------------------------------------- revoking

    def revoking(self, owner: str, because: str, *, but: str = "") -> Write:
        """The write that ends every session of somebody; call `ended` after the commit."""
        now = self._store.clock.now_ms()
        return Write(_REVOKE_OWNER, {"of": owner, "but": but, "revoked_at": now, "revoked_because": because})

    def revoking_one(self, id: str, owner: str, because: str) -> Write:
        """The write that ends one session; call `ended` after the commit."""
        now = self._store.clock.now_ms()
        params = {"key": id, "of": owner, "revoked_at": now, "revoked_because": because}
        return Write(_REVOKE, params, expect=1)

    async def revoke(self, id: str, owner: str, because: str, *, writes: tuple[Write, ...] = ()) -> bool:
        """End one session of `owner`, with `writes`. False, and nothing is written, if there is none that lives."""
        answer = await self._store.apply(writes=[self.revoking_one(id, owner, because), *writes])
        if answer is Answer.CONFLICT:
            return False
        if answer is not Answer.STORED:
            raise SessionRefused(answer)
        self.ended(id)
        return True

    async def revoke_all(self, owner: str, because: str, *, but: str = "") -> None:
        """End every session of somebody, but perhaps one."""
        answer = await self._store.apply(writes=[self.revoking(owner, because, but=but)])
        if answer is not Answer.STORED:
            raise SessionRefused(answer)
        self.ended_of(owner, but=but)

    def ended(self, id: str) -> None:
        """A session has ended: forget it and close its streams."""
        self._cache.pop(id, None)
        for event in self._watched.get(id, ()):
            event.set()

    def ended_of(self, owner: str, *, but: str = "") -> None:
        """The sessions of somebody have ended. Streams whose session was not in memory end with the next poll."""
        for id in [id for id, (found, _) in self._cache.items() if found.owner == owner and id != but]:
            self.ended(id)

    async def of(self, owner: str) -> list[Session]:
        """Live sessions of somebody, last used first."""
        rows = await self._store.fetch(_OF_OWNER, owner=owner, now=self._store.clock.now_ms())
        return [_session(row) for row in rows]

    async def live(self, *, after: str = "", limit: int = 50) -> list[Session]:
        """Live sessions of everybody, in order of id."""
        now = self._store.clock.now_ms()
        return [_session(row) for row in await self._store.fetch(_LIVE, now=now, after=after, limit=limit)]

    # ------------------------------------------------------------------------------------------------- streams

    @contextmanager
    def watch(self, id: str) -> Generator[asyncio.Event]:
        """An event that is set when the session ends, for the streams that were opened with it."""
        event = asyncio.Event()
        self._watched.setdefault(id, set()).add(event)
        try:
            yield event
        finally:
            events = self._watched[id]
            events.discard(event)
            if not events:
                del self._watched[id]

    async def poll(self, *, since: int) -> int:
        """Close the streams of sessions that any process revoked since then; returns where to go on."""
        now = self._store.clock.now_ms()
        for row in await self._store.fetch(_REVOKED_SINCE, since=max(since, 1)):
            self.ended(row["id"])
        for id in list(self._watched):
            found = await self.find(id)
            if found is None or not found.ends_at > now:
                self.ended(id)
        return now - int(10 * POLL_S * 1000)  # a commit may be a little younger than its time

    async def run(self, stop: asyncio.Event) -> None:
        """Look for revocations until `stop`. The task of serve.py or of the app's lifespan."""
        since = self._store.clock.now_ms()
        while not stop.is_set():
            try:
                since = await self.poll(since=since)
            except StoreClosed:
                return
            except (StoreUnavailable, OSError):  # away: sessions cannot be checked either, and streams stay
                pass
            try:
                await asyncio.wait_for(stop.wait(), POLL_S)
            except TimeoutError:
                pass

    async def purge(self, *, older_than_ms: int = 7 * 86_400_000) -> None:
        """Forget sessions that ended long ago."""
        before = self._store.clock.now_ms() - older_than_ms
        await self._store.bulk([Write(_PURGE, {"before": before})])


class SessionRefused(Exception):
    """The store took nothing: it is full, or away."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.value)
        self.answer = answer


def _session(row: Mapping[str, Any]) -> Session:
    values = {name: row[name] for name in Session.__slots__}
    values["client"] = Client(values["client"])
    return Session(**values)
