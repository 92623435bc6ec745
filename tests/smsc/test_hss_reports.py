"""When the HSS is told about attempts, and when not; the wire is a stub here, real in test_diameter.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from spoof_center import Clock

from restante.outlet import ErrorClass
from restante.signaling.affiliations import Affiliations
from restante.signaling.causes import ExperimentalResult
from restante.signaling.diameter.codec import Avp, Avps, Message, avp
from restante.signaling.diameter.connection import Identity, Unavailable
from restante.signaling.diameter.short_messages import experimental, success
from restante.signaling.registers import (
    AddressType,
    Affiliation,
    ServedBy,
    Status,
    SwitchAddress,
    Who,
)
from restante.smsc.diameter_network import DiameterNetwork
from restante.smsc.hss_reports import AGAIN_S, HssReports
from restante.smsc.switch import Forwarded

WHO = Who("447700900001")
ABSENT = Forwarded(ErrorClass.ABSENT, "absent", detail={"absent_diagnostic": 1})
FULL = Forwarded(ErrorClass.MEMORY_FULL, "memory-full")
DONE = Forwarded()


class Hss:
    """Answers what a test says, and keeps the causes it was told."""

    def __init__(self) -> None:
        self.causes: list[tuple[str, int | None, int | None]] = []
        self.answer: Avp | Unavailable = success()

    def session(self) -> str:
        return "s;1;1"

    async def request(
        self, application: int, code: int, avps: Sequence[Avp], timeout_s: float, *, to_host: str
    ) -> Message:
        outer = Avps(avps).group("SM-Delivery-Outcome") or Avps()
        inner = outer.group(outer[0].name) or Avps()
        said = inner.number("SM-Delivery-Cause"), inner.number("Absent-User-Diagnostic-SM")
        self.causes.append((outer[0].name.partition("-SM-")[0], *said))
        if isinstance(self.answer, Unavailable):
            raise self.answer
        return Message(0, code, application, 1, 1, Avps((self.answer, avp("Origin-Host", "hss.home.net"))))


class Told:
    """Reports, their HSS and their clock."""

    def __init__(self, source: str = "s6c") -> None:
        self.clock, self.hss = Clock(), Hss()
        network = SimpleNamespace(
            node=self.hss,
            settings=SimpleNamespace(hss=SimpleNamespace(host="hss.home.net")),
            identity=Identity("smsc.home.net", "home.net"),
            hss_realm="home.net",
        )
        register: Any = SimpleNamespace(name="registers")
        affiliations = Affiliations(register, now_ms=self.clock.now_ms, monotonic=self.clock.monotonic)
        mme = SwitchAddress(AddressType.DIAMETER_HOST, "mme.home.net", ServedBy.MME)
        affiliations.learn(Affiliation(Status.ATTACHED, (mme,), source, 0, "001010000000001", WHO.msisdn))
        affiliations._entries[WHO.key].good_until = float("inf")
        self.reports = HssReports(
            cast("DiameterNetwork", network),
            center="447700900999",
            affiliations=affiliations,
            monotonic=self.clock.monotonic,
        )

    async def attempt(self, forwarded: Forwarded, node: ServedBy = ServedBy.MME) -> None:
        """An attempt ends, and the report is over."""
        address = SwitchAddress(AddressType.DIAMETER_HOST, "mme.home.net", node)
        self.reports.ended(WHO, "001010000000001", address, forwarded)
        while self.reports._work:
            await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(cast("Any", scenario()))


def test_a_failure_is_said_once_and_the_first_success_after_it() -> None:
    async def scenario() -> None:
        told = Told()
        for forwarded in (DONE, ABSENT, ABSENT, FULL, FULL, DONE, DONE):
            await told.attempt(forwarded)
        assert told.hss.causes == [("MME", 1, 1), ("MME", 0, None), ("MME", 2, None)]
        await told.attempt(ABSENT, ServedBy.SGSN)
        told.clock.seconds += AGAIN_S
        await told.attempt(ABSENT)
        assert told.hss.causes[3:] == [("SGSN", 1, 1), ("MME", 1, 1)]
        await told.attempt(Forwarded(ErrorClass.BUSY, "busy"))
        assert len(told.hss.causes) == 5

    run(scenario)


def test_what_did_not_arrive_is_said_again() -> None:
    async def scenario() -> None:
        for answer in (Unavailable("timeout"), experimental(ExperimentalResult.MWD_LIST_FULL)):
            told = Told()
            told.hss.answer = answer
            await told.attempt(ABSENT)
            told.hss.answer = success()
            await told.attempt(ABSENT)
            await told.attempt(ABSENT)
            told.hss.answer = answer
            await told.attempt(DONE)
            told.hss.answer = success()
            await told.attempt(DONE)
            await told.attempt(DONE)
            assert [cause for _, cause, _ in told.hss.causes] == [1, 1, 2, 2]

    run(scenario)


def test_an_hss_hears_nothing_of_those_it_does_not_serve() -> None:
    async def scenario() -> None:
        told = Told(source="osmo-hlr")
        await told.attempt(ABSENT)
        await told.attempt(DONE)
        assert told.hss.causes == []
        await told.reports.close()

    run(scenario)
