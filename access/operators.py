"""The people who run the center.

In charge of: what an operator is, as edited (`OperatorModel`) and as live (`Operator`). Not in charge of: passwords
and keys (`credentials.py`), sessions (`sessions.py`), what roles hold (`permissions.py`), or the versions of the
objects (`registry/`, where serve.py registers them as the kind "operator", prefix "op").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from .permissions import OperatorRole, Permission, permissions_of

__all__ = ["PASSWORD_MINIMUM", "Operator", "OperatorModel", "StoredOperator", "operator_key"]

PASSWORD_MINIMUM = (
    12  #: characters of a password somebody chose; NIST 800-63B-4 asks for at least 8, 15 alone
)


class OperatorModel(BaseModel):
    """An operator as edited."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9][a-z0-9._@-]*$",
        description="Name to sign in with; lower case.",
        examples=["maria"],
    )
    role: OperatorRole = Field(
        default=OperatorRole.VIEWER,
        description="viewer < operator < security < admin; each holds the ones below.",
    )
    content_read: bool = Field(
        default=False, description="May reveal what people wrote; each reveal needs a reason and is audited."
    )
    suspended: bool = Field(default=False, description="May not sign in; sessions and keys do nothing.")


class StoredOperator(Protocol):
    """What the registry keeps; this room does not know the registry."""

    @property
    def number(self) -> int:
        """The operator's number."""
        ...

    @property
    def value(self) -> OperatorModel:
        """As edited."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator as live."""

    number: int
    name: str
    role: OperatorRole
    suspended: bool
    permissions: frozenset[Permission]

    @classmethod
    def of(cls, stored: StoredOperator) -> Operator:
        """Make the live object of a stored one."""
        model = stored.value
        return cls(
            number=stored.number,
            name=model.name,
            role=model.role,
            suspended=model.suspended,
            permissions=permissions_of(model.role, content_read=model.content_read),
        )

    @property
    def id(self) -> str:
        """As written outside."""
        return f"op_{self.number}"


def operator_key(model: OperatorModel) -> str:
    """What is unique among operators."""
    return model.name
