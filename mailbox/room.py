"""The room as a whole: what `serve.py` makes, opens and closes.

In charge of: putting the parts together, and telling other nodes whose box has changed. Not in charge of: anything the
parts do; the outlet, which delivery has from the beginning (`outlet.py`).
"""

from __future__ import annotations

from ..access.subscribers import Subscribers
from ..smsc.delivery import Delivery
from ..smsc.keywords import KeywordOutlet
from ..smsc.receipts import Receipts
from ..smsc.submission import Submission
from ..store.bus import Bus
from ..store.store import Store
from .box import Box
from .changes import Feed, Live
from .endings import Endings
from .keywords import BoxKeywords
from .notices import Notices
from .redelivery import Redelivery
from .retention import Retention
from .settings import MailboxSettings
from .upkeep import Upkeep

__all__ = ["MailboxRoom"]


class MailboxRoom:
    """The boxes of one node, and what it tells people."""

    def __init__(
        self,
        *,
        store: Store,
        settings: MailboxSettings,
        subscribers: Subscribers,
        receipts: Receipts,
        delivery: Delivery,
        submission: Submission,
        keywords: KeywordOutlet,
        bus: Bus | None = None,
    ) -> None:
        """`keywords` obeys the words about boxes; `bus`: to other nodes on the same database; None: there are none."""
        self.endings = Endings(store, receipts.ending, delivery.admit)
        self.box = Box(store, subscribers, settings, self.endings)
        self.redelivery = Redelivery(store, self.box, settings, delivery.admit)
        delivery.redeliver_with(self.redelivery)
        self.notices = Notices(store, subscribers, self.redelivery, settings, submission.send_system)
        delivery.on_seen(self.notices.seen)
        retention = Retention(store, settings, self.endings)
        self._upkeep = Upkeep(store, subscribers, settings, self.endings, retention)
        BoxKeywords(store, subscribers, self.box, settings).register(keywords)
        self.feed = Feed(store, settings)
        self.live = Live(store, settings)
        self.box.on_change(self.live.touched)
        if bus is not None:
            self.box.on_change(lambda subscriber: bus.publish("box", str(subscriber).encode()))
            bus.subscribe("box", lambda said: self.live.touched(int(said)))

    def open(self) -> None:
        """Begin the chores."""
        self._upkeep.start()

    async def close(self) -> None:
        """End what looks, tells and sweeps."""
        await self.live.close()
        await self.notices.close()
        await self._upkeep.close()
