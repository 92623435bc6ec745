"""A box by SMS: LIST, GET 1, DEL 1.

In charge of: what the words do and answer. Not in charge of: whose words are obeyed and how often
(`smsc/keywords.py`), the box (`box.py`).

Theory. The number behind GET and DEL counts the messages of the last LIST, so the list is kept: a message that comes
meanwhile must not change what "2" means, and a word that is repeated after a crash must mean the same message. LIST
shows beginnings only and so retrieves nothing; GET is the message's retrieval and tells its sender so, before its
text leaves in the answer, which may have to be made again, and then finds the item open. DEL moves to the bin.

Source: behaviour.md 1 (retrieval), 9 (keywords).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..access.subscriber import Subscriber
from ..access.subscribers import Subscribers
from ..outlet import Write
from ..smsc.keywords import KeywordOutlet
from ..store.store import Answer, Store
from . import statements as sql
from .box import Box
from .folders import Folder
from .item import Item
from .model import BoxClosed, BoxUnavailable, ItemNotFound, Wanted
from .settings import KeywordTexts, MailboxSettings

__all__ = ["LISTED", "BoxKeywords"]

LISTED = 5  #: messages that LIST shows
PREVIEW = 20  #: characters of each; never more than what a list may show


class BoxKeywords:
    """The words of one node."""

    def __init__(self, store: Store, subscribers: Subscribers, box: Box, settings: MailboxSettings) -> None:
        self._store = store
        self._subscribers = subscribers
        self._box = box
        self._settings = settings

    def register(self, keywords: KeywordOutlet) -> None:
        """Have the words obeyed."""
        keywords.obey("LIST", self.list)
        keywords.obey("GET", self.get)
        keywords.obey("DEL", self.delete)

    async def list(self, number: str, argument: str) -> str:
        """The newest messages, numbered."""
        owner = await self._owner(number)
        texts = await self._texts(owner)
        if owner is None:
            return texts.no_box
        items = await self._newest(owner)
        if not items:
            return texts.empty
        summary = await self._box.summary(owner.number)
        head = texts.list.replace("{unread}", str(summary.unread)).replace("{total}", str(summary.total))
        lines = [
            f"{at} {item.peer.lstrip('@')}: {_beginning(item, texts)}" for at, item in enumerate(items, 1)
        ]
        return "\n".join((head, *lines))

    async def get(self, number: str, argument: str) -> str:
        """A message in full: its retrieval."""
        owner = await self._owner(number)
        texts = await self._texts(owner)
        if owner is None:
            return texts.no_box
        id = await self._meant(owner, argument)
        try:
            item = await self._box.open(owner.number, id, route="keyword") if id else None
        except ItemNotFound:  # removed since the list was made
            item = None
        if item is None:
            return texts.unknown
        return f"{item.peer.lstrip('@')}: {item.text or texts.multimedia}"

    async def delete(self, number: str, argument: str) -> str:
        """Into the bin; what is there stays there."""
        owner = await self._owner(number)
        texts = await self._texts(owner)
        if owner is None:
            return texts.no_box
        id = await self._meant(owner, argument)
        try:
            if id:
                await self._box.change(owner.number, id, folder=Folder.TRASH)
        except ItemNotFound:
            id = 0
        return texts.deleted if id else texts.unknown

    # ------------------------------------------------------------------------------------------------ who, which

    async def _owner(self, number: str) -> Subscriber | None:
        """The subscriber who sent the word, if there is a box to be read."""
        found = await self._subscribers.find(number)
        if found is None or not found.active:
            return None
        try:
            await self._box.check_open(found.number)
        except BoxClosed:
            return None
        return found

    async def _texts(self, owner: Subscriber | None) -> KeywordTexts:
        texts: Mapping[str, KeywordTexts] = self._settings.keyword_texts
        language = (await self._box.choices(owner.number)).language if owner is not None else ""
        found = texts.get(language) or texts.get(self._settings.language)
        return found or next(iter(texts.values()))

    async def _newest(self, owner: Subscriber) -> tuple[Item, ...]:
        """What LIST shows; remembered, so that GET and DEL mean the same."""
        page = await self._box.page(owner.number, Wanted(folder=Folder.INBOX), limit=LISTED)
        row: dict[str, object] = {
            "subscriber": owner.number,
            "ids": json.dumps([str(item.id) for item in page.items]),
            "listed_at": self._store.clock.now_ms(),
        }
        answer = await self._store.apply(writes=[Write(sql.PUT_LISTING, row)])
        if answer is not Answer.STORED:
            raise BoxUnavailable(answer)
        return page.items

    async def _meant(self, owner: Subscriber, argument: str) -> int:
        """The id of the message with that number in the last list; 0 if there is none."""
        wanted = argument.split(None, 1)[0].strip(".,!") if argument else ""
        if not (wanted.isascii() and wanted.isdecimal() and 0 < int(wanted[:4]) <= LISTED):
            return 0
        rows = await self._store.fetch(sql.LISTING, subscriber=owner.number)
        ids = json.loads(rows[0]["ids"]) if rows else [item.id for item in await self._newest(owner)]
        return int(ids[int(wanted) - 1]) if int(wanted) <= len(ids) else 0


def _beginning(item: Item, texts: KeywordTexts) -> str:
    """One line of a list."""
    shown = item.preview if item.text is None else item.text
    line = " ".join(shown.split())
    if not line and item.kind == "mms":
        return texts.multimedia
    if len(line) > PREVIEW or line.endswith(
        "…"
    ):  # two full stops: with an ellipsis the answer would be twice as long
        return line[:PREVIEW].rstrip("… ") + ".."
    return line
