"""The verdict: a pure function of facts.

In charge of: what is concluded from who sent what over which link and what a register said, with every step on
request. Not in charge of: getting the facts (`check.py`), what follows from a verdict (`policy.py`).

Theory. There are five verdicts. SPOOFED is an accusation and needs a positive fact: a rule of ours that is broken, or a
register that is responsible for the sender, was asked just now, and names switches that are known to be others than
the one the message came through. Whatever a register does not say, says late, or said a while ago, ends as UNVERIFIABLE
with the reason; an old answer may acquit. Before an accusation that rests on memory the judgement asks for
a fresh answer (`recheck`).

The order: exemptions; names; the account's sender rules; then by the class of the link. A link of handsets is judged by
switch: is its claim believable, whose number is it, does the register speak for it, is the switch one of those that
serve the sender now, or one that did until a moment ago; at last the IMSI. A link of another operator must not bring
numbers of ours.

Sources: US 8,121,624 (abstract); notes/antispoof.md 2.3, 2.4, 5.1; behaviour.md 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ..message import NumberKind, Role, number_kind
from ..signaling.affiliations import Found
from ..signaling.registers import Affiliation, ServedBy, Status, SwitchAddress
from .exemptions import ExemptionTable
from .networks import Home, NetworkTable
from .senders import Permit, SenderTable
from .switches import Place, Relation, SwitchKind, SwitchTable, Trust

__all__ = ["GRACE_MS", "Book", "Facts", "Judgement", "Reason", "Step", "Verdict", "judge"]

GRACE_MS = 90_000  #: for which a switch that served the sender before still counts


class Verdict(StrEnum):
    """What is concluded."""

    GENUINE = "genuine"
    SPOOFED = "spoofed"
    UNVERIFIABLE = "unverifiable"
    EXEMPT = "exempt"
    NOT_APPLICABLE = "not-applicable"


class Reason(StrEnum):
    """Why."""

    # genuine
    EXACT = "exact"  #: the switch that serves the sender
    GROUP = "group"  #: one that counts as that switch
    NETWORK = "network"  #: another of the same network, where switches are not known one by one
    GRACE = "grace"  #: the switch that served the sender until a moment ago
    RULE = "rule"  #: a sender rule, a partner of the sender's network
    # spoofed
    SWITCH_MISMATCH = "switch_mismatch"
    OWN_NUMBER_FROM_OUTSIDE = "own_number_from_outside"
    SENDER_NOT_ALLOWED = "sender_not_allowed"
    PROTECTED_NAME = "protected_name"
    IMSI_MISMATCH = "imsi_mismatch"
    ASSERTED_SWITCH_UNTRUSTED = "asserted_switch_untrusted"
    # unverifiable
    NO_TRUSTED = (
        "no_trusted"  #: nobody knows the switch it came through, or what it has to do with the others
    )
    OFF_NET = "off_net"  #: no register is responsible for the sender
    ABSENT = "absent"
    UNKNOWN_SUBSCRIBER = "unknown_subscriber"
    REGISTER_DOWN = "register_down"
    TIMEOUT = "timeout"
    BUDGET = "budget"
    HOME_ROUTED = "home_routed"
    # exempt, not applicable
    EXEMPTION = "exemption"
    NO_NUMBER = "no_number"  #: a name or short code through a switch
    APPLICATION = "application"  #: an application's own sender, which the account's sources allow


#: Accusations that rest on a register.
ON_A_REGISTER = frozenset({Reason.SWITCH_MISMATCH, Reason.IMSI_MISMATCH})

_BY_FAILURE = {
    "down": Reason.REGISTER_DOWN,
    "breaker": Reason.REGISTER_DOWN,
    "refused": Reason.REGISTER_DOWN,
    "busy": Reason.REGISTER_DOWN,
    "timeout": Reason.TIMEOUT,
    "budget": Reason.BUDGET,
    "no-register": Reason.OFF_NET,
}

_BY_RELATION = {Relation.SAME: Reason.EXACT, Relation.GROUP: Reason.GROUP}


@dataclass(frozen=True, slots=True)
class Book:
    """Everything operators said, compiled. Never changed once made."""

    switches: SwitchTable = field(default_factory=SwitchTable)
    networks: NetworkTable = field(default_factory=NetworkTable)
    senders: SenderTable = field(default_factory=SenderTable)
    exemptions: ExemptionTable = field(default_factory=ExemptionTable)
    revision: int = 0  #: of the registry, for evidence


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one message. `found` None and no failure: nobody was asked so far."""

    role: Role
    account: str  #: system_id
    sender: str  #: normal form
    at: int = 0  #: UTC epoch milliseconds
    link: SwitchAddress | None = None  #: the switch that the link itself is
    named: SwitchAddress | None = None  #: the switch that the link names
    agreed: bool = False  #: the operator agreed with the link that it names switches
    imsi: str = ""  #: of the sender, as the switch says
    found: Found | None = None  #: what a register or memory said
    failure: str = ""  #: why no register answered
    fresh: bool = False  #: a register was asked for this very message, and what it said is `found`
    grace_ms: int = GRACE_MS


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a judgement, for people."""

    step: str
    says: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The conclusion, and what a check must do before it is one."""

    verdict: Verdict
    reason: Reason
    ask: bool = False  #: no conclusion: a register must be asked
    recheck: bool = False  #: no conclusion: it must be asked again, fresh
    place: Place | None = None  #: the switch the message came through
    affiliated: tuple[Place, ...] = ()
    home: Home | None = None
    detail: str = ""  #: the exemption, the protected name


Note = Callable[[str, str], None]


def _silent(step: str, says: str) -> None:
    """Nobody wants the steps."""


_ASK = Judgement(Verdict.UNVERIFIABLE, Reason.TIMEOUT, ask=True)


def judge(facts: Facts, book: Book, note: Note = _silent) -> Judgement:
    """Conclude. `note` is told every step."""
    place, believed = _place(facts, book)
    home = book.networks.home(facts.sender)
    if place is not None:
        note("trusted switch", _told(place) + ("" if believed else ", which this link must not name"))
    else:
        note("trusted switch", "unknown")
    exempt = book.exemptions.find(
        sender=facts.sender,
        account=facts.account,
        switch=place.switch.model.name if place is not None and place.switch is not None and believed else "",
        network=home.network.model.name if home.network is not None else "",
        imsi=facts.found.affiliation.imsi if facts.found is not None else "",
    )
    if exempt is not None:
        note("exemption", f"{exempt.model.name}: {exempt.model.reason}")
        return Judgement(Verdict.EXEMPT, Reason.EXEMPTION, place=place, home=home, detail=exempt.id)
    ruled = _by_rules(facts, book, note)
    if ruled is not None:
        return replace(ruled, place=place, home=home)
    if facts.role is Role.SWITCH:
        judged = _by_switch(facts, book, place, believed, home, note)
    elif facts.role is Role.INTERCONNECT:
        judged = _by_network(facts, book, place, believed, home, note)
    else:
        judged = Judgement(Verdict.NOT_APPLICABLE, Reason.APPLICATION)
    return replace(judged, place=place, home=home)


def _place(facts: Facts, book: Book) -> tuple[Place | None, bool]:
    """The switch it came through, and whether the link may say so."""
    table = book.switches
    link = table.place(facts.link) if facts.link is not None else None
    if facts.named is None or facts.named == facts.link:
        if link is None:
            return None, False
        return link, link.switch is None or link.switch.model.trust is not Trust.UNTRUSTED
    named = table.place(facts.named)
    gateway = link is not None and link.switch is not None and link.switch.model.kind is SwitchKind.GATEWAY
    if not (facts.agreed or gateway):
        return named, False
    return named, named.switch is None or named.switch.model.trust is Trust.ASSERTED


def _told(place: Place) -> str:
    of = f" of {place.switch.model.name}" if place.switch is not None else ", which is not registered"
    return f"{place.address.type.value}:{place.address.value}{of}"


def _by_rules(facts: Facts, book: Book, note: Note) -> Judgement | None:
    """Names and sender rules: what needs no register."""
    kind = number_kind(facts.sender)
    if kind is NumberKind.ALPHANUMERIC:
        protected = book.senders.protected(facts.sender)
        if protected is not None and facts.account not in protected.model.owners:
            note("protected name", f"passes for {protected.model.name}, which this account does not own")
            return Judgement(Verdict.SPOOFED, Reason.PROTECTED_NAME, detail=protected.model.name)
        note("protected name", "none" if protected is None else "the account owns it")
    permit = book.senders.permit(facts.account, facts.sender)
    note("sender rules", permit.value)
    if permit is Permit.REFUSED:
        return Judgement(Verdict.SPOOFED, Reason.SENDER_NOT_ALLOWED)
    if facts.role is Role.ESME and permit is Permit.ALLOWED:
        return Judgement(Verdict.GENUINE, Reason.RULE)
    return None


def _by_network(
    facts: Facts, book: Book, place: Place | None, believed: bool, home: Home, note: Note
) -> Judgement:
    """A message of another operator."""
    if number_kind(facts.sender) is not NumberKind.E164:
        return Judgement(Verdict.NOT_APPLICABLE, Reason.NO_NUMBER)
    note("number", _belongs(home))
    if home.own:
        return Judgement(Verdict.SPOOFED, Reason.OWN_NUMBER_FROM_OUTSIDE)
    if home.authoritative and place is not None:
        return _by_switch(facts, book, place, believed, home, note)
    partners = home.network.model.partners if home.network is not None else ()
    if facts.account in partners:
        note("partner", "messages of this network come through this link")
        return Judgement(Verdict.GENUINE, Reason.RULE)
    return Judgement(Verdict.UNVERIFIABLE, Reason.OFF_NET)


def _belongs(home: Home) -> str:
    whose = (
        home.network.model.name
        if home.network is not None
        else ("own ranges" if home.own else "somebody else")
    )
    return f"belongs to {whose}" + (" (ported)" if home.ported else "")


def _by_switch(
    facts: Facts, book: Book, place: Place | None, believed: bool, home: Home, note: Note
) -> Judgement:
    """A message of a handset: the pillar."""
    if number_kind(facts.sender) is not NumberKind.E164:
        return Judgement(Verdict.NOT_APPLICABLE, Reason.NO_NUMBER)
    if place is None:
        return Judgement(Verdict.UNVERIFIABLE, Reason.NO_TRUSTED)
    if not believed:
        return Judgement(Verdict.SPOOFED, Reason.ASSERTED_SWITCH_UNTRUSTED)
    note("number", _belongs(home))
    if not home.authoritative:
        return Judgement(Verdict.UNVERIFIABLE, Reason.OFF_NET)
    if facts.found is None and not facts.failure:
        return _ASK
    if facts.found is None:
        note("register", f"no answer: {facts.failure}")
        return Judgement(Verdict.UNVERIFIABLE, _BY_FAILURE.get(facts.failure, Reason.REGISTER_DOWN))
    return _compare(facts, facts.found, book, place, home, note)


def _compare(facts: Facts, found: Found, book: Book, place: Place, home: Home, note: Note) -> Judgement:
    """The switch it came through against those that serve the sender."""
    affiliation = found.affiliation
    said = ", ".join(f"{one.type.value}:{one.value}" for one in affiliation.addresses) or "nobody"
    how = "stale" if found.stale else "asked now" if facts.fresh else "remembered"
    note(
        "register",
        f"{affiliation.source}: {affiliation.status.value}, served by {said} ({how}, {found.age_ms} ms)",
    )
    places = tuple(book.switches.place(one) for one in affiliation.addresses)
    match = _match(place, places, book, home)
    hidden = _is_hidden(affiliation, places, home, book)
    if match is not None:
        return _with_imsi(
            facts, found, Judgement(Verdict.GENUINE, match, affiliated=places), hidden, home, note
        )
    if _in_grace(facts, affiliation, place, book):
        note("grace", "this switch served the sender until a moment ago")
        return Judgement(Verdict.GENUINE, Reason.GRACE, affiliated=places)
    if hidden:
        return Judgement(Verdict.UNVERIFIABLE, Reason.HOME_ROUTED, affiliated=places)
    innocent = _unproven(facts, found, place, places, book)
    if innocent is not None:
        if _worth_asking(facts, found, innocent):
            note("recheck", "memory says otherwise: the register must be asked again")
            return Judgement(Verdict.UNVERIFIABLE, innocent, recheck=True, affiliated=places)
        return Judgement(Verdict.UNVERIFIABLE, innocent, affiliated=places)
    return Judgement(Verdict.SPOOFED, Reason.SWITCH_MISMATCH, affiliated=places)


def _match(place: Place, places: tuple[Place, ...], book: Book, home: Home) -> Reason | None:
    """Why it is the right switch, the best reason first."""
    relations = {book.switches.relation(place, one) for one in places}
    for relation, reason in _BY_RELATION.items():
        if relation in relations:
            return reason
    network = book.networks.of_place(place)
    if network is None or network.by_switch:
        return None
    return Reason.NETWORK if any(book.networks.of_place(one) is network for one in places) else None


def _is_hidden(affiliation: Affiliation, places: tuple[Place, ...], home: Home, book: Book) -> bool:
    """Whether the register names a router instead of the switch."""
    if home.network is not None and home.network.model.home_routed:
        return True
    return any(
        one.node is ServedBy.IP_SM_GW or (place.switch is not None and place.switch.hides)
        for one, place in zip(affiliation.addresses, places, strict=True)
    )


def _in_grace(facts: Facts, affiliation: Affiliation, place: Place, book: Book) -> bool:
    """Whether the switch served the sender until a moment ago."""
    changed_at = affiliation.changed_at
    if changed_at is None or facts.at - changed_at >= facts.grace_ms:
        return False
    before = (book.switches.place(one) for one in affiliation.previous)
    return any(book.switches.relation(place, one) in _BY_RELATION for one in before)


def _unproven(
    facts: Facts, found: Found, place: Place, places: tuple[Place, ...], book: Book
) -> Reason | None:
    """What keeps a difference from being an accusation; None: nothing does."""
    affiliation = found.affiliation
    if found.stale or not facts.fresh:
        return _BY_FAILURE.get(found.failure or facts.failure, Reason.REGISTER_DOWN)
    if not affiliation.authoritative:
        return Reason.OFF_NET
    if affiliation.status is Status.UNKNOWN:
        return Reason.UNKNOWN_SUBSCRIBER
    if affiliation.status is not Status.ATTACHED or not places:
        return Reason.ABSENT
    if any(not _differs(place, one, book) for one in places):
        return Reason.NO_TRUSTED
    return None


def _differs(place: Place, other: Place, book: Book) -> bool:
    """Whether two addresses are known to be two switches."""
    if book.switches.relation(place, other) is Relation.OTHER:
        return True
    mine, theirs = book.networks.of_place(place), book.networks.of_place(other)
    return mine is not None and theirs is not None and mine.number != theirs.number


def _worth_asking(facts: Facts, found: Found, innocent: Reason) -> bool:
    """Whether a fresh answer could change anything: not if it is one already, or if nobody answered just now."""
    return not facts.fresh and not found.stale and not facts.failure


def _with_imsi(
    facts: Facts, found: Found, judged: Judgement, hidden: bool, home: Home, note: Note
) -> Judgement:
    """The switch is right; is it the sender's own card?"""
    known = found.affiliation.imsi
    if not facts.imsi or not known or facts.imsi == known or hidden:
        return judged
    if found.stale or not found.affiliation.authoritative:
        return judged
    note("imsi", "the register has another IMSI for this number")
    if not facts.fresh:
        if facts.failure:  # it was to be asked again and did not answer
            return judged
        return replace(judged, recheck=True)
    return replace(judged, verdict=Verdict.SPOOFED, reason=Reason.IMSI_MISMATCH)
