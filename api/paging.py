"""Pages of collections, by keyset.

In charge of: cursors that only this center can make and that fit one question only, and the shape of a page. Not in
charge of: the queries. A cursor holds the sort key of the last row that was shown, so that rows which come or go
meanwhile are neither shown twice nor lost; there is no offset and no total.

A cursor is base64url of JSON and of a MAC over it, the collection and the filters: with other filters it is refused
(`cursor-mismatch`), and nobody can point it at rows of somebody else.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import orjson
from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..access.key_ring import KeyRing
from .problems import Problem

__all__ = ["Cursors", "Page", "PageQuery", "Position", "link_next"]

T = TypeVar("T")
Position = Sequence[int | str]

MAC_OCTETS = 16
LIMIT_MAX = 200
_PATH = "/:@+"  #: what may stand in a path as it is (RFC 3986 §3.3), of what our paths have


class Page(BaseModel, Generic[T]):
    """Part of a collection."""

    items: list[T]
    next_cursor: str | None = Field(
        default=None, description="give it as `cursor` to go on; null: that was all"
    )


class PageQuery(BaseModel):
    """What every list understands; lists add their filters."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=LIMIT_MAX, description="items on a page")
    cursor: str | None = Field(default=None, max_length=1024, description="next_cursor of the page before")

    def filters(self) -> dict[str, Any]:
        """What a cursor is bound to."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)


PlainPage = Annotated[PageQuery, Query()]


class Cursors:
    """Makes and reads cursors."""

    def __init__(self, ring: KeyRing) -> None:
        self._key = ring.keys("cursor").present  # a cursor of another key begins again at the first page

    def seal(self, collection: str, filters: Mapping[str, Any], position: Position) -> str:
        """A cursor behind `position`."""
        payload = orjson.dumps(list(position))
        return (
            base64.urlsafe_b64encode(self._mac(collection, filters, payload) + payload).rstrip(b"=").decode()
        )

    def open(self, collection: str, filters: Mapping[str, Any], cursor: str | None) -> list[Any] | None:
        """Where to go on; None without a cursor. Raises cursor-mismatch."""
        if cursor is None:
            return None
        try:
            octets = base64.b64decode(
                cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True
            )
        except (binascii.Error, UnicodeEncodeError):
            raise Problem("cursor-mismatch") from None
        found, payload = octets[:MAC_OCTETS], octets[MAC_OCTETS:]
        if not hmac.compare_digest(found, self._mac(collection, filters, payload)):
            raise Problem("cursor-mismatch")
        return orjson.loads(payload)

    def page(
        self,
        collection: str,
        query: PageQuery,
        items: list[T],
        positions: Sequence[Position],
        scope: str = "",
    ) -> Page[T]:
        """A page of at most `limit` of the items; one more than that means that there is a next page."""
        if len(items) <= query.limit:
            return Page(items=items)
        last = positions[query.limit - 1]
        cursor = self.seal(collection + scope, query.filters(), last)
        return Page(items=items[: query.limit], next_cursor=cursor)

    def start(self, collection: str, query: PageQuery, scope: str = "") -> list[Any] | None:
        """Where the page that is asked for begins."""
        return self.open(collection + scope, query.filters(), query.cursor)

    def _mac(self, collection: str, filters: Mapping[str, Any], payload: bytes) -> bytes:
        bound = orjson.dumps([collection, filters], option=orjson.OPT_SORT_KEYS, default=str)
        text = len(bound).to_bytes(4, "big") + bound + payload
        return hmac.digest(self._key, text, "sha256")[:MAC_OCTETS]


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Say where the next page is (RFC 8288)."""
    if cursor:
        asked = [pair for pair in request.query_params.multi_items() if pair[0] != "cursor"]
        path = quote(request.scope["path"], safe=_PATH)
        response.headers["Link"] = f'<{path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'
