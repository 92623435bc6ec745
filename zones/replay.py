"""Decisions explained before they happen, and made again afterwards.

In charge of: every step of a decision about a message that nobody sent (no side effect), the log of decisions, and
making recorded decisions again under the present rules or a draft of other ones. Not in charge of: judging
(`decision.py`), who may see it (`api/`).

Why a replay is exact: evidence names what a decision rested on, the fix by its id, the reason if there was none, the
last state; the judgement is a pure function of these and the rules. So the present rules reproduce what they decided,
and a draft shows what it would have decided. What a location server would have said to another question is not known:
where a draft looks at somebody whose place was not asked for, that is UNKNOWN ("not-recorded"), and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..check import Stage
from ..message import Address, Ingress, Message, id_at
from ..message import Role as IngressRole
from ..store.store import Store
from .decision import Act, Decision, Given, judge
from .evidence import Record, facts_of
from .fix import Fix, Reason, Sighting
from .locations import Locations
from .policy import Role, Truth
from .records import Records
from .rules import Case, Rules
from .settings import ZonesSettings

__all__ = ["Explained", "Logged", "Replay", "Simulation", "step_facts"]

MOST_CHANGED = 10_000  #: ids listed; all are counted
NOT_RECORDED = "not-recorded"


@dataclass(frozen=True, slots=True)
class Explained:
    """One judgement, with every zone's answer."""

    stage: Stage
    decision: Decision
    bypass: str


@dataclass(frozen=True, slots=True)
class Logged:
    """One recorded decision."""

    message: int
    sender: str
    recipient: str
    record: Record


@dataclass(slots=True)
class Simulation:
    """What other rules would have done."""

    messages: int = 0
    decisions: int = 0
    same: int = 0
    unrecorded: int = 0  #: decisions for which a place would have been needed that nobody asked for then
    before: Counter[str] = field(default_factory=Counter[str])  #: act -> how many
    after: Counter[str] = field(default_factory=Counter[str])
    changed: list[tuple[int, str, str]] = field(
        default_factory=list[tuple[int, str, str]]
    )  #: message, act, act
    more_changed: int = 0
    finished: bool = True  #: False: the range holds more than was asked for


class Replay:
    """Explains and replays on one node."""

    def __init__(
        self,
        store: Store,
        settings: ZonesSettings,
        locations: Locations,
        is_esme: Callable[[str], bool] = lambda number: False,
    ) -> None:
        """`is_esme`: whether a number belongs to an application."""
        self._store = store
        self._settings = settings
        self._locations = locations
        self._is_esme = is_esme
        self.records = Records(store)

    # ------------------------------------------------------------------------------------------------ explain

    async def explain(
        self,
        rules: Rules,
        sender: str,
        recipient: str,
        *,
        at: int = 0,
        service_type: str = "",
        sender_is_esme: bool = False,
        places: Mapping[Role, Fix] | None = None,
    ) -> list[Explained]:
        """Every judgement that a message would meet. `places`: instead of where the parties were seen last."""
        at = at or self._store.clock.now_ms()
        message = Message(
            Address(1, 1, ""), Address(1, 1, ""), sender=sender, recipient=recipient, service_type=service_type,
            submitted_at=at,
        )  # fmt: skip
        sightings: dict[Role, Sighting] = {}
        for role, number in ((Role.SENDER, sender), (Role.RECIPIENT, recipient)):
            fix = (places or {}).get(role) or await self._locations.latest(number)
            sightings[role] = Sighting(fix, "" if fix is not None else Reason.NONE)
        found: list[Explained] = []
        states: dict[int, Truth] = {}
        for stage in Stage:
            for case in self._cases(rules, message, stage, at, sender_is_esme=sender_is_esme):
                given = self._given(at, at, sightings, recorded=states.get(case.policy.number))
                decision = judge(case, given)
                sender_truth = decision.sender_truth
                if stage is Stage.SUBMIT and sender_truth is not None:
                    states[case.policy.number] = sender_truth
                found.append(Explained(stage, decision, case.bypass))
        return found

    def _cases(
        self, rules: Rules, message: Message, stage: Stage, at: int, *, sender_is_esme: bool
    ) -> list[Case]:
        return rules.cases(
            message,
            stage,
            at,
            sender_locatable=not sender_is_esme,
            recipient_locatable=not self._is_esme(message.recipient),
        )

    def _given(
        self,
        at: int,
        submitted_at: int,
        sightings: Mapping[Role, Sighting],
        *,
        recorded: Truth | None,
        **more: Any,
    ) -> Given:
        return Given(
            at=at,
            submitted_at=submitted_at,
            sightings=sightings,
            recorded_sender=recorded,
            floors_m=self._locations.floors_m,
            home_plmns=self._settings.home_plmns,
            **more,
        )

    # ------------------------------------------------------------------------------------------------ the log

    async def log(
        self, *, number: str = "", first: int = 0, before: int = 0, state: str = "", limit: int = 50
    ) -> list[Logged]:
        """Recorded decisions, newest first; `first` and `before` are message ids, `number` a party."""
        before = before or id_at(self._store.clock.now_ms() + 1)
        found: list[Logged] = []
        async for page in self.records.pages(first, before, number=number):
            messages = {message.id: message for message in await self._store.load(sorted(page))}
            for id, records in page.items():
                message = messages.get(id)
                for record in reversed(records):
                    if message is not None and (not state or record.truth.value == state):
                        found.append(Logged(id, message.sender, message.recipient, record))
            if len(found) >= limit:
                break
        return found[:limit]

    # ------------------------------------------------------------------------------------------------ simulate

    async def simulate(self, rules: Rules, *, first: int, before: int, most: int = 100_000) -> Simulation:
        """Make the recorded decisions of a range of messages again under `rules`."""
        done = Simulation()
        async for page in self.records.pages(first, before):
            fixes = await self.records.fixes(record for records in page.values() for record in records)
            for message in await self._store.load(sorted(page, reverse=True)):
                done.messages += 1
                self._again(rules, message, page[message.id], fixes, done)
            if done.messages >= most:
                done.finished = False
                break
        return done

    def _again(
        self,
        rules: Rules,
        message: Message,
        records: Sequence[Record],
        fixes: Mapping[int, Fix],
        done: Simulation,
    ) -> None:
        """One message: all decisions of one moment together, because the strongest of them counted."""
        is_esme = Ingress.decode(message.ingress).role is IngressRole.ESME
        states: dict[int, Truth] = {}
        moments: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            moments.setdefault((record.stage, record.at), []).append(record)
        for (stage_name, at), together in moments.items():
            stage = Stage(stage_name)
            sightings, last = _recorded(together, fixes)
            reasons = {record.reason for record in together}
            acts: list[str] = []
            for case in self._cases(rules, message, stage, at, sender_is_esme=is_esme):
                given = self._given(
                    at,
                    message.submitted_at,
                    sightings,
                    recorded=states.get(case.policy.number) if stage is Stage.ATTEMPT else None,
                    last=last,
                    offer_accepted="offer-accepted" in reasons,
                )
                decision = judge(case, given)
                if decision.sender_truth is not None and stage is Stage.SUBMIT:
                    states[case.policy.number] = decision.sender_truth
                if any(found.reason == NOT_RECORDED for found in decision.parties):
                    done.unrecorded += 1
                act = decision.act
                if act in (Act.HOLD, Act.OFFER) and "too-many-held" in reasons:
                    act = Act.BLOCK
                acts.append(act.value if case.policy.model.enforced else Act.PASS.value)
            self._count(message, [r.act if r.enforced else Act.PASS.value for r in together], acts, done)

    def _count(self, message: Message, before: Sequence[str], after: Sequence[str], done: Simulation) -> None:
        was, would = strongest(before), strongest(after)
        done.decisions += 1
        done.before[was] += 1
        done.after[would] += 1
        if was == would:
            done.same += 1
        elif len(done.changed) < MOST_CHANGED:
            done.changed.append((message.id, was, would))
        else:
            done.more_changed += 1


def _recorded(
    together: Sequence[Record], fixes: Mapping[int, Fix]
) -> tuple[dict[Role, Sighting], dict[Role, Any]]:
    """What the decisions of a moment rested on."""
    sightings = {role: Sighting(None, NOT_RECORDED) for role in Role}
    last: dict[Role, Any] = {}
    for record in together:
        for role, party in record.parties.items():
            fix = fixes.get(party.fix)
            if fix is not None:
                sightings[role] = Sighting(fix)
            elif party.truth is Truth.UNKNOWN and sightings[role].fix is None:
                sightings[role] = Sighting(None, party.reason)
            if party.last is not None:
                last[role] = party.last
    return sightings, last


_ORDER = ("block", "hold", "offer", "divert", "tag", "record", "pass")


def strongest(acts: Sequence[str]) -> str:
    """The act that counts; a message that no policy concerns passes."""
    return min(acts, key=_ORDER.index) if acts else "pass"


def step_facts(explained: Explained, snapshot: int) -> dict[str, object]:
    """An explanation as JSON, with every zone's answer, unrounded: for those who may see locations."""
    facts = facts_of(explained.decision, decimals=7, snapshot=snapshot)
    facts["stage"] = explained.stage.value
    if explained.bypass:
        facts["bypass"] = explained.bypass
    facts["zones"] = [
        {"role": found.role.value, "zone": name, "state": presence.state.value, "share": round(presence.share, 4),
         "reason": presence.reason}
        for found in explained.decision.parties
        for name, presence in found.each
    ]  # fmt: skip
    return facts
