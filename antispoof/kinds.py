"""The kinds of objects this room gives to the registry.

In charge of: what the registry must refuse about switches, networks, rules and exemptions as they refer to each other,
and what the editor is told. Not in charge of: the models themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..registry.documents import Problem, pointer
from ..registry.versioned import ObjectKind, Stored, View
from .exemptions import Exemption, ExemptionKind, ExemptionModel
from .networks import Network, NetworkModel, Ported, PortedModel
from .policy import Mode, Policy, PolicyModel
from .senders import Protected, ProtectedModel, SenderRule, SenderRuleModel, fold
from .switches import Group, GroupModel, Switch, SwitchModel

__all__ = ["SpoofKinds"]


@dataclass(slots=True, init=False)
class SpoofKinds:
    """Registered together in `serve.py`, in this order."""

    network: ObjectKind[NetworkModel, Network]
    switch: ObjectKind[SwitchModel, Switch]
    group: ObjectKind[GroupModel, Group]
    ported: ObjectKind[PortedModel, Ported]
    sender_rule: ObjectKind[SenderRuleModel, SenderRule]
    protected: ObjectKind[ProtectedModel, Protected]
    exemption: ObjectKind[ExemptionModel, Exemption]
    policy: ObjectKind[PolicyModel, Policy]

    def __init__(self) -> None:
        self.network = ObjectKind(
            "network", "net", NetworkModel, lambda m: m.name, Network.of, refuse=self._refuse_network
        )
        self.switch = ObjectKind(
            "switch", "swi", SwitchModel, lambda m: m.name, Switch.of, refuse=self._refuse_switch
        )
        self.group = ObjectKind(
            "switch-group", "swg", GroupModel, lambda m: m.name, Group.of, refuse=self._refuse_group
        )
        self.ported = ObjectKind(
            "ported-number", "por", PortedModel, lambda m: m.number, Ported.of, refuse=self._refuse_ported
        )
        self.sender_rule = ObjectKind(
            "sender-rule", "srl", SenderRuleModel, lambda m: m.name, SenderRule.of, refuse=self._refuse_rule
        )
        self.protected = ObjectKind(
            "protected-sender", "pse", ProtectedModel, lambda m: m.name, Protected.of,
            refuse=self._refuse_protected,
        )  # fmt: skip
        self.exemption = ObjectKind(
            "spoof-exemption", "spx", ExemptionModel, lambda m: m.name, Exemption.of,
            warn=_ended, refuse=self._refuse_exemption,
        )  # fmt: skip
        self.policy = ObjectKind("spoof-policy", "spo", PolicyModel, lambda m: m.name, Policy.of, warn=_acts)

    def all(self) -> tuple[ObjectKind[Any, Any], ...]:
        """Every kind, in order of registration."""
        return (
            self.network,
            self.switch,
            self.group,
            self.ported,
            self.sender_rule,
            self.protected,
            self.exemption,
            self.policy,
        )

    def _refuse_network(
        self, before: Stored[NetworkModel] | None, after: Stored[NetworkModel] | None, view: View
    ) -> Iterable[Problem]:
        if before is not None and (after is None or after.key != before.key):
            for switch in view.values(self.switch):
                if switch.value.network == before.key:
                    yield Problem("/name", "network-in-use", f"the switch {switch.key} is in it")
            for ported in view.values(self.ported):
                if ported.value.network == before.key:
                    yield Problem("/name", "network-in-use", f"the number {ported.key} was ported to it")
                    return

    def _refuse_switch(
        self, before: Stored[SwitchModel] | None, after: Stored[SwitchModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is not None:
            yield from self._known_network(after.value.network, view)
            mine = {
                (one.type, one.value, one.prefix): index for index, one in enumerate(after.value.addresses)
            }
            for other in view.values(self.switch):
                if other.number == after.number:
                    continue
                for one in other.value.addresses:
                    index = mine.get((one.type, one.value, one.prefix))
                    if index is not None:
                        text = f"{one.type.value}:{one.value} belongs to {other.key}"
                        yield Problem(pointer(("addresses", index)), "address-taken", text)
        if before is not None and (after is None or after.key != before.key):
            for group in view.values(self.group):
                if before.key in group.value.members:
                    yield Problem("/name", "switch-in-use", f"the group {group.key} names it")

    def _refuse_group(
        self, before: Stored[GroupModel] | None, after: Stored[GroupModel] | None, view: View
    ) -> Iterable[Problem]:
        for index, name in enumerate(after.value.members if after is not None else ()):
            if view.by_key(self.switch, name) is None:
                yield Problem(pointer(("members", index)), "no-such-switch", f"there is no switch {name}")

    def _refuse_ported(
        self, before: Stored[PortedModel] | None, after: Stored[PortedModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is not None:
            yield from self._known_network(after.value.network, view)

    def _known_network(self, name: str, view: View) -> Iterable[Problem]:
        if name and view.by_key(self.network, name) is None:
            yield Problem("/network", "no-such-network", f"there is no network {name}")

    def _refuse_rule(
        self, before: Stored[SenderRuleModel] | None, after: Stored[SenderRuleModel] | None, view: View
    ) -> Iterable[Problem]:
        for other in view.values(self.sender_rule) if after is not None else ():
            assert after is not None
            same = (other.value.account, other.value.pattern) == (after.value.account, after.value.pattern)
            if same and other.number != after.number:
                yield Problem("/pattern", "rule-twice", f"{other.key} is about the same account and pattern")

    def _refuse_protected(
        self, before: Stored[ProtectedModel] | None, after: Stored[ProtectedModel] | None, view: View
    ) -> Iterable[Problem]:
        for other in view.values(self.protected) if after is not None else ():
            assert after is not None
            if other.number != after.number and fold(other.value.name) == fold(after.value.name):
                yield Problem("/name", "looks-alike", f"{other.key} looks the same")

    def _refuse_exemption(
        self, before: Stored[ExemptionModel] | None, after: Stored[ExemptionModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is None:
            return
        model = after.value
        if model.kind is ExemptionKind.SWITCH and view.by_key(self.switch, model.value) is None:
            yield Problem("/value", "no-such-switch", f"there is no switch {model.value}")
        if model.kind is ExemptionKind.NETWORK and view.by_key(self.network, model.value) is None:
            yield Problem("/value", "no-such-network", f"there is no network {model.value}")


def _ended(
    before: Stored[ExemptionModel] | None, after: Stored[ExemptionModel] | None, view: View
) -> Iterable[Problem]:
    """Not refused: definitions of another center may hold some that ended."""
    if after is not None and after.value.expires_at.timestamp() * 1000 <= after.updated_at:
        yield Problem("/expires_at", "in-the-past", "it has ended already")


def _acts(
    before: Stored[PolicyModel] | None, after: Stored[PolicyModel] | None, view: View
) -> Iterable[Problem]:
    """Who switches from watching to acting should have looked at what would have happened."""
    enforced = after is not None and after.value.mode is Mode.ENFORCE
    watched = before is not None and before.value.mode is Mode.MONITOR
    if enforced and (before is None or watched):
        yield Problem(
            "/mode",
            "acts-now",
            "messages are refused from now on; `spoof replay` tells which would have been",
        )
