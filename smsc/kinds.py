"""The kinds of objects that this room and the one of access give to the registry.

In charge of: what the registry must refuse about routes and links as they refer to each other and to accounts, and what
the editor is told. Not in charge of: the models (`access/`, `routing.py`, `links.py`). Those of access stand here
because access and registry do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..access.accounts import Account, AccountModel, account_warnings
from ..access.numbers import NumberRules
from ..access.operators import Operator, OperatorModel, operator_key
from ..access.ranges import NumberRange, NumberRanges, RangeModel
from ..registry.documents import Problem
from ..registry.versioned import ObjectKind, Stored, View
from .links import Link, LinkModel
from .routing import Route, RouteModel, TargetKind

__all__ = ["AccessKinds", "PathKinds"]


@dataclass(slots=True, init=False)
class AccessKinds:
    """Registered together in `serve.py`."""

    account: ObjectKind[AccountModel, Account]
    range: ObjectKind[RangeModel, NumberRange]
    operator: ObjectKind[OperatorModel, Operator]

    def __init__(self, rules: NumberRules, own: NumberRanges) -> None:
        """Accounts are built with the center's number `rules` and `own` ranges."""

        def build(stored: Stored[AccountModel]) -> Account:
            return Account(
                stored.number,
                stored.value,
                version=stored.version,
                number_rules=rules,
                own_network=own.is_own,
            )

        self.account = ObjectKind(
            "account", "acc", AccountModel, lambda a: a.system_id, build, warn=self._account_warnings
        )
        self.range = ObjectKind(
            "range", "rng", RangeModel, lambda r: r.prefix, lambda s: NumberRange(s.number, s.value)
        )
        self.operator = ObjectKind("operator", "op", OperatorModel, operator_key, Operator.of)

    def _account_warnings(
        self, before: Stored[AccountModel] | None, after: Stored[AccountModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is None:
            return []
        others = [other.value for other in view.values(self.account) if other.number != after.number]
        return [Problem(*warning) for warning in account_warnings(after.value, others)]


@dataclass(slots=True, init=False)
class PathKinds:
    """Registered together in `serve.py`, behind accounts."""

    account: ObjectKind[AccountModel, Account]
    link: ObjectKind[LinkModel, Link]
    route: ObjectKind[RouteModel, Route]

    def __init__(self, account: ObjectKind[AccountModel, Account]) -> None:
        """`account`: the kind that both refer to."""
        self.account = account
        self.link = ObjectKind(
            name="link",
            prefix="lnk",
            model=LinkModel,
            key=lambda model: model.name,
            build=lambda stored: Link(stored.number, stored.value, stored.version),
            warn=_link_warnings,
            refuse=self._refuse_link,
        )
        self.route = ObjectKind(
            name="route",
            prefix="rte",
            model=RouteModel,
            key=lambda model: model.name,
            build=lambda stored: Route(stored.number, stored.value),
            refuse=self._refuse_route,
        )

    def _refuse_link(
        self, before: Stored[LinkModel] | None, after: Stored[LinkModel] | None, view: View
    ) -> Iterable[Problem]:
        account = after.value.account if after is not None else ""
        if account and view.by_key(self.account, account) is None:
            yield Problem("/account", "no-such-account", f"there is no account {account}")
        if before is not None and (after is None or after.key != before.key):
            for route in view.values(self.route):
                if route.value.link == before.key:
                    yield Problem("/name", "link-in-use", f"the route {route.key} leads to it")

    def _refuse_route(
        self, before: Stored[RouteModel] | None, after: Stored[RouteModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is None or after.value.target is not TargetKind.LINK:
            return
        if view.by_key(self.link, after.value.link) is None:
            yield Problem("/link", "no-such-link", f"there is no link {after.value.link}")


def _link_warnings(
    before: Stored[LinkModel] | None, after: Stored[LinkModel] | None, view: View
) -> Iterable[Problem]:
    if after is None:
        return
    if not after.value.tls:
        yield Problem("/tls", "not-encrypted", "the password and every message travel in the clear")
    if not after.value.account:
        yield Problem("/account", "no-account", "messages that come from the link are refused")
