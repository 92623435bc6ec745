"""What is asked for all the time, called without the framework's detour.

In charge of: finding the route of such a request by its path, who asks and what for, calling the route and writing its
answer. Not in charge of: what the route does, or its declaration and description, which are as any other's.

The framework tries routes one after the other, solves parameters by walking their declarations, and puts each request
into several layers of its own; for a list that costs more than reading the page. Whatever only reads, at a path without
parameters, with one identity and at most one model of the query, needs none of that: a table knows its path, the model
reads the query, and the answer goes out as it was made. The framework would give the same answer (a test asks both
ways), and what goes wrong is told by the same handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Direct", "fits"]

Call = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, Exception], Awaitable[Response]]


class Direct:
    """An app in front of the framework's. An ASGI application."""

    def __init__(self, app: FastAPI) -> None:
        """Make it when all routes and handlers of exceptions stand."""
        self._app: ASGIApp = app
        found = [route for route in app.routes if isinstance(route, APIRoute) and fits(route)]
        self._calls = {route.path: _call_of(route) for route in found}
        self._handlers = cast("dict[object, Refuse]", app.exception_handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        call = None
        if scope["type"] == "http" and scope["method"] == "GET":
            call = self._calls.get(scope["path"])
        if call is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        request = Request(scope, receive)
        try:
            response = await call(request)
        except Exception as error:
            response = await self._refusal(request, error)
        await response(scope, receive, send)

    async def _refusal(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if kind is not Exception and kind in self._handlers:
                return await self._handlers[kind](request, error)
        raise error  # a fault, which the frame writes into the log


def fits(route: APIRoute) -> bool:
    """True for a route that can be called directly."""
    asked = route.dependant
    if route.methods != {"GET"} or route.param_convertors or route.response_model is None:
        return False
    if asked.header_params or asked.cookie_params or asked.body_params or len(asked.dependencies) != 1:
        return False
    (identity,) = asked.dependencies
    if identity.query_params or identity.header_params or identity.cookie_params or identity.dependencies:
        return False
    models = [_model_of(field) for field in asked.query_params]
    return not models or (len(models) == 1 and models[0] is not None)


def _model_of(field: Any) -> type[BaseModel] | None:
    """The model of a parameter that takes the whole query."""
    kind = field.field_info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _call_of(route: APIRoute) -> Call:
    """What finds out who asks and what for, calls the route, and writes its answer."""
    declared = route.dependant
    (identity,) = declared.dependencies
    find = cast("Callable[[Request], Awaitable[object]]", identity.call)
    endpoint = cast("Callable[..., Awaitable[object]]", declared.call)
    query = next(
        ((field.name, model) for field in declared.query_params if (model := _model_of(field))), None
    )
    write = _writer(route)

    async def call(request: Request) -> Response:
        given: dict[str, object] = {cast("str", identity.name): await find(request)}
        if query is not None:
            given[query[0]] = _read(query[1], request)
        if declared.request_param_name:
            given[declared.request_param_name] = request
        beside = Response()  # what the route says beside its body, whose length is not known yet
        beside.raw_headers.clear()
        if declared.response_param_name:
            given[declared.response_param_name] = beside
        found = await endpoint(**given)
        if isinstance(found, Response):
            return found
        response = Response(write(found), media_type="application/json")
        response.raw_headers += beside.raw_headers
        return response

    return call


def _read(model: type[BaseModel], request: Request) -> BaseModel:
    """The query as its model. Raises RequestValidationError."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in found]) from error


def _writer(route: APIRoute) -> Callable[[object], bytes]:
    """What writes the answer of a route as JSON."""
    model = TypeAdapter[object](route.response_model)
    shown = route.response_model if isinstance(route.response_model, type) else ()
    leave_out = route.response_model_exclude_none

    def write(found: object) -> bytes:
        if not isinstance(found, shown):
            found = model.validate_python(found)
        return model.dump_json(found, by_alias=True, exclude_none=leave_out)

    return write
