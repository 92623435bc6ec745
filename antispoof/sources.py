"""The registers that the configuration names, behind one memory.

In charge of: making the registers of [affiliations], asking each under its own deadline and breaker, measuring it, and
opening and closing what they need. Not in charge of: what a register is or says (`signaling/`), remembering
(`signaling/affiliations.py`), judging (`engine.py`).

A register that lives in another room's connection (an HSS behind the Diameter node) is handed in as one of `others`,
by the name that the settings give it; its room opens and closes it.

Why each register has a breaker of its own although the memory has one: a chain whose first register is dead would
spend every deadline on it, and the others would never be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from ..access.outgoing import Outgoing, OutgoingFailed, OutgoingRefused
from ..metrics import counter, gauge, histogram
from ..signaling.affiliations import Affiliations
from ..signaling.breaker import Breaker, BreakerState
from ..signaling.ctrl import Ctrl
from ..signaling.osmohlr import OsmoHlr
from ..signaling.register_http import HttpRegister
from ..signaling.register_sql import MOST_ROWS, SqlRegister
from ..signaling.registers import (
    Affiliation,
    AffiliationProvider,
    BadTable,
    Chain,
    Range,
    RegisterUnavailable,
    StaticTable,
    Who,
)
from ..store.lookup import Lookup, LookupFailed, lookup
from ..store.store import StoreRefused
from .settings import SourcesSettings

__all__ = ["BadSource", "Guarded", "Sources"]

log = structlog.get_logger(__name__)

_seconds = histogram("antispoof", "provider_seconds", "Duration of questions to one register", ("provider",))
_answers = counter("antispoof", "provider_answers", "Questions to one register", ("provider", "answer"))
_up = gauge("antispoof", "provider_up", "0 while one register is left alone after failures", ("provider",))

#: Octets of an answer of a look-up service; twenty addresses are far below.
MOST_OCTETS = 64 * 1024


class BadSource(ValueError):
    """A register that cannot be made as it is configured."""


class Guarded:
    """One register with its breaker and its figures."""

    def __init__(self, inner: AffiliationProvider, *, monotonic: Callable[[], float]) -> None:
        self.name = inner.name
        self.inner = inner
        self._monotonic = monotonic
        self._seconds = _seconds.labels(inner.name)
        up = _up.labels(inner.name)
        up.set(1)
        self.breaker = Breaker(monotonic, changed=lambda state: up.set(state is BreakerState.CLOSED))

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        """See `AffiliationProvider.lookup`."""
        if not self.breaker.allows():
            _answers.labels(self.name, "breaker").inc()
            raise RegisterUnavailable("breaker")
        began = self._monotonic()
        ok: bool | None = None  # given up by who asked: says nothing about the register
        answer = "cancelled"
        try:
            found = await self.inner.lookup(who, fresh=fresh, timeout_s=timeout_s)
            ok, answer = True, found.status.value
            return found
        except RegisterUnavailable as unavailable:
            ok, answer = False, unavailable.reason
            raise
        except Exception:
            ok, answer = False, "fault"
            raise
        finally:
            took = self._monotonic() - began
            if ok is None and took >= timeout_s * 0.9:  # it was given up because it was too slow
                ok, answer = False, "timeout"
            self.breaker.report(ok)
            self._seconds.observe(took)
            _answers.labels(self.name, answer).inc()


class Sources:
    """Every register of this node. `affiliations` is what the other rooms use."""

    def __init__(
        self,
        settings: SourcesSettings,
        *,
        now_ms: Callable[[], int],
        others: Iterable[AffiliationProvider] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """BadSource if a register cannot be made. `others`: registers that another room opens, by their names."""
        self._settings = settings
        self._now_ms = now_ms
        self._ctrl: Ctrl | None = None
        self._outgoing: Outgoing | None = None
        self._lookup: Lookup | None = None
        made = {one.name: Guarded(one, monotonic=monotonic) for one in [*self._own(), *others]}
        self.registers: Mapping[str, Guarded] = made
        self.affiliations = Affiliations(
            Chain(self._ranges(made), monotonic=monotonic, name="registers"),
            settings,
            now_ms=now_ms,
            monotonic=monotonic,
        )

    def _own(self) -> Iterable[AffiliationProvider]:
        settings = self._settings
        if settings.osmo_hlr.host:
            self._ctrl = Ctrl(settings.osmo_hlr.host, settings.osmo_hlr.port)
            yield OsmoHlr(self._ctrl, now_ms=self._now_ms)
        if settings.http.url:
            self._outgoing = Outgoing(settings.http.allowed_hosts)
            yield HttpRegister(settings.http.url, self._get, now_ms=self._now_ms)
        if settings.sql.query:
            self._lookup = _lookup(settings)
            yield SqlRegister(self._select, now_ms=self._now_ms)
        if settings.table.file is not None:
            yield _table(settings.table.file, self._now_ms)

    def _ranges(self, made: Mapping[str, Guarded]) -> list[Range]:
        """Everybody else is in the range without prefixes, unless the settings have one themselves."""
        settings = self._settings
        found: list[Range] = []
        for index, one in enumerate(settings.ranges):
            missing = [name for name in one.registers if name not in made]
            if missing:
                raise BadSource(f"affiliations.ranges[{index}] names {missing[0]}, which is not configured")
            chosen = tuple(made[name] for name in one.registers)
            found.append(Range(chosen, msisdn=one.msisdn, imsi=one.imsi, authoritative=one.authoritative))
        if not any(not one.msisdn and not one.imsi for one in settings.ranges):
            found.append(Range(tuple(made[name] for name in settings.order if name in made)))
        return found

    async def _get(self, url: str, timeout_s: float) -> tuple[int, bytes]:
        """What `HttpRegister` asks with."""
        assert self._outgoing is not None
        token = self._settings.http.token.get_secret_value()
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            reply = await self._outgoing.request(
                "GET", url, headers=headers, timeout_s=timeout_s, most_octets=MOST_OCTETS
            )
        except OutgoingFailed as failed:
            raise RegisterUnavailable("timeout" if failed.slow else "down", str(failed)) from failed
        except OutgoingRefused as refused:
            raise RegisterUnavailable("refused", str(refused)) from refused
        return reply.status, reply.body

    async def _select(
        self, values: Mapping[str, str | None], timeout_s: float
    ) -> Sequence[Mapping[str, Any]]:
        """What `SqlRegister` asks with."""
        assert self._lookup is not None
        try:
            return await self._lookup.ask(values, timeout_s)
        except LookupFailed as failed:
            reason = "timeout" if failed.slow else "refused" if failed.refused else "down"
            raise RegisterUnavailable(reason, str(failed)) from failed

    async def open(self) -> None:
        """Begin to connect; nobody waits for it."""
        if self._ctrl is not None:
            self._ctrl.open()
        log.info("registers", configured=sorted(self.registers))

    async def close(self) -> None:
        """Give up what is being asked."""
        if self._ctrl is not None:
            await self._ctrl.close()
        if self._outgoing is not None:
            await self._outgoing.close()
        if self._lookup is not None:
            await self._lookup.close()


def _lookup(settings: SourcesSettings) -> Lookup:
    sql = settings.sql
    try:
        made = lookup(
            sql.url.get_secret_value(),
            sql.query,
            most_rows=MOST_ROWS + 1,
            connections=sql.connections,
            most_s=settings.timeout_s,
        )
    except StoreRefused as error:
        raise BadSource(f"affiliations.sql: {error}") from error
    strange = made.names - {"msisdn", "imsi"}
    if strange:
        raise BadSource(f"affiliations.sql.query: :{min(strange)} is neither :msisdn nor :imsi")
    return made


def _table(file: Path, now_ms: Callable[[], int]) -> StaticTable:
    try:
        return StaticTable.read(file.read_text(encoding="utf-8-sig"), now_ms=now_ms)
    except OSError as error:
        raise BadSource(f"affiliations.table.file: cannot read {file}: {error.strerror}") from error
    except (BadTable, UnicodeDecodeError) as error:
        raise BadSource(f"affiliations.table.file: {file}: {error}") from error
