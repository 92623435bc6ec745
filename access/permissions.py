"""What an operator or a key may do.

In charge of: the names of permissions, the roles that bundle them, and the scopes of a key. Not in charge of: who
somebody is (`operators.py`, `sessions.py`, `credentials.py`) or asking at a door (`api/entrance.py`).

Roles are steps: each holds what the one below it holds. `content.read`, the right to read what people wrote, is in no
role: it is given to an operator by name, and each use is audited with a reason (behaviour.md 11).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["ROLE_PERMISSIONS", "OperatorRole", "Permission", "permissions_of", "scopes_allow"]


class Permission(StrEnum):
    """One thing that may be done at the admin door."""

    OVERVIEW_READ = "overview.read"  #: figures, queues, binds: no personal data
    MESSAGES_READ = "messages.read"  #: search and trace, without text
    MESSAGES_WRITE = "messages.write"  #: cancel, retry, release
    CONTENT_READ = "content.read"  #: text of messages; apart from every role
    MAILBOXES_READ = "mailboxes.read"  #: what is in whose box, without text
    ACCOUNTS_READ = "accounts.read"
    ACCOUNTS_WRITE = "accounts.write"
    CREDENTIALS_WRITE = "credentials.write"  #: new passwords and API keys of accounts
    ROUTES_READ = "routes.read"
    ROUTES_WRITE = "routes.write"
    LINKS_READ = "links.read"  #: links to other centers, and how they are
    LINKS_WRITE = "links.write"
    RANGES_READ = "ranges.read"
    RANGES_WRITE = "ranges.write"
    SUBSCRIBERS_READ = "subscribers.read"
    SUBSCRIBERS_WRITE = "subscribers.write"
    BINDS_WRITE = "binds.write"  #: unbind
    NODES_WRITE = "nodes.write"  #: take a node out of service
    AUDIT_READ = "audit.read"
    OPERATORS_READ = "operators.read"
    OPERATORS_WRITE = "operators.write"
    SESSIONS_WRITE = "sessions.write"  #: list and end other people's sessions
    CONFIG_READ = "config.read"
    CERTIFICATES_WRITE = "certificates.write"  #: have the doors read their files again
    ZONES_READ = "zones.read"  #: zones, policies, memberships; decisions with rounded places
    ZONES_WRITE = "zones.write"
    LOCATIONS_READ = "locations.read"  #: where somebody is; each use is audited
    LOCATIONS_WRITE = "locations.write"  #: tell where somebody is; lists of cells
    SPOOF_READ = "spoof.read"  #: switches, policies, verdicts and their evidence, quarantine
    SPOOF_WRITE = "spoof.write"  #: switches, networks, rules, exemptions, policies
    SPOOF_REVIEW = "spoof.review"  #: decide about quarantined messages; judge verdicts
    DEFINITIONS_READ = "definitions.read"
    DEFINITIONS_WRITE = "definitions.write"  #: replaces every object at once


class OperatorRole(StrEnum):
    """Weakest first."""

    VIEWER = "viewer"  #: looks
    OPERATOR = "operator"  #: keeps traffic going
    SECURITY = "security"  #: watches people and keys
    ADMIN = "admin"  #: everything but reading what people wrote


_P = Permission
_STEPS: tuple[tuple[OperatorRole, frozenset[Permission]], ...] = (
    (
        OperatorRole.VIEWER,
        frozenset(
            {
                _P.OVERVIEW_READ,
                _P.MESSAGES_READ,
                _P.MAILBOXES_READ,
                _P.ACCOUNTS_READ,
                _P.ROUTES_READ,
                _P.LINKS_READ,
                _P.RANGES_READ,
                _P.SUBSCRIBERS_READ,
                _P.ZONES_READ,
                _P.SPOOF_READ,
            }
        ),
    ),
    (
        OperatorRole.OPERATOR,
        frozenset(
            {
                _P.MESSAGES_WRITE,
                _P.ACCOUNTS_WRITE,
                _P.ROUTES_WRITE,
                _P.LINKS_WRITE,
                _P.RANGES_WRITE,
                _P.SUBSCRIBERS_WRITE,
                _P.ZONES_WRITE,
                _P.SPOOF_WRITE,
                _P.LOCATIONS_WRITE,
                _P.BINDS_WRITE,
                _P.NODES_WRITE,
                _P.DEFINITIONS_READ,
                _P.CONFIG_READ,
                _P.CERTIFICATES_WRITE,
            }
        ),
    ),
    (
        OperatorRole.SECURITY,
        frozenset(
            {
                _P.AUDIT_READ,
                _P.OPERATORS_READ,
                _P.SESSIONS_WRITE,
                _P.CREDENTIALS_WRITE,
                _P.LOCATIONS_READ,
                _P.SPOOF_REVIEW,
            }
        ),
    ),
    (OperatorRole.ADMIN, frozenset({_P.OPERATORS_WRITE, _P.DEFINITIONS_WRITE})),
)


def _add_up() -> dict[OperatorRole, frozenset[Permission]]:
    held: frozenset[Permission] = frozenset()
    table: dict[OperatorRole, frozenset[Permission]] = {}
    for role, more in _STEPS:
        held |= more
        table[role] = held
    return table


#: role -> everything it holds, the steps below included
ROLE_PERMISSIONS = _add_up()

_ROLE_NAMES = frozenset(role.value for role in OperatorRole)
_PERMISSION_NAMES = frozenset(permission.value for permission in Permission)


def permissions_of(role: OperatorRole, *, content_read: bool) -> frozenset[Permission]:
    """What an operator holds."""
    held = ROLE_PERMISSIONS[role]
    return held | {Permission.CONTENT_READ} if content_read else held


def scopes_allow(scopes: Iterable[str], held: frozenset[Permission]) -> frozenset[Permission]:
    """What a key may do: its scopes, and never more than its owner holds now.

    A scope is a permission or the name of a role; an unknown one gives nothing.
    """
    asked: set[Permission] = set()
    for scope in scopes:
        if scope in _ROLE_NAMES:
            asked |= ROLE_PERMISSIONS[OperatorRole(scope)]
        elif scope in _PERMISSION_NAMES:
            asked.add(Permission(scope))
    return held & asked
