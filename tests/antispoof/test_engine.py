"""The judgement: a row for each case of the notes, and what no combination of failures may ever lead to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from spoof_center import ANNA, START_MS, A, B, C, an_exemption, book

from restante.antispoof.engine import Book, Facts, Judgement, Reason, Verdict, judge
from restante.antispoof.senders import fold
from restante.antispoof.switches import SwitchModel, read_address
from restante.message import Role
from restante.signaling.affiliations import Found
from restante.signaling.registers import Affiliation, ServedBy, Status

GT1, GT2 = "e164_gt:447700900001", "e164_gt:447700900002"


def found(*addresses: str, status: Status = Status.ATTACHED, **more: Any) -> Found:
    kept = {key: more.pop(key) for key in ("cached", "stale", "failure", "age_ms") if key in more}
    previous = tuple(read_address(one) for one in more.pop("previous", ()))
    places = tuple(read_address(one) for one in addresses)
    affiliation = Affiliation(status, places, "hlr", START_MS, previous=previous, **more)
    return Found(
        affiliation,
        kept.get("age_ms", 0),
        kept.get("cached", False),
        kept.get("stale", False),
        kept.get("failure", ""),
    )


def judged(
    said: Book | None = None, trusted: str = A, sender: str = ANNA, role: Role = Role.SWITCH, **more: Any
) -> Judgement:
    facts = Facts(
        role=role,
        account=more.pop("account", "msc"),
        sender=sender,
        at=START_MS,
        link=read_address(trusted) if trusted else None,
        named=read_address(more.pop("named")) if "named" in more else None,
        fresh=more.pop("fresh", True),
        **more,
    )
    return judge(facts, said or book())


def verdict(*args: Any, **more: Any) -> tuple[str, str]:
    one = judged(*args, **more)
    assert not one.ask
    assert not one.recheck, one
    return one.verdict.value, one.reason.value


def test_the_switch_that_serves_the_sender() -> None:
    assert verdict(found=found(A)) == ("genuine", "exact")
    assert verdict(found=found(B, A)) == ("genuine", "exact")  # circuit and packet side
    assert verdict(found=found(B)) == ("spoofed", "switch_mismatch")


def test_two_names_of_one_switch() -> None:
    said = book({"one": [A, GT1, "diameter_host:mme.home.net"], "two": [B, GT2]})
    assert verdict(said, found=found(GT1)) == ("genuine", "exact")
    assert verdict(said, "diameter_host:MME.home.NET.", found=found(GT1)) == ("genuine", "exact")
    assert verdict(said, found=found(GT2)) == ("spoofed", "switch_mismatch")
    assert verdict(said, found=found("e164_gt:+447700900001")) == ("genuine", "exact")


def test_what_nobody_can_compare_accuses_nobody() -> None:
    """A number and a name, of switches that nobody registered, or of one whose numbers nobody gave."""
    assert verdict(trusted=GT1, found=found(A)) == ("unverifiable", "no_trusted")
    assert verdict(trusted=GT1, found=found(GT2)) == (
        "unverifiable",
        "no_trusted",
    )  # MSC and VLR number, perhaps
    assert verdict(book({"one": [A]}), GT1, found=found(A)) == ("unverifiable", "no_trusted")
    assert verdict(book({"one": [A, GT2]}), GT1, found=found(A)) == ("spoofed", "switch_mismatch")
    assert verdict(trusted="", found=found(A)) == ("unverifiable", "no_trusted")


def test_pools_and_prefixes() -> None:
    said = book({"one": [A], "two": [B], "three": [C, "e164_gt:4477009*"]}, groups={"pool": ["one", "two"]})
    assert verdict(said, found=found(B)) == ("genuine", "group")
    assert verdict(said, found=found(C)) == ("spoofed", "switch_mismatch")
    assert verdict(said, GT2, found=found(C)) == ("genuine", "exact")


def test_the_switch_of_a_moment_ago() -> None:
    moved: dict[str, Any] = {"previous": [A], "changed_at": START_MS - 89_000}
    assert verdict(found=found(B, **moved)) == ("genuine", "grace")
    long_ago: dict[str, Any] = {**moved, "changed_at": START_MS - 91_000}
    assert verdict(found=found(B, **long_ago)) == ("spoofed", "switch_mismatch")
    assert verdict(trusted=C, found=found(B, **moved)) == ("spoofed", "switch_mismatch")
    gone = found(status=Status.ABSENT, **moved)
    assert verdict(found=gone) == ("genuine", "grace")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(Status.ABSENT, "absent"), (Status.PURGED, "absent"), (Status.UNKNOWN, "unknown_subscriber")],
)
def test_nobody_serves_the_sender(status: Status, reason: str) -> None:
    assert verdict(found=found(status=status)) == ("unverifiable", reason)


def test_memory_accuses_nobody() -> None:
    remembered = judged(found=found(B, cached=True), fresh=False)
    assert remembered.recheck
    away = verdict(found=found(B, cached=True), fresh=False, failure="timeout")
    assert away == ("unverifiable", "timeout")
    stale = verdict(found=found(B, cached=True, stale=True, failure="down"), fresh=False)
    assert stale == ("unverifiable", "register_down")
    assert verdict(found=found(A, cached=True, stale=True, failure="down"), fresh=False) == (
        "genuine",
        "exact",
    )
    assert judged(fresh=False).ask


@pytest.mark.parametrize(
    ("failure", "reason"),
    [("down", "register_down"), ("breaker", "register_down"), ("busy", "register_down"), ("timeout", "timeout"),
     ("budget", "budget"), ("no-register", "off_net"), ("whatever", "register_down")],
)  # fmt: skip
def test_no_answer(failure: str, reason: str) -> None:
    assert verdict(failure=failure, fresh=False) == ("unverifiable", reason)


def test_a_register_speaks_only_for_its_own() -> None:
    assert verdict(found=found(B, authoritative=False)) == ("unverifiable", "off_net")
    assert verdict(sender="+4915112345678", found=found(B)) == ("unverifiable", "off_net")
    other = {"name": "other", "number_ranges": ["+49151"], "authoritative": True}
    assert verdict(book(networks=[other]), sender="+4915112345678", found=found(B)) == (
        "spoofed",
        "switch_mismatch",
    )


def test_numbers_that_moved() -> None:
    out = book(ported=[{"number": ANNA}])
    assert verdict(out, found=found(B)) == ("unverifiable", "off_net")
    home = book(
        networks=[{"name": "home", "own": True}], ported=[{"number": "+4915112345*", "network": "home"}]
    )
    assert verdict(home, sender="+4915112345678", found=found(B)) == ("spoofed", "switch_mismatch")
    later = book(ported=[{"number": ANNA, "valid_from": "2099-01-01T00:00:00Z"}])
    assert verdict(later, found=found(B)) == ("spoofed", "switch_mismatch")


def test_roaming_is_judged_by_network() -> None:
    visited = {"name": "visited", "gt_prefixes": ["4916"]}
    home = {"name": "home", "own": True, "gt_prefixes": ["4477"], "number_ranges": ["+4477"]}
    said = book(networks=[visited, home])
    assert verdict(said, "e164_gt:491600001", found=found("e164_gt:491600002")) == ("genuine", "network")
    assert verdict(said, "e164_gt:491600001", found=found(GT1)) == ("spoofed", "switch_mismatch")
    own = book({"one": [GT1], "two": [GT2]}, networks=[visited, home])
    assert verdict(own, GT1, found=found(GT2)) == ("spoofed", "switch_mismatch")


def test_behind_a_router_nothing_is_known() -> None:
    said = book({"router": [GT2], "msc": [GT1, A]}, kinds={"router": {"kind": "router"}})
    assert verdict(said, found=found(GT2)) == ("unverifiable", "home_routed")
    ims = found(B)
    gateway = ims.affiliation.addresses[0]._replace(node=ServedBy.IP_SM_GW)
    routed = ims._replace(affiliation=Affiliation(Status.ATTACHED, (gateway,), "hlr", START_MS))
    assert verdict(found=routed) == ("unverifiable", "home_routed")
    home = book(networks=[{"name": "n", "own": True, "number_ranges": ["+4477"], "home_routed": True}])
    assert verdict(home, found=found(B)) == ("unverifiable", "home_routed")
    card: dict[str, Any] = {"imsi": "001010000000009", "found": found(A, imsi="001010000000001")}
    assert verdict(home, **card) == ("genuine", "exact")


def test_another_card() -> None:
    card: dict[str, Any] = {"imsi": "001010000000009", "found": found(A, imsi="001010000000001")}
    assert verdict(**card) == ("spoofed", "imsi_mismatch")
    assert judged(**card, fresh=False).recheck
    assert verdict(**card, fresh=False, failure="down") == ("genuine", "exact")
    multi = book(exemptions=[{"kind": "imsi-prefix", "value": "00101"}])
    assert verdict(multi, **card) == ("exempt", "exemption")
    assert verdict(imsi="001010000000009", found=found(A)) == ("genuine", "exact")


def test_a_switch_that_is_merely_named() -> None:
    gateway = book({"gw": ["smpp_account:gw"], "a": [A]}, kinds={"gw": {"kind": "gateway"}})
    named: dict[str, Any] = {"trusted": "smpp_account:gw", "named": A, "found": found(A)}
    assert verdict(gateway, **named) == ("genuine", "exact")
    assert verdict(**named, agreed=True) == ("genuine", "exact")
    assert verdict(**named) == ("spoofed", "asserted_switch_untrusted")
    strict = book({"a": [A]}, kinds={"a": {"trust": "authenticated"}})
    assert verdict(strict, **named, agreed=True) == ("spoofed", "asserted_switch_untrusted")
    assert verdict(strict, found=found(A)) == ("genuine", "exact")
    never = book({"a": [A]}, kinds={"a": {"trust": "untrusted"}})
    assert verdict(never, found=found(A)) == ("spoofed", "asserted_switch_untrusted")
    off = book({"a": [A]}, kinds={"a": {"trust": "untrusted", "enabled": False}})
    assert verdict(off, found=found(A)) == ("genuine", "exact")


def test_other_operators() -> None:
    peer: dict[str, Any] = {"role": Role.INTERCONNECT, "account": "peer", "trusted": "", "fresh": False}
    assert verdict(**peer) == ("spoofed", "own_number_from_outside")
    assert verdict(book(ported=[{"number": ANNA}]), **peer) == ("unverifiable", "off_net")
    partner = book(networks=[{"name": "them", "number_ranges": ["+49"], "partners": ["peer"]}])
    assert verdict(partner, **peer | {"sender": "+4915112345678"}) == ("genuine", "rule")
    assert verdict(partner, **peer | {"sender": "+4915112345678", "account": "hub"}) == (
        "unverifiable",
        "off_net",
    )
    assert verdict(**peer | {"sender": "@Shop"}) == ("not-applicable", "no_number")
    assert verdict(sender="12345") == ("not-applicable", "no_number")


def test_applications() -> None:
    app: dict[str, Any] = {"role": Role.ESME, "trusted": "", "account": "shop", "fresh": False}
    assert verdict(**app) == ("not-applicable", "application")
    rules = book(rules=[{"account": "shop", "pattern": "@Shop", "allow": True}])
    assert verdict(rules, **app | {"sender": "@Shop"}) == ("genuine", "rule")
    assert verdict(rules, **app | {"sender": "@Other"}) == ("spoofed", "sender_not_allowed")
    assert verdict(rules, **app | {"account": "else", "sender": "@Other"}) == (
        "not-applicable",
        "application",
    )
    deny = book(rules=[{"account": "*", "pattern": "+4477009*", "allow": False},
                       {"account": "shop", "pattern": ANNA, "allow": True}])  # fmt: skip
    assert verdict(deny, **app | {"account": "else"}) == ("spoofed", "sender_not_allowed")
    assert verdict(deny, **app) == ("genuine", "rule")


@pytest.mark.parametrize(
    "name", ["MyBank", "МуВаnk", "mybank", "MyB4nk", "My-Bank", "rnyBank", "MyBänk", "MyBank\u200b", "Ⓜybank"]
)
def test_names_that_pass_for_a_protected_one(name: str) -> None:
    said = book(protected=[{"name": "MyBank", "owners": ["bank"]}])
    app: dict[str, Any] = {"role": Role.ESME, "trusted": "", "sender": "@" + name}
    assert verdict(said, **app, account="shop") == ("spoofed", "protected_name")
    assert verdict(said, **app, account="bank")[0] != "spoofed"
    assert (
        verdict(said, role=Role.INTERCONNECT, trusted="", account="peer", sender="@" + name)[0] == "spoofed"
    )


def test_names_that_do_not() -> None:
    said = book(protected=[{"name": "MyBank", "owners": ["bank"]}, {"name": "Post", "within": True}])
    app: dict[str, Any] = {"role": Role.ESME, "trusted": "", "account": "shop"}
    assert verdict(said, **app, sender="@MyBakery")[0] != "spoofed"
    assert verdict(said, **app, sender="@MyBankInfo")[0] != "spoofed"
    assert verdict(said, **app, sender="@Die Post")[0] == "spoofed"
    assert fold("@LLOYDS") != fold("@Loud")


def test_exemptions() -> None:
    for kind, value in (
        ("number", "+447700900*"),
        ("account", "msc"),
        ("switch", "one"),
        ("network", "home"),
    ):
        said = book(
            {"one": [A]},
            networks=[{"name": "home", "own": True, "number_ranges": ["+4477"]}],
            exemptions=[{"kind": kind, "value": value}],
        )
        assert verdict(said, found=found(B)) == ("exempt", "exemption"), kind
    forged = book({"one": [A]}, exemptions=[{"kind": "switch", "value": "one"}])
    link: dict[str, Any] = {"trusted": "smpp_account:gw", "named": A, "found": found(B)}
    assert verdict(forged, **link) == ("spoofed", "asserted_switch_untrusted")  # naming it gains nothing


@pytest.mark.parametrize(
    "fields",
    [{"reason": ""}, {"reason": "   "}, {"expires_at": None}, {"value": "4477*", "kind": "imsi-prefix"}],
)
def test_an_exemption_says_why_and_until_when(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        an_exemption(1, {"kind": "number", "value": ANNA, **fields})


def test_addresses_have_one_spelling() -> None:
    model = SwitchModel.model_validate(
        {
            "name": "x",
            "addresses": [{"type": "e164_gt", "value": " +4477 "}, {"type": "ip", "value": "10.0.0.7/8"}],
        }
    )
    assert [one.value for one in model.addresses] == ["4477", "10.0.0.0/8"]
    for bad in (
        {"type": "e164_gt", "value": "44x"},
        {"type": "ipa_name", "value": "A", "prefix": True},
        {"type": "ip", "value": "no"},
    ):
        with pytest.raises(ValidationError):
            SwitchModel.model_validate({"name": "x", "addresses": [bad]})


ADDRESSES = st.sampled_from([A, B, C, GT1, GT2, "e164_gt:491600001", "smpp_account:gw", "diameter_host:mme"])
ANSWERS = st.builds(
    found,
    ADDRESSES,
    status=st.sampled_from([Status.ATTACHED]),
    authoritative=st.booleans(),
    cached=st.booleans(),
    stale=st.booleans(),
    failure=st.sampled_from(["", "down", "timeout"]),
    imsi=st.sampled_from(["", "001010000000001", "001010000000002"]),
)
NOBODY = st.sampled_from([found(status=one) for one in Status if one is not Status.ATTACHED])
BOOKS = st.sampled_from(
    [
        book(),
        book({"one": [A, GT1], "two": [B, GT2]}),
        book({"one": [A], "two": [B]}, groups={"pool": ["one", "two"]}),
        book({"gw": ["smpp_account:gw"]}, kinds={"gw": {"kind": "gateway"}}),
        book(networks=[{"name": "n", "own": True, "number_ranges": ["+4477"], "gt_prefixes": ["4477"]}]),
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    said=BOOKS,
    trusted=ADDRESSES,
    answer=st.one_of(st.none(), ANSWERS, NOBODY),
    failure=st.sampled_from(
        ["", "down", "breaker", "timeout", "budget", "busy", "refused", "no-register", "new"]
    ),
    fresh=st.booleans(),
    imsi=st.sampled_from(["", "001010000000001"]),
)
def test_only_a_fresh_authoritative_positive_answer_accuses(
    said: Book, trusted: str, answer: Found | None, failure: str, fresh: bool, imsi: str
) -> None:
    """No combination of what registers may fail at yields SPOOFED."""
    one = judged(said, trusted, found=answer, failure=failure, fresh=fresh, imsi=imsi)
    if one.verdict is Verdict.SPOOFED and one.reason is not Reason.ASSERTED_SWITCH_UNTRUSTED:
        assert answer is not None
        assert fresh
        assert not answer.stale
        assert answer.affiliation.authoritative
        assert answer.affiliation.status is Status.ATTACHED
        named = {(place.type, place.value) for place in answer.affiliation.addresses}
        spelled = read_address(trusted)
        assert one.reason is Reason.IMSI_MISMATCH or (spelled.type, spelled.value) not in named
