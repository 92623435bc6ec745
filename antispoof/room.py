"""The room as a whole: what `serve.py` makes, opens and closes.

In charge of: putting the parts together, keeping the compiled book in step with what operators edit and with the time,
explaining a message that nobody sent, and the room's chores. Not in charge of: anything the parts do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..access.accounts import Account
from ..access.key_ring import KeyRing
from ..access.ranges import NumberRanges
from ..message import Ingress
from ..outlet import Write
from ..registry.edits import Registry
from ..registry.snapshot import Snapshot
from ..signaling.affiliations import Affiliations
from ..smsc.holding import Holding
from ..store.chores import Chores
from ..store.store import Store
from . import tables
from .check import SpoofCheck, facts_of
from .engine import Book, Step, Verdict, judge
from .evidence import CHECK, EvidenceLog
from .exemptions import Exemption, ExemptionTable
from .inbox import Inbox
from .kinds import SpoofKinds
from .networks import Network, NetworkTable, Ported
from .policy import Policies, Policy
from .quarantine import Quarantine
from .replay import Replay
from .senders import Protected, SenderRule, SenderTable
from .settings import SpoofSettings
from .switches import Group, Switch, SwitchTable

__all__ = ["Live", "SpoofRoom"]

TICK_S = 1.0
SWEEP_S = 3600.0
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Live:
    """The live objects, of a registry that is open."""

    networks: Snapshot[Network]
    switches: Snapshot[Switch]
    groups: Snapshot[Group]
    ported: Snapshot[Ported]
    sender_rules: Snapshot[SenderRule]
    protected: Snapshot[Protected]
    exemptions: Snapshot[Exemption]
    policies: Snapshot[Policy]

    @classmethod
    def of(cls, registry: Registry, kinds: SpoofKinds) -> Live:
        """Make the kinds known to a registry that is not open yet."""
        return cls(
            networks=registry.register(kinds.network),
            switches=registry.register(kinds.switch),
            groups=registry.register(kinds.group),
            ported=registry.register(kinds.ported),
            sender_rules=registry.register(kinds.sender_rule),
            protected=registry.register(kinds.protected),
            exemptions=registry.register(kinds.exemption),
            policies=registry.register(kinds.policy),
        )


class SpoofRoom:
    """Anti-spoofing on one node."""

    def __init__(
        self,
        *,
        store: Store,
        settings: SpoofSettings,
        live: Live,
        ranges: NumberRanges,
        accounts: Callable[[int], Account | None],
        affiliations: Affiliations,
        revision: Callable[[], int],
        ring: KeyRing,
    ) -> None:
        """`ranges`: own numbers; `revision`: of the registry, named in evidence."""
        self._store = store
        self.settings = settings
        self.live = live
        self._ranges = ranges
        self._accounts = accounts
        self.affiliations = affiliations
        self._revision = revision
        self.evidence = EvidenceLog(store, ring)
        self.inbox = Inbox(store)
        self.replay = Replay(store)
        self._next_change = 0
        self._renew()
        self.check = SpoofCheck(
            settings=settings,
            now_ms=store.clock.now_ms,
            book=lambda: self.book,
            policies=lambda: self.policies,
            affiliations=affiliations,
            account_name=self._account_name,
            names_switches=self._names_switches,
            record=self.evidence.append,
            inbox=self.inbox,
        )
        for snapshot in (
            live.networks,
            live.switches,
            live.groups,
            live.ported,
            live.sender_rules,
            live.protected,
            live.exemptions,
            live.policies,
        ):
            snapshot.on_change(lambda _: self.changed())
        ranges.on_change(self.changed)
        self._chores = Chores()

    @property
    def checks(self) -> list[SpoofCheck]:
        """What is asked about a message; nothing where the room is switched off."""
        return [self.check] if self.settings.enabled else []

    def quarantine(self, holding: Holding) -> Quarantine:
        """Messages in quarantine; `holding` is the message path's."""
        return Quarantine(self._store, holding)

    def _account_name(self, number: int) -> str:
        account = self._accounts(number)
        return account.system_id if account is not None else ""

    def _names_switches(self, number: int) -> bool:
        account = self._accounts(number)
        return account is not None and account.switch_tlvs is not None

    async def is_spoofed(self, message: int) -> bool:
        """Whether a stored message was found to be spoofed, whatever followed from it. OSError: nobody can say."""
        for row in await self._store.fetch(tables.EVIDENCE_OF, message=message):
            said = json.loads(row["detail"])
            if said["check"] == CHECK and said["evidence"].get("verdict") == Verdict.SPOOFED.value:
                return True
        return False

    # ------------------------------------------------------------------------------------------------ in step

    def changed(self) -> None:
        """Operators edited something, or something ended: judge by what holds now."""
        self._renew()
        self.check.forget()

    def _renew(self) -> None:
        live, now = self.live, self._store.clock.now_ms()
        exemptions = ExemptionTable(live.exemptions.values(), at=now)
        coming = [one.valid_from_ms for one in live.ported.values() if one.valid_from_ms > now]
        self._next_change = min([time for time in (exemptions.next_change, *coming) if time], default=0)
        self.book = Book(
            switches=SwitchTable(live.switches.values(), live.groups.values()),
            networks=NetworkTable(
                live.networks.values(), live.ported.values(), is_own=self._ranges.is_own, at=now
            ),
            senders=SenderTable(live.sender_rules.values(), live.protected.values()),
            exemptions=exemptions,
            revision=self._revision(),
        )
        self.policies = Policies(live.policies.values())

    # ------------------------------------------------------------------------------------------------ explaining

    async def evaluate(self, sender: str, ingress: Ingress) -> tuple[list[Step], dict[str, object]]:
        """Judge a message that nobody sent, with every step. Registers are asked; nothing is recorded or remembered."""
        steps: list[Step] = []

        def note(step: str, says: str) -> None:
            steps.append(Step(step, says))

        account = self._account_name(ingress.account) or ingress.name
        policy = self.policies.of(ingress.role, account)
        facts = replace(self.check.facts(sender, ingress, account), grace_ms=policy.model.grace_s * 1000)
        judgement, rechecked = judge(facts, self.book, note), False
        if judgement.ask or judgement.recheck:
            note("asking", "fresh, before accusing" if judgement.recheck else "nobody was asked lately")
            facts, judgement, rechecked = await self.check.ask(facts, judgement, "", note)
        act = policy.act(judgement.verdict, judgement.reason)
        until = self.check.fall_back.listed(self._store.clock.now_ms()).get(account)
        note("verdict", f"{judgement.verdict.value} ({judgement.reason.value})")
        mode = "fallen back to monitor" if until else policy.model.mode.value
        note("policy", f"{policy.model.name}: {act.value} ({mode})")
        found = facts_of(facts, judgement, policy, self.book.revision)
        found |= {"action": act.value, "enforced": policy.enforced and not until, "rechecked": rechecked}
        return steps, found

    # ------------------------------------------------------------------------------------------------ life

    async def open(self) -> None:
        """Begin the chores."""
        await self.evidence.open()
        self._chores.every(TICK_S, self._tick, "spoof chores")
        self._chores.every(SWEEP_S, self._sweep, "spoof retention")

    async def _tick(self) -> None:
        self.check.count()
        if self._next_change and self._store.clock.now_ms() >= self._next_change:
            self.changed()
        await self.inbox.flush()

    async def _sweep(self) -> None:
        if self.settings.evidence_days:
            before = self._store.clock.now_ms() // DAY_MS - self.settings.evidence_days
            await self._store.bulk(
                [
                    Write(statement, {"before": before})
                    for statement in (tables.SWEEP_VERDICTS, tables.SWEEP_REVIEWS)
                ]
            )

    async def close(self) -> None:
        """Stop the chores and write what waits; before the store closes."""
        await self._chores.close()
        await self.evidence.close()
