"""The anti-spoofing check: the switch that a message came through against the one that serves its sender.

In charge of: gathering the facts about a message, asking registers within the deadline, carrying the ruling out as a
verdict of the check's seam, and handing evidence on. Not in charge of: the judgement (`engine.py`), what follows from
it (`policy.py`), registers and their memory (`signaling/affiliations.py`).

Theory. Nearly every message comes from a sender over a link over which it came before. So a genuine verdict is kept by
(ingress, sender) together with the very answer of the register that it rests on: while memory still has that
same answer, and nobody edited anything, it holds, at the price of two look-ups in dictionaries. Everything else is
judged anew, at once if memory has the answer, else in a task of that message alone.

How it fails: a register is away, slow, over its budget -> UNVERIFIABLE with that reason, never SPOOFED. This check has
a bug -> screening records it and the message goes on.

Sources: issue "anti-spoofing" sections 3 and 4; behaviour.md 4.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from ..check import ACCEPT, Action, Stage
from ..check import Verdict as CheckVerdict
from ..message import Ingress, Message, NumberKind, Role, number_kind
from ..metrics import counter, histogram
from ..signaling.affiliations import Affiliations
from ..signaling.registers import Affiliation, RegisterUnavailable, SwitchAddress, Who
from ..smsc.identity import ASSERTED_IMSI, ASSERTED_SWITCH, spelled
from ..smsc.limits import TokenBucket
from ..smsc.smpp import tlv
from ..smsc.smpp.command_status import CommandStatus as Status
from .engine import Book, Facts, Judgement, Reason, Verdict, judge
from .evidence import CHECK
from .inbox import Inbox
from .policy import Act, FallBack, Policies, Policy
from .settings import SpoofSettings
from .switches import Place, read_address

__all__ = ["SpoofCheck", "facts_of"]

log = structlog.get_logger(__name__)

_verdicts = counter("antispoof", "verdicts", "Verdicts", ("role", "verdict", "reason"))
_actions = counter("antispoof", "actions", "What followed from verdicts", ("role", "action", "mode"))
_cleared = counter("antispoof", "recheck_cleared", "Senders whom a fresh answer cleared")
_grace = counter("antispoof", "grace_hits", "Messages through the switch that served the sender before")
_waited = histogram("antispoof", "wait_seconds", "How long messages waited for registers")

_CLASSES = frozenset({Role.ESME, Role.SWITCH, Role.INTERCONNECT})
#: Verdicts that hold as long as the register's answer and what operators said.
_LASTING = frozenset(
    {Reason.EXACT, Reason.GROUP, Reason.NETWORK, Reason.RULE, Reason.APPLICATION, Reason.NO_NUMBER}
)
_QUIET = frozenset({Verdict.GENUINE, Verdict.NOT_APPLICABLE})
_PUBLIC = "source address not allowed"
MOST_PARTS = 20_000
MINUTE_NS = 60_000_000_000


@dataclass(slots=True)
class _Tally:
    """Messages of one link with one verdict that were let pass by memory."""

    passed: int
    until_sample: int


@dataclass(slots=True)
class _Known:
    """A genuine verdict, and what it rests on."""

    who: Who | None  #: None: no register was needed
    affiliation: Affiliation | None
    tally: _Tally


@dataclass(slots=True)
class _Case:
    """One message under judgement."""

    message: Message
    ingress: Ingress
    account: str
    policy: Policy
    facts: Facts
    began_ns: int
    rechecked: bool = False


class SpoofCheck:
    """One check, at submission. Lives on the event loop."""

    name = CHECK
    stages = frozenset({Stage.SUBMIT})

    def __init__(
        self,
        *,
        settings: SpoofSettings,
        now_ms: Callable[[], int],
        book: Callable[[], Book],
        policies: Callable[[], Policies],
        affiliations: Affiliations,
        account_name: Callable[[int], str],
        names_switches: Callable[[int], bool],
        record: Callable[[Mapping[str, Any]], None],
        inbox: Inbox,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`account_name`: system_id by number; `names_switches`: whether that was agreed with the account.

        `record` takes evidence; `book` and `policies` are the present ones, `forget` is called when they change.
        """
        self._settings = settings
        self._now_ms = now_ms
        self._book = book
        self._policies = policies
        self._affiliations = affiliations
        self._current = affiliations.current
        self._account_name = account_name
        self._names_switches = names_switches
        self._record = record
        self._inbox = inbox
        self._monotonic_ns = monotonic_ns
        self.fall_back = FallBack()
        self._known: dict[tuple[str, str], _Known] = {}
        self._tallies: dict[tuple[Role, str, Verdict, Reason], _Tally] = {}
        self._parts: OrderedDict[tuple[object, ...], tuple[int, Judgement]] = OrderedDict()
        self._buckets: dict[tuple[str, int], TokenBucket] = {}
        self._addresses: dict[str, SwitchAddress | None] = {}

    # ------------------------------------------------------------------------------------------------ asking

    def examine(
        self, message: Message, ingress: Ingress, stage: Stage
    ) -> CheckVerdict | Awaitable[CheckVerdict]:
        """See `check.Check`."""
        known = self._known.get((ingress.encoded, message.sender))
        if known is not None:
            who = known.who
            if who is None or self._current(who) is known.affiliation:
                tally = known.tally
                tally.until_sample -= 1
                if tally.until_sample:
                    tally.passed += 1
                    return ACCEPT
        if message.id or ingress.role not in _CLASSES:  # judged when it came, or the center's own
            return ACCEPT
        return self._judge(message, ingress)

    def _judge(self, message: Message, ingress: Ingress) -> CheckVerdict | Awaitable[CheckVerdict]:
        account = self._account_name(ingress.account) or ingress.name
        case = _Case(
            message=message,
            ingress=ingress,
            account=account,
            policy=self._policies().of(ingress.role, account),
            facts=self.facts(message.sender, ingress, account),
            began_ns=self._monotonic_ns(),
        )
        case.facts = replace(case.facts, grace_ms=case.policy.model.grace_s * 1000)
        if message.part_total > 1:
            whole = self._parts.get(_whole(message, ingress))
            if whole is not None and self._now_ms() < whole[0]:
                return self._conclude(case, whole[1])
        judgement = judge(case.facts, self._book())
        if judgement.ask or judgement.recheck:
            return self._ask(case, judgement)
        return self._conclude(case, judgement)

    def facts(self, sender: str, ingress: Ingress, account: str) -> Facts:
        """What is known at once."""
        asserted = ingress.asserted
        needs = ingress.role is not Role.ESME and number_kind(sender) is NumberKind.E164
        return Facts(
            role=ingress.role,
            account=account,
            sender=sender,
            at=self._now_ms(),
            link=self._address(ingress.trusted),
            named=self._address(asserted.get(ASSERTED_SWITCH, "")),
            agreed=self._names_switches(ingress.account),
            imsi=asserted.get(ASSERTED_IMSI, ""),
            found=self._affiliations.peek(Who(sender[1:])) if needs else None,
        )

    def _address(self, text: str) -> SwitchAddress | None:
        """An address as the ingress writes it; what cannot be read is none. Links and their switches are few."""
        if not text:
            return None
        if text not in self._addresses:
            if len(self._addresses) >= 10_000:
                self._addresses.clear()
            try:
                self._addresses[text] = read_address(text)
            except ValueError:
                self._addresses[text] = None
        return self._addresses[text]

    async def _ask(self, case: _Case, judgement: Judgement) -> CheckVerdict:
        began = self._monotonic_ns()
        case.facts, judgement, case.rechecked = await self.ask(
            case.facts, judgement, f"{case.account} {case.ingress.trusted}"
        )
        _waited.observe((self._monotonic_ns() - began) / 1e9)
        if case.rechecked and judgement.verdict is Verdict.GENUINE:
            _cleared.inc()
        return self._conclude(case, judgement)

    async def ask(
        self,
        facts: Facts,
        judgement: Judgement,
        link: str,
        note: Callable[[str, str], None] = lambda step, says: None,
    ) -> tuple[Facts, Judgement, bool]:
        """Ask registers until there is a conclusion, within the deadline. True: an accusation was asked about again."""
        who = Who(facts.sender[1:])
        ends_ns = self._monotonic_ns() + self._settings.deadline_ms * 1_000_000
        rechecked = False
        for _ in range(2):
            rechecked = rechecked or judgement.recheck
            left_s = (ends_ns - self._monotonic_ns()) / 1e9
            try:
                if left_s <= 0:
                    raise RegisterUnavailable("timeout")
                found = await self._affiliations.find(
                    who, link=link, fresh=judgement.recheck, deadline_s=left_s
                )
            except RegisterUnavailable as unavailable:
                facts = replace(facts, failure=unavailable.reason, fresh=False)
            else:
                fresh = not found.cached and not found.stale
                facts = replace(facts, found=found, failure=found.failure, fresh=fresh, at=self._now_ms())
            judgement = judge(facts, self._book(), note)
            if not (judgement.ask or judgement.recheck):
                break
        return facts, judgement, rechecked

    # ------------------------------------------------------------------------------------------------ concluding

    def _conclude(self, case: _Case, judgement: Judgement) -> CheckVerdict:
        role, account, policy, now = case.ingress.role, case.account, case.policy, self._now_ms()
        verdict, reason = judgement.verdict, judgement.reason
        _verdicts.labels(role.value, verdict.value, reason.value).inc()
        if reason is Reason.GRACE:
            _grace.inc()
        if case.message.part_total > 1:
            self._remember_parts(case, judgement, now)
        weight = 1 + self._take_tallies(role, account)
        if self.fall_back.count(account, policy, verdict, reason, now, weight):
            log.error(
                "spoof.fell-back-to-monitor", alarm=True, link=account, policy=policy.id, reason=reason.value
            )
        for place, side in (
            (judgement.place, "trusted"),
            *((one, "affiliated") for one in judgement.affiliated),
        ):
            if place is not None and place.switch is None:
                self._inbox.notice(place, account, side, now)
        if verdict in _QUIET:
            return self._let_pass(case, judgement)
        act = policy.act(verdict, reason)
        enforced = policy.enforced and not self.fall_back.active(account, now)
        if act is Act.THROTTLE and enforced:
            wait = self._bucket(account, policy).take(self._monotonic_ns())
            act = Act.THROTTLE if wait else Act.FLAG
        _actions.labels(role.value, act.value, "enforce" if enforced else "monitor").inc()
        return self._verdict(case, judgement, act, enforced, now)

    def _let_pass(self, case: _Case, judgement: Judgement) -> CheckVerdict:
        """Genuine, or nothing to judge: remember it, and leave evidence of one in so many."""
        role, account, sample = case.ingress.role, case.account, case.policy.model.sample
        key = (role, account, judgement.verdict, judgement.reason)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally(0, sample or -1)
        if tally.until_sample:  # else the short way has counted this message already
            tally.until_sample -= 1
        sampled = tally.until_sample == 0
        if sampled:
            tally.until_sample = sample or -1
        if judgement.reason in _LASTING:
            self._remember(case, tally)
        if not sampled:
            return ACCEPT
        return self._verdict(case, judgement, Act.ACCEPT, True, self._now_ms())

    def _remember(self, case: _Case, tally: _Tally) -> None:
        who = affiliation = None
        if case.facts.found is not None:
            who = Who(case.facts.sender[1:])
            affiliation = self._current(who)
            if affiliation is None or affiliation is not case.facts.found.affiliation:
                return
        if len(self._known) >= self._settings.remembered:
            self._known.clear()
        self._known[case.ingress.encoded, case.message.sender] = _Known(who, affiliation, tally)

    def _remember_parts(self, case: _Case, judgement: Judgement, now: int) -> None:
        """One verdict for all parts of a message."""
        key = _whole(case.message, case.ingress)
        if key not in self._parts:
            self._parts[key] = (now + self._settings.multipart_s * 1000, judgement)
            if len(self._parts) > MOST_PARTS:
                self._parts.popitem(last=False)
        elif now >= self._parts[key][0]:
            self._parts[key] = (now + self._settings.multipart_s * 1000, judgement)

    def _bucket(self, account: str, policy: Policy) -> TokenBucket:
        rate = policy.model.throttle_per_minute
        key = (account, rate)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate / 60, rate)
        return bucket

    def _verdict(self, case: _Case, judgement: Judgement, act: Act, enforced: bool, now: int) -> CheckVerdict:
        facts = facts_of(case.facts, judgement, case.policy, self._book().revision)
        message, ingress = case.message, case.ingress
        facts |= {
            "at": now,
            "action": act.value,
            "enforced": enforced,
            "door": ingress.door,
            "peer": ingress.peer,
            "authenticated": ingress.authenticated,
            "sender_raw": f"{message.source.ton}/{message.source.npi}/{message.source.digits}",
            "recipient": message.recipient,
            "rechecked": case.rechecked,
            "latency_us": (self._monotonic_ns() - case.began_ns) // 1000,
        }
        more: dict[str, Any] = {}
        if act is Act.FLAG:
            mark = f"{judgement.verdict.value}/{judgement.reason.value}"
            more["tlvs"] = tlv.one(self._settings.verdict_tag, mark.encode() + b"\0")
        elif act is Act.QUARANTINE:
            more["until"] = now + case.policy.model.quarantine_s * 1000
        elif act is Act.REJECT:
            more |= {"status": Status.ESME_RINVSRCADR, "public": _PUBLIC}
        elif act is Act.THROTTLE:
            more |= {"status": Status.ESME_RTHROTTLED, "public": "throttled"}
        return CheckVerdict(
            _ACTIONS[act],
            check=CHECK,
            reason=judgement.reason.value,
            evidence=facts,
            enforced=enforced,
            answered=partial(self._answered, facts),
            **more,
        )

    def _answered(self, facts: Mapping[str, Any], message: Message, status: int) -> None:
        self._record({**facts, "message": message.id, "status": status})

    # ------------------------------------------------------------------------------------------------ chores

    def _take_tallies(self, role: Role, account: str) -> int:
        """Messages of a link that memory let pass since they were counted last."""
        passed = 0
        for verdict, reason in ((v, r) for v in _QUIET for r in _LASTING):
            tally = self._tallies.get((role, account, verdict, reason))
            if tally is not None and tally.passed:
                _verdicts.labels(role.value, verdict.value, reason.value).inc(tally.passed)
                passed += tally.passed
                tally.passed = 0
        return passed

    def count(self) -> None:
        """Bring the figures up to date; called every second."""
        now = self._now_ms()
        for role, account in {(role, account) for role, account, _, _ in self._tallies}:
            passed = self._take_tallies(role, account)
            if passed:
                policy = self._policies().of(role, account)
                self.fall_back.count(account, policy, Verdict.GENUINE, Reason.EXACT, now, passed)

    def forget(self) -> None:
        """What operators said has changed: judge everything anew."""
        self._known.clear()
        self._parts.clear()
        self.count()
        self._tallies.clear()


_ACTIONS: Mapping[Act, Action] = {
    Act.ACCEPT: Action.ACCEPT,
    Act.FLAG: Action.FLAG,
    Act.QUARANTINE: Action.QUARANTINE,
    Act.THROTTLE: Action.THROTTLE,
    Act.REJECT: Action.REJECT,
    Act.DROP: Action.DROP,
}


def _whole(message: Message, ingress: Ingress) -> tuple[object, ...]:
    """What all parts of a message share."""
    return ingress.encoded, message.sender, message.recipient, message.part_reference, message.part_total


def _place(place: Place) -> dict[str, str]:
    switch = place.switch
    return {
        "address": spelled(place.address.type, place.address.value),
        "node": place.address.node.value,
        "switch": switch.model.name if switch is not None else "",
        "switch_id": switch.id if switch is not None else "",
    }


def facts_of(facts: Facts, judgement: Judgement, policy: Policy, revision: int) -> dict[str, Any]:
    """A judgement as evidence: both sides raw and resolved, and how good each is. No message text."""
    found, affiliation = facts.found, facts.found.affiliation if facts.found is not None else None
    link = facts.link
    return {
        "link": facts.account,
        "role": facts.role.value,
        "sender": facts.sender,
        "trusted": spelled(judgement.place.address.type, judgement.place.address.value)
        if judgement.place
        else "",
        "verdict": judgement.verdict.value,
        "reason": judgement.reason.value,
        "trusted_switch": judgement.place.switch.model.name
        if judgement.place and judgement.place.switch
        else "",
        "trusted_by": "gateway" if facts.named is not None else "link" if link is not None else "",
        "link_address": spelled(link.type, link.value) if link is not None else "",
        "affiliated": [_place(one) for one in judgement.affiliated],
        "previous": [spelled(one.type, one.value) for one in affiliation.previous] if affiliation else [],
        "changed_at": affiliation.changed_at if affiliation else None,
        "register": affiliation.source if affiliation else "",
        "register_status": affiliation.status.value if affiliation else "",
        "register_age_ms": found.age_ms if found else None,
        "authoritative": affiliation.authoritative if affiliation else None,
        "cached": found.cached if found else None,
        "stale": found.stale if found else None,
        "fresh": facts.fresh,
        "failure": facts.failure,
        "imsi": facts.imsi,
        "imsi_of_register": affiliation.imsi if affiliation else "",
        "own": judgement.home.own if judgement.home else None,
        "network": judgement.home.network.model.name if judgement.home and judgement.home.network else "",
        "ported": judgement.home.ported if judgement.home else None,
        "detail": judgement.detail,
        "policy": policy.id,
        "policy_version": policy.version,
        "revision": revision,
    }
