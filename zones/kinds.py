"""The kinds of objects this room gives to the registry.

In charge of: what the registry must refuse about zones, policies and memberships as they refer to each other, and
what the editor is told. Not in charge of: the models (`zone.py`, `policy.py`, `membership.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..registry.documents import Problem, pointer
from ..registry.versioned import ObjectKind, Stored, View
from .membership import Membership, MembershipModel
from .policy import OnOutside, Policy, Visibility, ZonePolicyModel
from .validation import Finding
from .zone import MOST_DEPTH, UnionModel, Zone, ZoneModel

__all__ = ["ZoneKinds"]


@dataclass(slots=True, init=False)
class ZoneKinds:
    """Registered together in `serve.py`: zones first, then policies, then memberships."""

    zone: ObjectKind[ZoneModel, Zone]
    policy: ObjectKind[ZonePolicyModel, Policy]
    membership: ObjectKind[MembershipModel, Membership]
    most_vertices: int

    def __init__(self, most_vertices: int = 50_000) -> None:
        """`most_vertices` of one polygon zone."""
        self.most_vertices = most_vertices
        self.zone = ObjectKind(
            name="zone",
            prefix="zon",
            model=ZoneModel,
            key=lambda model: model.name,
            build=Zone.of,
            warn=_mended,
            refuse=self._refuse_zone,
        )
        self.policy = ObjectKind(
            name="zone-policy",
            prefix="zpo",
            model=ZonePolicyModel,
            key=lambda model: model.name,
            build=Policy.of,
            warn=_tells_where,
            refuse=self._refuse_policy,
        )
        self.membership = ObjectKind(
            name="membership",
            prefix="mem",
            model=MembershipModel,
            key=lambda model: model.name,
            build=Membership.of,
            refuse=self._refuse_membership,
        )

    def _refuse_zone(
        self, before: Stored[ZoneModel] | None, after: Stored[ZoneModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is not None:
            yield from self._drawing_problems(after.value)
            yield from self._union_problems(after.value, view)
        if before is not None and (after is None or after.key != before.key):
            for zone in view.values(self.zone):
                if isinstance(zone.value.shape, UnionModel) and before.key in zone.value.shape.zones:
                    yield Problem("/name", "zone-in-use", f"the union zone {zone.key} names it")
            for membership in view.values(self.membership):
                if before.key in membership.value.zones:
                    yield Problem("/name", "zone-in-use", f"the membership {membership.key} names it")

    def shape_problems(self, model: ZoneModel) -> list[Problem]:
        """What is wrong with a drawing, whatever else there is."""
        return list(self._drawing_problems(model))

    def mended(self, model: ZoneModel) -> list[Problem]:
        """What was put right without changing the shape."""
        return [Problem(_pointer(finding), finding.code, finding.detail) for finding in model.mended]

    def _drawing_problems(self, model: ZoneModel) -> Iterable[Problem]:
        for finding in model.findings:
            yield Problem(_pointer(finding), finding.code, finding.detail)
        if model.vertices > self.most_vertices:
            text = f"{model.vertices} vertices; at most {self.most_vertices} are allowed"
            yield Problem("/shape/geometry/coordinates", "too-many-vertices", text)

    def _union_problems(self, model: ZoneModel, view: View) -> Iterable[Problem]:
        """Members that do not exist, and unions that contain themselves."""
        if not isinstance(model.shape, UnionModel):
            return
        for index, name in enumerate(model.shape.zones):
            here = pointer(("shape", "zones", index))
            if view.by_key(self.zone, name) is None:
                yield Problem(here, "no-such-zone", f"there is no zone {name}")
            elif self._leads_to(name, model.name, view, 1):
                text = f"{name} contains {model.name}, or unions are nested too deeply"
                yield Problem(here, "circular-union", text)

    def _leads_to(self, name: str, target: str, view: View, depth: int) -> bool:
        if name == target or depth > MOST_DEPTH:
            return True
        found = view.by_key(self.zone, name)
        if found is None or not isinstance(found.value.shape, UnionModel):
            return False
        return any(self._leads_to(member, target, view, depth + 1) for member in found.value.shape.zones)

    def _refuse_policy(
        self, before: Stored[ZonePolicyModel] | None, after: Stored[ZonePolicyModel] | None, view: View
    ) -> Iterable[Problem]:
        if before is not None and (after is None or after.key != before.key):
            for membership in view.values(self.membership):
                if membership.value.policy == before.key:
                    yield Problem("/name", "policy-in-use", f"the membership {membership.key} names it")

    def _refuse_membership(
        self, before: Stored[MembershipModel] | None, after: Stored[MembershipModel] | None, view: View
    ) -> Iterable[Problem]:
        if after is None:
            return
        for index, name in enumerate(after.value.zones):
            if view.by_key(self.zone, name) is None:
                yield Problem(pointer(("zones", index)), "no-such-zone", f"there is no zone {name}")
        if view.by_key(self.policy, after.value.policy) is None:
            yield Problem("/policy", "no-such-policy", f"there is no policy {after.value.policy}")


def _pointer(finding: Finding) -> str:
    return pointer(("shape", "geometry", *finding.path))


def _mended(
    before: Stored[ZoneModel] | None, after: Stored[ZoneModel] | None, view: View
) -> Iterable[Problem]:
    for finding in after.value.mended if after is not None else ():
        yield Problem(_pointer(finding), finding.code, finding.detail)


def _tells_where(
    before: Stored[ZonePolicyModel] | None, after: Stored[ZonePolicyModel] | None, view: View
) -> Iterable[Problem]:
    """A sender who can tell a block from any other failure can poll where somebody is."""
    if after is None:
        return
    model = after.value
    if model.visibility is Visibility.SPECIFIC and model.on_outside is OnOutside.BLOCK:
        yield Problem(
            "/visibility", "tells-where", "senders can find out whether somebody is inside the zone"
        )
