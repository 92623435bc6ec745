"""The way of a message through one node, put together.

In charge of: making delivery, intake and what stands between them, and which of them know each other. Not in charge of:
anything the parts do, the ways out (`routing.py` and the outlets), the doors, opening and closing.
"""

from __future__ import annotations

from collections.abc import Callable

from ..access.accounts import Account
from ..outlet import Outlet
from ..store.engine import Engine
from ..store.failpoints import Failpoint
from ..store.history import History
from .binds import Binds
from .delivery import Delivery
from .delivery_settings import DeliverySettings
from .handset_commands import HandsetCommands
from .holding import Holding
from .limits import Throttles
from .neighbourhood import Neighbourhood
from .pending_flags import PendingFlags
from .recall import Recall
from .receipts import Receipts
from .recipients import Recipients
from .replacing import Replacing
from .routing import Router
from .schedules import Schedules
from .screening import Screening
from .submission import Submission, SubmissionSettings

__all__ = ["MessagePath"]


class MessagePath:
    """What every message passes, in the order in which it does: submission, delivery, receipts."""

    def __init__(
        self,
        *,
        store: Engine,
        history: History,
        accounts: Callable[[int], Account | None],
        throttles: Throttles,
        router: Router,
        screening: Screening,
        mailbox: Outlet,
        binds: Binds,
        neighbourhood: Neighbourhood,
        schedules: Schedules,
        attempts: DeliverySettings,
        intake: SubmissionSettings,
        random: Callable[[], float],
        failpoint: Failpoint,
    ) -> None:
        """`accounts`: by number. Long because it makes each part once."""
        self.receipts = Receipts(
            accounts=accounts,
            next_id=store.next_id,
            epoch=lambda: store.epoch,
            node=store.node,
            owner_of=neighbourhood.reaching if store.shared else None,
        )
        self.recipients = Recipients(store)
        self.delivery = Delivery(
            store=store,
            router=router,
            screening=screening,
            receipts=self.receipts,
            recipients=self.recipients,
            accounts=accounts,
            random=random,
            mailbox=mailbox,
            settings=attempts,
            schedules=schedules,
            failpoint=failpoint,
            handover=neighbourhood.handover,
        )
        self.holding = Holding(store, self.receipts)
        self.waiting = neighbourhood.waiting(self.delivery)
        self.recall = Recall(
            store=store,
            history=history,
            delivery=self.delivery,
            receipts=self.receipts,
            waiting=self.waiting,
        )
        self.commands = HandsetCommands(
            store, history, self.receipts, self.recall, screening, throttles, self.delivery.admit
        )
        self.submission = Submission(
            store=store,
            screening=screening,
            router=router,
            delivery=self.delivery,
            throttles=throttles,
            replacing=Replacing(
                store=store, delivery=self.delivery, receipts=self.receipts, waiting=self.waiting
            ),
            settings=intake,
        )
        self.flags = PendingFlags(
            store, accounts=lambda: {bind.account.number for bind in binds}, binds=binds.of
        )
        binds.on_change.append(self.flags.bound)
        self.delivery.on_seen(self.flags.seen)
        self.delivery.on_arrived(self.flags.seen)
