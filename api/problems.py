"""Every error of the REST door, as RFC 9457 wants it.

In charge of: the catalogue of problems, turning whatever goes wrong into `application/problem+json`, and the page of
each problem. Not in charge of: deciding that something is wrong (the routes and the rooms).

A problem's `type` is a path of this center (`/problems/<slug>`), so that its page is there without the Internet.
`code` repeats the slug for programs; `trace_id` is the request's X-Request-ID; `errors` names each wrong field by
JSON pointer (RFC 6901) or parameter. What was sent is never repeated: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from .problem_kinds import KINDS, ProblemKind

__all__ = ["FieldError", "Problem", "ProblemBody", "add_pages", "install", "problem_response"]

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str | None = Field(
        default=None, description="JSON pointer into the body", examples=["#/numbers/0"]
    )
    parameter: str | None = Field(default=None, description="name of the query, path or header parameter")
    code: str = Field(description="stable name of the error")
    detail: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/not-found"])
    title: str
    status: int
    detail: str | None = None
    instance: str | None = Field(default=None, description="path of the request")
    code: str = Field(description="last part of `type`")
    trace_id: str | None = Field(default=None, description="X-Request-ID of the request")
    errors: list[FieldError] | None = None


@dataclass(slots=True)
class Problem(Exception):
    """Raise it from a route: it becomes the response."""

    slug: str
    detail: str = ""
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] | None = None
    more: Mapping[str, Any] | None = None  #: further members

    @property
    def kind(self) -> ProblemKind:
        """Its entry in the catalogue."""
        return KINDS[self.slug]

    def body(self, *, instance: str = "", trace_id: str = "") -> ProblemBody:
        """As it is sent."""
        kind = self.kind
        return ProblemBody(
            type=f"/problems/{kind.slug}",
            title=kind.title,
            status=kind.status,
            detail=self.detail or None,
            instance=instance or None,
            code=kind.slug,
            trace_id=trace_id or None,
            errors=list(self.errors) or None,
            **(self.more or {}),
        )


def problem_response(problem: Problem, *, instance: str = "", trace_id: str = "") -> Response:
    """The response that carries a problem."""
    return Response(
        problem.body(instance=instance, trace_id=trace_id).model_dump_json(exclude_none=True),
        status_code=problem.kind.status,
        headers=dict(problem.headers or {}),
        media_type=MEDIA_TYPE,
    )


def respond(request: Request, problem: Problem) -> Response:
    """The response to a request that failed."""
    return problem_response(
        problem, instance=request.url.path, trace_id=request.scope.get("state", {}).get("trace_id", "")
    )


# ------------------------------------------------------------------------------------------- what frameworks raise


_BY_STATUS = {kind.status: kind.slug for kind in KINDS.values() if kind.generic}


def from_http(error: HTTPException) -> Problem:
    """What the framework itself refuses: no such path, wrong method, broken body."""
    slug = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    detail = "" if slug in ("not-found", "method-not-allowed", "internal") else str(error.detail)
    return Problem(slug, detail, headers=error.headers)


def from_validation(error: RequestValidationError) -> Problem:
    """A request that does not fit the types of its route."""
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return Problem("malformed-body", "The body is not JSON.")
    return Problem(
        "invalid-request", errors=[field_error(item["loc"], item["type"], item["msg"]) for item in found]
    )


def field_error(loc: Sequence[str | int], code: str, detail: str) -> FieldError:
    """One error at a place as pydantic names places."""
    where, *path = loc or ("body",)
    if where == "body":
        return FieldError(pointer=pointer(path), code=code, detail=detail)
    return FieldError(parameter=".".join(map(str, path)) or str(where), code=code, detail=detail)


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer as a URI fragment (RFC 6901 §6)."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


# ----------------------------------------------------------------------------------------------------------- pages

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - Restante</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem}}
code{{background:#8882;padding:.1em .3em;border-radius:.2em}}@media(prefers-color-scheme:dark)
{{body{{background:#16181c;color:#ddd}}a{{color:#8bf}}}}</style>{body}"""


def page(kind: ProblemKind) -> str:
    """The page of one problem."""
    body = (
        f"<p><a href='/problems'>All problems</a></p><h1>{escape(kind.title)}</h1>"
        f"<p><code>{kind.slug}</code>, status {kind.status}</p>"
        f"<h2>Cause</h2><p>{escape(kind.cause)}</p><h2>What to do</h2><p>{escape(kind.fix)}</p>"
    )
    return _PAGE.format(title=escape(kind.title), body=body)


def index() -> str:
    """The page that lists all problems."""
    rows = "".join(
        f"<li><a href='/problems/{kind.slug}'><code>{kind.slug}</code></a> ({kind.status}): {escape(kind.title)}</li>"
        for kind in sorted(KINDS.values(), key=lambda kind: kind.slug)
    )
    return _PAGE.format(title="Problems", body=f"<h1>Problems</h1><ul>{rows}</ul>")


def install(app: FastAPI) -> None:
    """Let every error of `app` be a problem."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return respond(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        cause = error.__cause__  # a body that is too large or too slow is found while FastAPI reads it
        return respond(request, cause if isinstance(cause, Problem) else from_http(error))

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(request, from_validation(error))

    async def on_fault(request: Request, error: Exception) -> Response:
        return respond(request, Problem("internal"))  # and the frame writes it into the log

    app.add_exception_handler(Exception, on_fault)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)


def add_pages(app: FastAPI) -> None:
    """Serve the pages of the problems."""

    @app.get("/problems", include_in_schema=False)
    async def problem_index() -> HTMLResponse:
        return HTMLResponse(index())

    @app.get("/problems/{slug}", include_in_schema=False)
    async def problem_page(slug: str) -> HTMLResponse:
        kind = KINDS.get(slug)
        if kind is None:
            raise Problem("not-found")
        return HTMLResponse(page(kind))
