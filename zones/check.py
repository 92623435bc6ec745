"""The home zone check: where a message's sender or recipient is, and what follows.

In charge of: asking for locations within the budget of each stage, judging by the rules, one decision for all parts
of a message, and the verdicts: what a peer may see of them too. Not in charge of: the rules (`rules.py`), the
judgement (`decision.py`), locations (`locations.py`), letting held messages go (`holds.py`), offers (`offers.py`).

Theory. Most messages concern no policy and are accepted at once. Where all locations wanted are in memory the answer
comes at once too; else an awaitable asks. At submit, when the budget ends before the answer, the verdict is
*pending*: the message is stored, and this check is asked again before its first attempt (it has an id then, and gets
the budget of attempts). At an attempt, a location that is not there within the budget is UNKNOWN, and the policy says
what that means.

How it fails: a source of locations is down -> UNKNOWN within the budget, at once when its breaker is open; many of
them within a minute are an alarm. The database is away -> what it would have told is UNKNOWN or not accepted, never
OUT.

Sources: behaviour.md 4; issue "home zones" section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import structlog

from ..check import ACCEPT, Action, Stage, Verdict
from ..message import Ingress, Message, id_at
from ..message import Role as IngressRole
from ..metrics import counter
from ..smsc.smpp.command_status import CommandStatus as Status
from ..store.store import QueueReason, Store
from . import tables
from .decision import Act, Decision, Given, judge
from .evidence import CHECK, facts_of, read_record
from .fix import Reason, Sighting
from .locations import Locations
from .policy import Last, Policy, Role, Truth, Visibility
from .rules import Case, Rules
from .settings import ZonesSettings

__all__ = ["OfferBook", "ZoneCheck"]

K = TypeVar("K")
V = TypeVar("V")

log = structlog.get_logger(__name__)

_decided = counter("zones", "decisions", "Decisions, by state and act", ("state", "act"))
_unknown = counter("zones", "unknown", "Decisions on unknown locations, by reason", ("reason",))

#: Last states, multipart decisions and recorded senders that are remembered.
REMEMBERED = 200_000
MINUTE_MS = 60_000

#: Strongest first: a message under two policies gets the stronger act.
_PASSING = (Act.PASS.value, Act.RECORD.value, Act.TAG.value)
_STRENGTH = (Act.BLOCK, Act.HOLD, Act.OFFER, Act.DIVERT, Act.TAG, Act.RECORD, Act.PASS)


class OfferBook(Protocol):
    """What the check needs of offers (`offers.Offers`)."""

    async def accepted(self, number: str, policy: int, submitted_at: int) -> bool:
        """True if the recipient said YES after that time."""
        ...

    async def offer(self, number: str, policy: Policy) -> None:
        """Ask the recipient, unless that was done lately."""
        ...


class ZoneCheck:
    """One check for both stages. Lives on the event loop."""

    name = CHECK
    stages = frozenset({Stage.SUBMIT, Stage.ATTEMPT})

    def __init__(
        self,
        *,
        store: Store,
        settings: ZonesSettings,
        rules: Callable[[], Rules],
        locations: Locations,
        offers: OfferBook | None = None,
        is_esme: Callable[[str], bool] = lambda number: False,
    ) -> None:
        """`rules`: as they are now; `is_esme`: whether a number belongs to an application and so is nowhere."""
        self._store = store
        self._clock = store.clock
        self._settings = settings
        self._rules = rules
        self._locations = locations
        self._offers = offers
        self._is_esme = is_esme
        self._last: OrderedDict[tuple[str, int], Last] = OrderedDict()  # (number, policy)
        self._senders: OrderedDict[tuple[int, int], Truth] = OrderedDict()  # (message, policy)
        self._whole: OrderedDict[tuple[object, ...], tuple[int, Verdict]] = (
            OrderedDict()
        )  # parts -> (until, verdict)
        self._minute = 0
        self._unknowns = 0

    # ------------------------------------------------------------------------------------------------ asking

    def examine(self, message: Message, ingress: Ingress, stage: Stage) -> Verdict | Awaitable[Verdict]:
        """See `check.Check`."""
        now = self._clock.now_ms()
        rules = self._rules()
        cases = rules.cases(
            message,
            stage,
            now,
            sender_locatable=ingress.role is not IngressRole.ESME,
            recipient_locatable=not self._is_esme(message.recipient),
        )
        if not cases:
            return ACCEPT
        if message.part_total > 1:
            known = self._whole.get(_whole_key(message, stage))
            if known is not None and now < known[0]:
                return known[1]
            return self._decide_whole(message, ingress, stage, cases)
        if all(case.bypass for case in cases):
            decisions = [judge(case, self._given(message, now, {}, {}, case)) for case in cases]
            return self._conclude(message, ingress.version, decisions)
        sightings = self._at_once(cases, stage)
        if sightings is None or self._must_read(cases, stage, message):
            return self._decide(message, ingress, stage, cases)
        decisions = [judge(case, self._given(message, now, sightings, {}, case)) for case in cases]
        if any(decision.act in (Act.HOLD, Act.OFFER) for decision in decisions):
            return self._decide(message, ingress, stage, cases)
        return self._conclude(message, ingress.version, decisions)

    def _at_once(self, cases: list[Case], stage: Stage) -> dict[str, Sighting] | None:
        """Every sighting that is wanted, if memory has them all."""
        sightings: dict[str, Sighting] = {}
        for number, max_age_s in self._wanted(cases, stage).items():
            known = self._locations.known(number, max_age_s)
            if known is None:
                return None
            sightings[number] = known
        return sightings

    def _wanted(self, cases: list[Case], stage: Stage) -> dict[str, int]:
        """number -> greatest age of a fix that will do, in seconds."""
        wanted: dict[str, int] = {}
        for case in cases:
            if case.bypass:
                continue
            for role, party in case.parties.items():
                if party.wanted and not (role is Role.RECIPIENT and stage is Stage.SUBMIT):
                    age = case.policy.model.max_age_s
                    wanted[party.number] = min(age, wanted.get(party.number, age))
        return wanted

    def _must_read(self, cases: list[Case], stage: Stage, message: Message) -> bool:
        """True if the sender's state at submit is wanted and not in memory."""
        return stage is Stage.ATTEMPT and any(
            Role.SENDER in case.parties
            and case.parties[Role.SENDER].concerned
            and (message.id, case.policy.number) not in self._senders
            for case in cases
        )

    async def _decide(self, message: Message, ingress: Ingress, stage: Stage, cases: list[Case]) -> Verdict:
        """Ask for what is not known, then judge."""
        location = self._settings.location
        first = stage is Stage.SUBMIT and not message.id  # an answer is waited for
        budget = location.submit_budget_ms if first else location.attempt_budget_ms
        recorded = await self._recorded(message, stage, cases)
        sightings: dict[str, Sighting] = {}
        started = self._clock.now_ms()
        for number, max_age_s in self._wanted(cases, stage).items():
            left = max(0, budget - (self._clock.now_ms() - started))
            sightings[number] = await self._locations.locate(number, max_age_s=max_age_s, budget_ms=left)
        now = self._clock.now_ms()
        late = [number for number, sighting in sightings.items() if sighting.reason == Reason.TIMEOUT]
        if first and any(self._locations.asking(number) for number in late):
            return Verdict(
                Action.HOLD, check=CHECK, reason="location-pending", until=now, pending=True,
                evidence={"waited_ms": budget},
            )  # fmt: skip
        decisions = [judge(case, self._given(message, now, sightings, recorded, case)) for case in cases]
        for at, decision in enumerate(decisions):
            if decision.act is Act.OFFER:
                decisions[at] = await self._with_offer(message, cases[at], decision, sightings, recorded)
            if decisions[at].act in (Act.HOLD, Act.OFFER) and await self._too_many_held(message):
                decisions[at].act, decisions[at].reason = Act.BLOCK, "too-many-held"
        return self._conclude(message, ingress.version, decisions)

    async def _with_offer(
        self,
        message: Message,
        case: Case,
        decision: Decision,
        sightings: Mapping[str, Sighting],
        recorded: Mapping[int, Truth],
    ) -> Decision:
        """Deliver if the recipient said YES since the message came; ask if nobody did lately."""
        if self._offers is None:
            return decision
        number, policy = message.recipient, decision.policy
        try:
            if await self._offers.accepted(number, policy.number, message.submitted_at):
                return judge(
                    case, self._given(message, decision.at, sightings, recorded, case, accepted=True)
                )
            if policy.model.enforced:
                await self._offers.offer(number, policy)
        except Exception as error:  # the database or the way out: the message is held, and asked about again
            log.warning("zones.offer-failed", error=type(error).__name__)
        return decision

    async def _too_many_held(self, message: Message) -> bool:
        """True if so many earlier messages wait for the recipient that this one may not."""
        most = self._settings.max_held
        before = message.id or 1 << 62
        try:
            rows = await self._store.fetch(
                tables.COUNT_HELD,
                number=message.recipient,
                reason=QueueReason.HELD,
                before=before,
                limit=most,
            )
        except Exception as error:  # better one too many than one lost
            log.warning("zones.held-not-counted", error=type(error).__name__)
            return False
        return len(rows) >= most

    def _given(
        self,
        message: Message,
        now: int,
        sightings: Mapping[str, Sighting],
        recorded: Mapping[int, Truth],
        case: Case,
        *,
        accepted: bool = False,
    ) -> Given:
        by_role: dict[Role, Sighting] = {}
        last: dict[Role, Last] = {}
        for role, party in case.parties.items():
            if party.number in sightings:
                by_role[role] = sightings[party.number]
            known = self._last.get((party.number, case.policy.number))
            if known is not None:
                last[role] = known
        number = case.policy.number
        return Given(
            at=now,
            submitted_at=message.submitted_at,
            sightings=by_role,
            last=last,
            recorded_sender=recorded.get(number, self._senders.get((message.id, number))),
            offer_accepted=accepted,
            floors_m=self._locations.floors_m,
            home_plmns=self._settings.home_plmns,
        )

    # ------------------------------------------------------------------------------------------------ memory

    async def _recorded(self, message: Message, stage: Stage, cases: list[Case]) -> dict[int, Truth]:
        """policy -> the sender's state at submit, from the evidence of the message."""
        if not self._must_read(cases, stage, message):
            return {}
        try:
            rows = await self._store.fetch(tables.EVIDENCE_OF, ids=[message.id])
        except Exception as error:
            log.warning("zones.evidence-unreadable", error=type(error).__name__)
            return {}
        found: dict[int, Truth] = {}
        for row in rows:
            for record in read_record(message.id, row["detail"]):
                party = record.parties.get(Role.SENDER)
                if record.stage == Stage.SUBMIT.value and party is not None:
                    found[int(record.policy_id.rpartition("_")[2])] = party.truth
        for policy, truth in found.items():
            _remember(self._senders, (message.id, policy), truth)
        return found

    def _note(self, decisions: list[Decision], message: Message) -> None:
        """Remember states against noise, and count."""
        for decision in decisions:
            _decided.labels(decision.truth.value, decision.act.value).inc()
            for found in decision.parties:
                if found.truth in (Truth.IN, Truth.OUT) and found.fix is not None:
                    number = message.sender if found.role is Role.SENDER else message.recipient
                    _remember(self._last, (number, decision.policy.number), Last(found.truth, decision.at))
            if decision.truth is Truth.UNKNOWN:
                _unknown.labels(decision.reason).inc()
                self._alarm(decision)

    def _alarm(self, decision: Decision) -> None:
        """Many unknown locations within a minute: somebody must look, messages may be passing unlooked."""
        minute = decision.at // MINUTE_MS
        if minute != self._minute:
            self._minute, self._unknowns = minute, 0
        self._unknowns += 1
        if self._unknowns == self._settings.alarm_unknown:
            log.error(
                "zones.many-unknown",
                within_minute=self._unknowns,
                reason=decision.reason,
                act=decision.act.value,
            )

    def last_of(self, number: str, policy: int) -> Last | None:
        """The state of a number under a policy when it was last judged."""
        return self._last.get((number, policy))

    def noted(self, number: str, policy: int, truth: Truth, at: int) -> None:
        """A new fix was judged outside a message (`holds.py`)."""
        _remember(self._last, (number, policy), Last(truth, at))

    # ------------------------------------------------------------------------------------------------ parts

    async def _decide_whole(
        self, message: Message, ingress: Ingress, stage: Stage, cases: list[Case]
    ) -> Verdict:
        """One decision for all parts: a message never arrives in half."""
        now = self._clock.now_ms()
        passed = await self._sibling_passed(message, stage, now)
        if passed is not None:
            verdict = passed
        elif all(case.bypass for case in cases):
            decisions = [judge(case, self._given(message, now, {}, {}, case)) for case in cases]
            verdict = self._conclude(message, ingress.version, decisions)
        else:
            verdict = await self._decide(message, ingress, stage, cases)
        until = now + self._settings.multipart_s * 1000
        if verdict.action in (Action.HOLD, Action.THROTTLE):
            until = verdict.until  # asked again then, and each time a fix comes (`forget_parts`)
        key = _whole_key(message, stage)
        known = self._whole.get(key)
        if known is not None and now < known[0] and known[1].action is not Action.HOLD:
            return known[1]  # another part was decided while this one was asked about
        _remember(self._whole, key, (until, verdict))
        return verdict

    async def _sibling_passed(self, message: Message, stage: Stage, now: int) -> Verdict | None:
        """What was decided about another part before this node knew of it, in an earlier life or elsewhere."""
        try:
            siblings = await self._store.fetch(
                tables.SIBLINGS,
                recipient=message.recipient,
                sender=message.sender,
                after=id_at(max(0, (message.submitted_at or now) - self._settings.multipart_s * 1000)),
                part_reference=message.part_reference,
                part_total=message.part_total,
            )
            others = [int(row["id"]) for row in siblings if int(row["id"]) != message.id]
            rows = await self._store.fetch(tables.EVIDENCE_OF, ids=others) if others else []
        except Exception as error:
            log.warning("zones.evidence-unreadable", error=type(error).__name__)
            return None
        for row in reversed(rows):
            records = [one for one in read_record(row["message"], row["detail"]) if one.stage == stage.value]
            if records and all(one.act in _PASSING for one in records):
                evidence: dict[str, object] = {"whole": str(row["message"])}
                return Verdict(Action.ACCEPT, check=CHECK, reason="another-part-passed", evidence=evidence)
        return None

    def forget_parts(self, number: str) -> None:
        """A new fix of a number: what is held or blocked in parts is judged again, with its next attempt."""
        stopped = [key for key, (_, verdict) in self._whole.items() if verdict.action > Action.FLAG]
        for key in stopped:
            if number in key[:2]:
                del self._whole[key]

    # ------------------------------------------------------------------------------------------------ verdicts

    def _conclude(self, message: Message, version: int, decisions: list[Decision]) -> Verdict:
        """One verdict of all decisions: the strongest that is enforced; all of them are evidence."""
        self._note(decisions, message)
        enforced = [decision for decision in decisions if decision.policy.model.enforced]
        strongest = min(enforced or decisions, key=lambda decision: _STRENGTH.index(decision.act))
        if not self._settings.log_inside and all(decision.act is Act.PASS for decision in decisions):
            return ACCEPT
        evidence: dict[str, object] = {
            "decisions": [
                facts_of(decision, decimals=self._settings.log_decimals, snapshot=self._rules().revision)
                for decision in decisions
            ]
        }
        return verdict_of(strongest, message, version, evidence)


_VERSION_5_0 = 0x50
_ACTIONS: Mapping[Act, Action] = {
    Act.PASS: Action.ACCEPT,
    Act.RECORD: Action.ACCEPT,
    Act.TAG: Action.FLAG,
    Act.DIVERT: Action.DIVERT,
    Act.HOLD: Action.HOLD,
    Act.OFFER: Action.HOLD,
    Act.BLOCK: Action.REJECT,
}


def verdict_of(decision: Decision, message: Message, version: int, evidence: Mapping[str, object]) -> Verdict:
    """A decision in the words of the message path; `version` of the peer's SMPP."""
    model = decision.policy.model
    facts = dict(evidence)
    action, until, status, public = _ACTIONS[decision.act], 0, 0, ""
    veiled = decision.act is Act.BLOCK and model.visibility is Visibility.GENERIC
    if decision.act is Act.TAG:
        facts["tag"] = model.tag
    elif action is Action.HOLD:
        until = min(decision.until or message.expires_at, message.expires_at)
    elif action is Action.REJECT and not veiled:
        status = Status.ESME_RPROHIBITED if version >= _VERSION_5_0 else Status.ESME_RSUBMITFAIL
        public = "outside the zone of this service"
    return Verdict(
        action, CHECK, decision.reason, status, public, facts, model.enforced, until, veiled=veiled
    )  # fmt: skip


def _whole_key(message: Message, stage: Stage) -> tuple[object, ...]:
    place = (message.part_reference, message.part_total)
    return (message.sender, message.recipient, message.account, stage, *place)


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
