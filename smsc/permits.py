"""Which addresses an account may use: the first real check.

In charge of: permission of source and destination addresses per account. Not in charge of: what an account is
(`access/accounts.py`) or who really sent the message (`antispoof/`). Source: behaviour.md 3.
"""

from __future__ import annotations

from collections.abc import Callable

from ..access.accounts import Account
from ..access.numbers import EgressRules
from ..check import ACCEPT, Action, Stage, Verdict
from ..message import Address, Ingress, Message, Role
from .normaliser import address_for
from .smpp.command_status import CommandStatus as Status

__all__ = ["AddressPermission", "default_source"]


class AddressPermission:
    """Refuses a source or destination that the account may not use."""

    name = "address-permission"
    stages = frozenset({Stage.SUBMIT})

    def __init__(self, accounts: Callable[[int], Account | None]) -> None:
        """`accounts` finds the live account by number."""
        self._accounts = accounts

    def examine(self, message: Message, ingress: Ingress, stage: Stage) -> Verdict:
        """Judge both addresses in their normal form; answers at once."""
        account = self._accounts(message.account)
        if account is None:
            return self._refuse(message, "account-gone", Status.ESME_RSUBMITFAIL, "account does not exist")
        if not account.may_send_from(message.sender):
            return self._refuse(
                message, "source-not-allowed", Status.ESME_RINVSRCADR, "source address not allowed"
            )
        if not account.may_send_to(message.recipient):
            return self._refuse(
                message, "destination-not-allowed", Status.ESME_RINVDSTADR, "destination address not allowed"
            )
        if ingress.role is Role.INTERCONNECT and account.owns(message.recipient):
            return self._refuse(
                message, "loop", Status.ESME_RINVDSTADR, "destination is behind the same link"
            )
        return ACCEPT

    def _refuse(self, message: Message, reason: str, status: int, public: str) -> Verdict:
        return Verdict(
            Action.REJECT,
            check=self.name,
            reason=reason,
            status=status,
            public=public,
            evidence={"sender": message.sender, "recipient": message.recipient, "account": message.account},
        )


def default_source(account: Account) -> Address | None:
    """The address an account speaks from when it names none: its only number (SMPP 3.4 §5.2.8)."""
    numbers = account.numbers
    if len(numbers) == 1 and not numbers[0].endswith("*"):
        return address_for(numbers[0], EgressRules())
    return None
