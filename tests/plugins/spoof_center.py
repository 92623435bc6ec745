"""What tests of anti-spoofing share: a register of one's own, facts, and a check over them without a database.

In charge of: saying in few words who serves whom. Not in charge of: the real center (`running_center.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from restante.antispoof.check import SpoofCheck
from restante.antispoof.engine import Book
from restante.antispoof.exemptions import Exemption, ExemptionModel, ExemptionTable
from restante.antispoof.networks import Network, NetworkModel, NetworkTable, Ported, PortedModel
from restante.antispoof.policy import Policies, Policy, PolicyModel
from restante.antispoof.senders import (
    Protected,
    ProtectedModel,
    SenderRule,
    SenderRuleModel,
    SenderTable,
    fold,
)
from restante.antispoof.settings import SpoofSettings
from restante.antispoof.switches import Group, GroupModel, Switch, SwitchModel, SwitchTable, read_address
from restante.check import Stage, Verdict
from restante.message import Address, Ingress, Message, Role
from restante.signaling.affiliations import Affiliations, AffiliationSettings
from restante.signaling.breaker import Breaker
from restante.signaling.registers import Affiliation, RegisterUnavailable, Status, Who

START_MS = 1_790_000_000_000
ANNA = "+447700900123"
A, B, C = "ipa_name:MSC-A", "ipa_name:MSC-B", "ipa_name:MSC-C"


class Clock:
    """Monotonic and epoch time that move together."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def monotonic_ns(self) -> int:
        return round(self.seconds * 1e9)

    def now_ms(self) -> int:
        return START_MS + round(self.seconds * 1000)


class Register:
    """Who serves whom, as a test says; asked questions wait while `gate` is closed."""

    name = "register"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.serving: dict[str, str | Status] = {}  #: msisdn digits -> addresses with blanks between
        self.imsis: dict[str, str] = {}
        self.failure: Exception | None = None
        self.authoritative = True
        self.asked: list[tuple[Who, bool]] = []
        self.gate: asyncio.Event | None = None

    async def lookup(self, who: Who, *, fresh: bool, timeout_s: float) -> Affiliation:
        self.asked.append((who, fresh))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        said = self.serving.get(who.msisdn, Status.UNKNOWN)
        addresses = tuple(read_address(text) for text in said.split()) if not isinstance(said, Status) else ()
        status = said if isinstance(said, Status) else Status.ATTACHED
        return Affiliation(
            status,
            addresses,
            self.name,
            self.clock.now_ms(),
            self.imsis.get(who.msisdn, ""),
            who.msisdn,
            authoritative=self.authoritative,
        )


def book(
    switches: dict[str, list[str]] | None = None,
    *,
    kinds: dict[str, dict[str, Any]] | None = None,
    groups: dict[str, list[str]] | None = None,
    networks: list[dict[str, Any]] | None = None,
    ported: list[dict[str, Any]] | None = None,
    rules: list[dict[str, Any]] | None = None,
    protected: list[dict[str, Any]] | None = None,
    exemptions: list[dict[str, Any]] | None = None,
    own: str = "+4477",
) -> Book:
    """Everything operators said. `switches`: name -> addresses; `kinds`: name -> further fields."""
    made: list[Switch] = []
    for number, (name, addresses) in enumerate((switches or {}).items(), 1):
        texts = [text.partition(":") for text in addresses]
        listed = [{"type": t, "value": v.removesuffix("*"), "prefix": v.endswith("*")} for t, _, v in texts]
        model = SwitchModel.model_validate({"name": name, "addresses": listed, **(kinds or {}).get(name, {})})
        made.append(Switch(number, f"swi_{number}", 1, model))
    named = [
        Group(100 + n, GroupModel(name=name, members=tuple(members)))
        for n, (name, members) in enumerate((groups or {}).items())
    ]
    return Book(
        switches=SwitchTable(made, named),
        networks=NetworkTable(
            [
                Network(n, f"net_{n}", NetworkModel.model_validate(one))
                for n, one in enumerate(networks or [])
            ],
            [Ported(n, PortedModel.model_validate(one)) for n, one in enumerate(ported or [])],
            is_own=lambda number: number.startswith(own),
            at=START_MS,
        ),
        senders=SenderTable(
            [
                SenderRule(n, SenderRuleModel.model_validate({"name": f"r{n}", **one}))
                for n, one in enumerate(rules or [])
            ],
            [
                Protected(n, ProtectedModel.model_validate(one), fold(one["name"]))
                for n, one in enumerate(protected or [])
            ],
        ),
        exemptions=ExemptionTable(
            [an_exemption(n, one) for n, one in enumerate(exemptions or [])], at=START_MS
        ),
    )


def an_exemption(number: int, fields: dict[str, Any]) -> Exemption:
    """One that lasts long enough."""
    given = {"name": f"x{number}", "reason": "tested", "expires_at": "2099-01-01T00:00:00Z", **fields}
    model = ExemptionModel.model_validate_json(json.dumps(given))
    return Exemption(number, f"spx_{number}", model, int(model.expires_at.timestamp() * 1000))


def a_policy(number: int = 1, **fields: Any) -> Policy:
    """One that acts on handsets, unless said otherwise."""
    given = {"name": f"p{number}", "ingress": "switch", "mode": "enforce", **fields}
    return Policy.made(number, f"spo_{number}", 1, PolicyModel.model_validate(given))


class Noticed:
    """An inbox that only counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def notice(self, place: Any, link: str, side: str, at: int) -> None:
        if place.switch is None:
            self.seen.append((f"{place.address.type.value}:{place.address.value}", side))


@dataclass
class Bench:
    """A check, its register and its clock."""

    clock: Clock = field(default_factory=Clock)
    settings: dict[str, Any] = field(default_factory=dict)
    affiliation_settings: dict[str, Any] = field(default_factory=dict)
    said: Book = field(default_factory=book)
    policies: Policies = field(default_factory=lambda: Policies([a_policy()]))

    def __post_init__(self) -> None:
        self.register = Register(self.clock)
        given = {
            "timeout_s": 30,
            "jitter": 0,
            "link_rate": 1e6,
            "link_burst": 1_000_000,
            **self.affiliation_settings,
        }
        self.affiliations = Affiliations(
            self.register,
            AffiliationSettings.model_validate(given),
            now_ms=self.clock.now_ms,
            monotonic=self.clock.monotonic,
            rng=random.Random(7),
            breaker=Breaker(self.clock.monotonic, least=1_000_000),
        )
        self.records: list[dict[str, Any]] = []
        self.inbox = Noticed()
        self.gateways: set[int] = set()
        self.check = SpoofCheck(
            settings=SpoofSettings.model_validate({"deadline_ms": 4000, **self.settings}),
            now_ms=self.clock.now_ms,
            book=lambda: self.said,
            policies=lambda: self.policies,
            affiliations=self.affiliations,
            account_name=lambda number: f"acc{number}",
            names_switches=self.gateways.__contains__,
            record=lambda facts: self.records.append(dict(facts)),
            inbox=self.inbox,  # type: ignore[arg-type]
            monotonic_ns=self.clock.monotonic_ns,
        )

    def ingress(
        self, trusted: str = A, role: Role = Role.SWITCH, account: int = 1, **asserted: str
    ) -> Ingress:
        """A link."""
        return Ingress("smpp", account, role, f"acc{account}", trusted=trusted, asserted=asserted)

    def at_once(self, trusted: str = A, sender: str = ANNA, **more: Any) -> Verdict | Awaitable[Verdict]:
        """Ask the check; the verdict or what must be awaited."""
        message = a_message(
            sender, **{k: more.pop(k) for k in ("part_total", "part_number", "part_reference") if k in more}
        )
        return self.check.examine(message, self.ingress(trusted, **more), Stage.SUBMIT)

    async def verdict(self, trusted: str = A, sender: str = ANNA, **more: Any) -> Verdict:
        """The verdict, however long it takes; its evidence is recorded as when it is answered."""
        answer = self.at_once(trusted, sender, **more)
        verdict = answer if isinstance(answer, Verdict) else await answer
        if verdict.answered is not None:
            verdict.answered(a_message(sender), verdict.status)
        return verdict

    async def conclusion(self, trusted: str = A, sender: str = ANNA, **more: Any) -> tuple[str, str]:
        """Verdict and reason; genuine ones leave evidence only if the policy samples all."""
        before = len(self.records)
        await self.verdict(trusted, sender, **more)
        if len(self.records) == before:
            return "genuine", ""
        return self.records[-1]["verdict"], self.records[-1]["reason"]


def a_message(sender: str = ANNA, **fields: Any) -> Message:
    """A draft as submission hands it to checks."""
    return Message(
        Address(1, 1, sender[1:]),
        Address(1, 1, "447700900999"),
        sender=sender,
        recipient="+447700900999",
        **fields,
    )


DOWN = RegisterUnavailable("down")
