"""What a link may say about the origin of its messages: named switches, and what is stripped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from restante.access.accounts import Account, AccountModel
from restante.message import Address, Ingress, Message, Role
from restante.metrics import REGISTRY
from restante.smsc.identity import Identity, trusted_name
from restante.smsc.smpp import tlv

OURS = 0x1552
OTHER = tlv.one(tlv.Tag.user_message_reference, 7)


def an_account(role: str = "switch", **fields: Any) -> Account:
    return Account(3, AccountModel.model_validate({"system_id": "gw", "role": role, **fields}))


def settled(account: Account, tlvs: bytes, *others: Account) -> tuple[Ingress, bytes]:
    identity = Identity([OURS])
    identity.use([account, *others])
    draft = Message(Address(1, 1, "4477"), Address(1, 1, "4478"), tlvs=tlvs)
    ingress = Ingress("smpp", 3, Role(account.role), "gw", trusted=trusted_name(account))
    return identity.settle(draft, account, ingress), draft.tlvs


def stripped(why: str) -> float:
    return REGISTRY.get_sample_value("restante_identity_stripped_tlvs_total", {"why": why}) or 0.0


NODE = tlv.one(tlv.Tag.source_node_id, b"000017")
NETWORK = tlv.one(tlv.Tag.source_network_id, b"net1\0")


def test_a_switch_is_itself_and_an_application_is_none() -> None:
    assert trusted_name(an_account()) == "smpp_account:gw"
    assert trusted_name(an_account("esme")) == ""
    assert trusted_name(an_account("interconnect")) == ""


def test_an_ordinary_account_names_nothing() -> None:
    before = stripped("not-allowed")
    ingress, left = settled(an_account("esme"), NODE + OTHER + NETWORK)
    assert (dict(ingress.asserted), left) == ({}, OTHER)
    assert stripped("not-allowed") == before + 2


def test_a_switch_that_is_no_gateway_names_nothing() -> None:
    ingress, left = settled(an_account(), NODE)
    assert (dict(ingress.asserted), ingress.trusted, left) == ({}, "smpp_account:gw", b"")


def test_vendor_tags_of_one_account_are_stripped_from_the_others() -> None:
    gateway = an_account(switch_tlvs={"node": 0x1403, "type": "ipa_name"})
    vendor = tlv.one(0x1403, b"MSC-A\0")
    ingress, left = settled(an_account("esme"), vendor, gateway)
    assert (dict(ingress.asserted), left) == ({}, b"")
    ingress, left = settled(an_account("esme"), vendor)  # nobody uses it: any vendor's, none of our business
    assert (dict(ingress.asserted), left) == ({}, vendor)


@pytest.mark.parametrize(
    ("rules", "tlvs", "asserted"),
    [
        ({}, NODE, {"switch": "node_id:000017"}),
        ({"network": 0x060D}, NODE + NETWORK, {"switch": "node_id:net1/000017"}),
        ({"type": "e164_gt"}, tlv.one(0x060F, b"447700900001"), {"switch": "e164_gt:447700900001"}),
        (
            {"node": 0x1400, "type": "diameter_host"},
            tlv.one(0x1400, b"MME.Home.NET\0"),
            {"switch": "diameter_host:mme.home.net"},
        ),
        (
            {"imsi": 0x1401},
            NODE + tlv.one(0x1401, b"001010000000001\0"),
            {"switch": "node_id:000017", "imsi": "001010000000001"},
        ),
        ({"imsi": 0x1401}, tlv.one(0x1401, b"00101x"), {}),
        ({"type": "e164_gt"}, tlv.one(0x060F, b"MSC-A"), {}),
        ({"type": "ipa_name"}, tlv.one(0x060F, b"MSC\x07A"), {}),
        ({}, NODE + tlv.one(0x060F, b"000018"), {}),
        ({}, tlv.one(0x060F, b""), {}),
    ],
)  # fmt: skip
def test_a_gateway_names_switches(rules: dict[str, Any], tlvs: bytes, asserted: dict[str, str]) -> None:
    ingress, left = settled(an_account(switch_tlvs=rules), OTHER + tlvs)
    assert (dict(ingress.asserted), left) == (asserted, OTHER)
    assert ingress.trusted == "smpp_account:gw"
    assert Ingress.decode(ingress.encoded) == ingress


def test_the_centers_own_mark_comes_from_nobody_else() -> None:
    gateway = an_account(switch_tlvs={"node": OURS, "type": "ipa_name"})
    ingress, left = settled(gateway, tlv.one(OURS, b"genuine"))
    assert (dict(ingress.asserted), left) == ({}, b"")


def test_one_ingress_for_one_claim() -> None:
    identity, account = Identity(), an_account(switch_tlvs={})
    identity.use([account])
    ingress = Ingress("smpp", 3, Role.SWITCH, "gw")
    drafts = [Message(Address(1, 1, "1"), Address(1, 1, "2"), tlvs=NODE) for _ in range(2)]
    first, second = (identity.settle(draft, account, ingress) for draft in drafts)
    assert first is second


@given(
    st.lists(
        st.tuples(st.sampled_from([0x060F, 0x060D, 0x1401, 0x0204, OURS]), st.binary(max_size=70)), max_size=6
    )
)
def test_nothing_that_names_a_switch_passes(pairs: list[tuple[int, bytes]]) -> None:
    gateway = an_account(switch_tlvs={"network": 0x060D, "imsi": 0x1401})
    for account in (gateway, an_account("esme"), an_account("interconnect")):
        ingress, left = settled(account, tlv.build(pairs), gateway)
        assert {tag for tag, _ in tlv.parse(left)} <= {0x0204}
        assert account is gateway or not ingress.asserted
        assert Ingress.decode(ingress.encoded) == ingress


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "esme", "switch_tlvs": {}},
        {"role": "interconnect", "switch_tlvs": {}},
        {"switch_tlvs": {"node": 0x0204}},
        {"switch_tlvs": {"node": 0x1400, "imsi": 0x1400}},
        {"switch_tlvs": {"type": "ip"}},
    ],
)
def test_what_an_account_may_not_say(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AccountModel.model_validate({"system_id": "gw", "role": "switch", **fields})
