"""Where a message came from, as far as the link it came over may say so.

In charge of: the switch that an SMPP link is or may name, taking what it names out of the message into the ingress,
and stripping the same optional parameters where nobody may name anything. Not in charge of: authenticating the link
(`listener.py`), or what a switch means for a message (`antispoof/`).

Theory. Trust belongs to the link, never to a field. A link of role `switch` is the switch itself, unless the operator
says that it is a gateway (`switch_tlvs` of its account): then it may name switches, in the parameters that were agreed
with it. On every other link these parameters are claims of strangers: they are stripped, so that neither a check nor a
peer further on takes them for more, and counted.

Sources: SMPP 5.0 §4.8 (source_network_id, source_node_id); notes/antispoof.md 3.2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import replace

from ..access.accounts import Account, SwitchTlvs
from ..message import Ingress, Message, Role
from ..metrics import counter
from ..signaling.registers import AddressType, address
from .smpp import tlv

__all__ = ["ASSERTED_IMSI", "ASSERTED_SWITCH", "Identity", "spelled", "trusted_name"]

_stripped = counter(
    "identity", "stripped_tlvs", "Parameters that name a switch, taken off a message", ("why",)
)
_not_allowed = _stripped.labels("not-allowed")
_malformed = _stripped.labels("malformed")

#: Names in `Ingress.asserted`.
ASSERTED_SWITCH = "switch"  #: "e164_gt:447700900001"
ASSERTED_IMSI = "imsi"

#: Different claims of all links that are remembered; gateways have few switches behind them.
REMEMBERED = 4096

_STANDARD = frozenset((tlv.Tag.source_node_id.value, tlv.Tag.source_network_id.value))


def spelled(kind: AddressType, value: str) -> str:
    """An address as `Ingress` and evidence write it."""
    return f"{kind.value}:{value}"


def trusted_name(account: Account) -> str:
    """What the center itself knows of the switch behind an account; "" if there is none."""
    return spelled(AddressType.SMPP_ACCOUNT, account.system_id) if account.role is Role.SWITCH else ""


class Identity:
    """What SMPP peers may say about the origin of their messages. Lives on the event loop."""

    def __init__(self, reserved: Iterable[int] = ()) -> None:
        """`reserved`: further tags that only the center itself may put into a message."""
        self._reserved = frozenset(reserved)
        self._tags = _STANDARD | self._reserved
        self._derived: OrderedDict[tuple[str, str, str], Ingress] = OrderedDict()

    def use(self, accounts: Collection[Account]) -> None:
        """Know every tag in which any account names switches: from the others these are stripped."""
        tags = set(_STANDARD | self._reserved)
        for account in accounts:
            if account.switch_tlvs is not None:
                tags |= account.switch_tlvs.tags
        self._tags = frozenset(tags)

    def settle(self, draft: Message, account: Account, ingress: Ingress) -> Ingress:
        """Take what names a switch out of a draft; the ingress of this message, which says what was allowed."""
        given = [(tag, value) for tag, value in tlv.parse(draft.tlvs) if tag in self._tags]
        if not given:
            return ingress
        draft.tlvs = tlv.strip(draft.tlvs, *{tag for tag, _ in given})
        rules = account.switch_tlvs
        agreed = rules.tags - self._reserved if rules is not None else frozenset[int]()
        strange = sum(tag not in agreed for tag, _ in given)
        if strange:
            _not_allowed.inc(strange)
        if rules is None or strange == len(given):
            return ingress
        switch, imsi = _claims(given, rules)
        return self._with(ingress, switch, imsi) if switch or imsi else ingress

    def _with(self, ingress: Ingress, switch: str, imsi: str) -> Ingress:
        key = (ingress.encoded, switch, imsi)
        known = self._derived.get(key)
        if known is None:
            claims = {ASSERTED_SWITCH: switch, ASSERTED_IMSI: imsi}
            asserted = {name: value for name, value in claims.items() if value}
            known = self._derived[key] = replace(ingress, asserted=asserted, encoded="")
            if len(self._derived) > REMEMBERED:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(key)
        return known


def _claims(given: Iterable[tuple[int, bytes]], rules: SwitchTlvs) -> tuple[str, str]:
    """Switch and IMSI; what cannot be one is left out, and a parameter that comes twice says nothing."""
    values: dict[int, str] = {}
    twice: set[int] = set()
    for tag, value in given:
        if tag in values:
            twice.add(tag)
        values[tag] = value.partition(b"\0")[0].decode("latin-1").strip()
    for tag in twice:
        del values[tag]
    _malformed.inc(len(twice))
    node = values.get(rules.node, "")
    network = values.get(rules.network, "") if rules.network is not None else ""
    imsi = values.get(rules.imsi, "") if rules.imsi is not None else ""
    switch = ""
    if node:
        named = f"{network}/{node}" if network and rules.type == "node_id" else node
        try:
            found = address(AddressType(rules.type), named)
        except ValueError:
            _malformed.inc()
        else:
            if found.value.isprintable():
                switch = spelled(found.type, found.value)
            else:
                _malformed.inc()
    if imsi and not (imsi.isascii() and imsi.isdecimal() and len(imsi) <= 15):
        _malformed.inc()
        imsi = ""
    return switch, imsi
