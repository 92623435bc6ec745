"""Routes of the objects that operators edit, the same for every kind.

In charge of: list, create, read, replace, patch, delete, history and roll back, with dry runs, ETag and If-Match, and
the audit row that rides in each edit. Not in charge of: the kinds (one file each beside this one), or what an edit
does (`registry/`).

An object is shown flat: its fields beside `id`, `version`, `updated_at` and `updated_by`; the ETag is the version in
quotes. `?dry_run=true` says what an edit would do and does nothing.

How it works: the methods of `Editing` are written once for all kinds. `router` gives FastAPI, for each kind,
functions that call them and whose signatures name the kind's model and permissions, so that the OpenAPI document is
exact.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, create_model

from ...access.permissions import Permission
from ...outlet import Write
from ...registry.edits import MAX_VERSION, Riders
from ...registry.versioned import Edit, ObjectKind, Stored
from ..entrance import Identity, Require
from ..etags import IfMatch, etag, version_of
from ..paging import Page, PageQuery, link_next
from ..rooms import Rooms, doors_of, rooms_of
from ..times import Instant, instant

__all__ = [
    "Change",
    "EditView",
    "Editing",
    "How",
    "HowKnown",
    "Id",
    "Known",
    "New",
    "Reason",
    "Remark",
    "reason_of",
    "warnings_of",
]

Reason = Annotated[
    str | None, Header(alias="X-Reason", max_length=500, description="why; kept in history and audit")
]
Id = Annotated[str, Path(max_length=32)]
DryRun = Annotated[bool, Query(description="say what would happen and do nothing")]


class Change(BaseModel):
    """One difference between two versions."""

    op: str = Field(description="add, remove or replace")
    pointer: str = Field(description="JSON pointer")
    before: Any = None
    after: Any = None


class Remark(BaseModel):
    """Something to know about an edit that is allowed all the same."""

    pointer: str
    code: str
    detail: str


class EditView(BaseModel):
    """What an edit would do."""

    dry_run: bool = True
    id: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    diff: list[Change] = []
    warnings: list[Remark] = []


class VersionView(BaseModel):
    """One entry of an object's history."""

    version: int
    at: Instant
    author: str
    reason: str
    deleted: bool
    body: dict[str, Any]


class ObjectList(PageQuery):
    """Filters of a list of objects."""

    q: str | None = Field(default=None, max_length=100, description="part of the name or the description")


def reason_of(reason: str | None) -> str:
    """The reason that was given, or none."""
    return (reason or "").strip()


def warnings_of(edit: Edit[Any]) -> list[Remark]:
    """What an editor should know."""
    return [Remark(pointer=w.pointer, code=w.code, detail=w.detail) for w in edit.warnings]


def edit_view(edit: Edit[Any]) -> EditView:
    """An edit as it is shown."""
    of = edit.after or edit.before
    return EditView(
        dry_run=edit.dry_run,
        # The number of an object that is not made yet is not promised.
        id=of.id if of is not None and not (edit.dry_run and edit.before is None) else None,
        before=edit.before.body() if edit.before else None,
        after=edit.after.body() if edit.after else None,
        diff=[Change(op=d.op, pointer=d.pointer, before=d.before, after=d.after) for d in edit.diff],
        warnings=warnings_of(edit),
    )


class How:
    """Dependency: what every edit may say about itself."""

    def __init__(self, reason: Reason = None, dry_run: DryRun = False) -> None:
        self.reason = reason_of(reason)
        self.dry_run = dry_run


class HowKnown(How):
    """Dependency: the same for an edit of something that is known, in a version that must be named."""

    def __init__(self, if_match: IfMatch = None, reason: Reason = None, dry_run: DryRun = False) -> None:
        super().__init__(reason, dry_run)
        self.version = version_of(if_match)


New = Annotated[How, Depends(How)]
Known = Annotated[HowKnown, Depends(HowKnown)]
MakeEdit = Callable[[Riders], Awaitable[Edit[Any]]]


@dataclass(frozen=True)
class Editing:
    """The routes of one kind."""

    kind_of: Callable[[Rooms], ObjectKind[Any, Any]]
    model: type[BaseModel]
    name: str  #: singular: "account"
    plural: str  #: "accounts"
    read: Permission
    write: Permission
    also: Callable[[Rooms, Edit[Any]], Iterable[Write]] | None = (
        None  #: further writes in the edit's transaction
    )
    after_edit: Callable[[Rooms, Edit[Any]], None] | None = None  #: what follows the commit

    # ------------------------------------------------------------------------------------------------ showing

    def view_model(self) -> type[BaseModel]:
        """The kind's fields with those that every object has."""
        facts: dict[str, Any] = {
            "id": (str, ...),
            "version": (int, ...),
            "updated_at": (Instant, ...),
            "updated_by": (str, ...),
            "warnings": (list[Remark] | None, None),
        }
        fields: dict[str, Any] = {
            name: (info.rebuild_annotation(), info) for name, info in self.model.model_fields.items()
        }
        return create_model(f"{self.name.capitalize()}View", **facts, **fields)

    def show(self, stored: Stored[Any], edit: Edit[Any] | None = None) -> dict[str, Any]:
        """One object; the route's response model gives it its form."""
        return {
            "id": stored.id,
            "version": stored.version,
            "updated_at": instant(stored.updated_at),
            "updated_by": stored.updated_by,
            "warnings": (warnings_of(edit) or None) if edit else None,
            **{name: getattr(stored.value, name) for name in self.model.model_fields},
        }

    def answer(self, response: Response, edit: Edit[Any]) -> Any:
        """What an edit is answered with."""
        if edit.dry_run:
            response.status_code = 200
            return edit_view(edit)
        assert edit.after is not None
        response.headers["ETag"] = etag(edit.after.version)
        return self.show(edit.after, edit)

    async def edited(
        self, request: Request, who: Identity, action: str, how: How, make: MakeEdit
    ) -> Edit[Any]:
        """Make an edit with its audit row, and do what follows."""
        rooms = rooms_of(request)
        if how.dry_run:
            return await make(())
        async with rooms.audit.entry(who.entry(f"{self.name}.{action}", reason=how.reason)) as seal:

            def riders(edit: Edit[Any]) -> Sequence[Write]:
                of = edit.after or edit.before
                assert of is not None
                detail = {"version": of.version, "key": of.key, "changed": [d.pointer for d in edit.diff]}
                return [*seal(of.id, detail), *(self.also(rooms, edit) if self.also else ())]

            edit = await make(riders)
        if self.after_edit is not None:
            self.after_edit(rooms, edit)
        return edit

    # ------------------------------------------------------------------------------------------------- routes

    async def list_objects(
        self, request: Request, response: Response, who: Identity, query: Annotated[ObjectList, Query()]
    ) -> Any:
        """Objects in order of their names."""
        rooms, cursors = rooms_of(request), doors_of(request).cursors
        start = cursors.start(self.plural, query)
        after = str(start[0]) if start else ""
        kind = self.kind_of(rooms)
        page = await rooms.registry.page(kind, after=after, limit=query.limit, q=query.q or "")
        cursor = None
        if page.next_after is not None:
            cursor = cursors.seal(self.plural, query.filters(), [page.next_after])
        link_next(request, response, cursor)
        return {"items": [self.show(stored) for stored in page.items], "next_cursor": cursor}

    async def create(
        self, request: Request, response: Response, who: Identity, body: BaseModel, how: New
    ) -> Any:
        """Make a new object."""
        registry, kind = rooms_of(request).registry, self.kind_of(rooms_of(request))
        given = body.model_dump(mode="json")

        async def make(riders: Riders) -> Edit[Any]:
            return await registry.create(
                kind, given, actor=who.owner, reason=how.reason, dry_run=how.dry_run, writes=riders
            )

        edit = await self.edited(request, who, "create", how, make)
        if edit.after is not None and not edit.dry_run:
            response.headers["Location"] = f"{request.url.path}/{edit.after.id}"
        return self.answer(response, edit)

    async def read_one(self, request: Request, response: Response, who: Identity, id: Id) -> Any:
        """One object; its ETag is what If-Match wants."""
        kind = self.kind_of(rooms_of(request))
        stored = await rooms_of(request).registry.get(kind, kind.number_of(id))
        response.headers["ETag"] = etag(stored.version)
        if request.headers.get("if-none-match", "") == etag(stored.version):
            return Response(status_code=304, headers={"ETag": etag(stored.version)})
        return self.show(stored)

    async def replace(
        self, request: Request, response: Response, who: Identity, id: Id, body: BaseModel, how: Known
    ) -> Any:
        """Give an object another value; a field that is left out gets its default."""
        registry, kind = rooms_of(request).registry, self.kind_of(rooms_of(request))
        given, number = body.model_dump(mode="json"), kind.number_of(id)

        async def make(riders: Riders) -> Edit[Any]:
            return await registry.replace(
                kind, number, given, if_match=how.version, actor=who.owner, reason=how.reason,
                dry_run=how.dry_run, writes=riders,
            )  # fmt: skip

        return self.answer(response, await self.edited(request, who, "replace", how, make))

    async def patch(
        self,
        request: Request,
        response: Response,
        who: Identity,
        id: Id,
        body: Annotated[dict[str, Any], Body(description="merge-patch (RFC 7396); null gives the default")],
        how: Known,
    ) -> Any:
        """Change parts of an object."""
        registry, kind = rooms_of(request).registry, self.kind_of(rooms_of(request))
        number = kind.number_of(id)

        async def make(riders: Riders) -> Edit[Any]:
            return await registry.patch(
                kind, number, body, if_match=how.version, actor=who.owner, reason=how.reason,
                dry_run=how.dry_run, writes=riders,
            )  # fmt: skip

        return self.answer(response, await self.edited(request, who, "patch", how, make))

    async def delete(self, request: Request, response: Response, who: Identity, id: Id, how: Known) -> Any:
        """Remove an object; its history stays."""
        registry, kind = rooms_of(request).registry, self.kind_of(rooms_of(request))
        number = kind.number_of(id)

        async def make(riders: Riders) -> Edit[Any]:
            return await registry.delete(
                kind, number, if_match=how.version, actor=who.owner, reason=how.reason,
                dry_run=how.dry_run, writes=riders,
            )  # fmt: skip

        edit = await self.edited(request, who, "delete", how, make)
        if edit.dry_run:
            return JSONResponse(edit_view(edit).model_dump(mode="json"))
        return Response(status_code=204)

    async def history(
        self,
        request: Request,
        response: Response,
        who: Identity,
        id: Id,
        query: Annotated[PageQuery, Query()],
    ) -> Any:
        """Versions of an object, newest first."""
        rooms, cursors = rooms_of(request), doors_of(request).cursors
        kind, scope = self.kind_of(rooms), f"/{id}/history"
        start = cursors.start(self.plural, query, scope)
        before = int(start[0]) if start else MAX_VERSION
        found = await rooms.registry.history(kind, kind.number_of(id), before=before, limit=query.limit + 1)
        views = [
            VersionView(
                version=v.version,
                at=instant(v.at),
                author=v.author,
                reason=v.reason,
                deleted=v.deleted,
                body=dict(v.body),
            )
            for v in found
        ]
        page = cursors.page(self.plural, query, views, [[v.version] for v in found], scope)
        link_next(request, response, page.next_cursor)
        return page

    async def rollback(
        self,
        request: Request,
        response: Response,
        who: Identity,
        id: Id,
        to_version: Annotated[int, Query(ge=1, lt=MAX_VERSION, description="version whose value comes back")],
        how: Known,
    ) -> Any:
        """Write a new version with the value of an old one; credentials stay as they are."""
        registry, kind = rooms_of(request).registry, self.kind_of(rooms_of(request))
        number = kind.number_of(id)

        async def make(riders: Riders) -> Edit[Any]:
            return await registry.rollback(
                kind, number, to_version, if_match=how.version, actor=who.owner, reason=how.reason,
                dry_run=how.dry_run, writes=riders,
            )  # fmt: skip

        return self.answer(response, await self.edited(request, who, "rollback", how, make))

    def router(self, into: APIRouter | None = None) -> APIRouter:
        """The routes, behind those that `into` has already."""
        router = into or APIRouter(prefix=f"/{self.plural}", tags=[self.plural])
        view: Any = self.view_model()
        shown, pages = view | EditView, Page[view]
        dry: dict[int | str, dict[str, Any]] = {200: {"model": EditView, "description": "Dry run"}}
        rows: tuple[tuple[str, str, Any, Permission, dict[str, Any]], ...] = (
            ("GET", "", self.list_objects, self.read, {"response_model": pages}),
            (
                "POST",
                "",
                self.create,
                self.write,
                {"response_model": shown, "status_code": 201, "responses": dry},
            ),
            ("GET", "/{id}", self.read_one, self.read, {"response_model": view, "responses": {304: {}}}),
            ("PUT", "/{id}", self.replace, self.write, {"response_model": shown}),
            ("PATCH", "/{id}", self.patch, self.write, {"response_model": shown}),
            (
                "DELETE",
                "/{id}",
                self.delete,
                self.write,
                {"response_model": None, "status_code": 204, "responses": dry},
            ),
            ("GET", "/{id}/history", self.history, self.read, {"response_model": Page[VersionView]}),
            ("POST", "/{id}:rollback", self.rollback, self.write, {"response_model": shown}),
        )
        for method, path, call, permission, more in rows:
            router.add_api_route(
                path,
                _typed(call, self.model, permission),
                methods=[method],
                name=f"{call.__name__} {self.plural}",
                description=call.__doc__,
                **more,
            )
        return router


def _typed(
    call: Callable[..., Awaitable[Any]], model: type[BaseModel], permission: Permission
) -> Callable[..., Any]:
    """`call` with a signature that names the kind's model and the permission."""

    async def endpoint(**values: Any) -> Any:
        return await call(**values)

    known = {"who": Annotated[Identity, Depends(Require(permission))], BaseModel: Annotated[model, Body()]}
    signature = inspect.signature(call)
    parameters = [
        parameter.replace(
            annotation=known.get(parameter.name, known.get(parameter.annotation, parameter.annotation)),
            kind=inspect.Parameter.KEYWORD_ONLY,
        )
        for parameter in signature.parameters.values()
    ]
    endpoint.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by inspect
    return endpoint
