"""Permissions: steps of roles, and keys that never may more than their owner."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from restante.access.permissions import (
    ROLE_PERMISSIONS,
    OperatorRole,
    Permission,
    permissions_of,
    scopes_allow,
)


def test_each_role_holds_what_the_one_below_holds() -> None:
    roles = list(OperatorRole)
    for lower, upper in itertools.pairwise(roles):
        assert ROLE_PERMISSIONS[lower] < ROLE_PERMISSIONS[upper]


def test_reading_what_people_wrote_is_in_no_role() -> None:
    held: set[Permission] = set().union(*ROLE_PERMISSIONS.values())
    assert held == set(Permission) - {Permission.CONTENT_READ}
    assert Permission.CONTENT_READ in permissions_of(OperatorRole.VIEWER, content_read=True)
    assert Permission.CONTENT_READ not in permissions_of(OperatorRole.ADMIN, content_read=False)


def test_a_viewer_changes_nothing() -> None:
    assert all(permission.value.endswith(".read") for permission in ROLE_PERMISSIONS[OperatorRole.VIEWER])


@given(
    st.lists(st.sampled_from([*map(str, Permission), *map(str, OperatorRole), "nonsense", ""])),
    st.sampled_from(list(OperatorRole)),
    st.booleans(),
)
def test_a_key_never_may_more_than_its_owner(scopes: list[str], role: OperatorRole, content: bool) -> None:
    held = permissions_of(role, content_read=content)
    allowed = scopes_allow(scopes, held)
    assert allowed <= held
    assert (Permission.CONTENT_READ in allowed) == (content and "content.read" in scopes)
