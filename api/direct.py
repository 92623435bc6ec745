"""Lists that are asked for all the time, called without the framework's detour.

In charge of: finding out who asks and what for, for a GET with one identity and one model of filters, and calling the
route. Not in charge of: what the route does, or its description, which is made from its declaration as any other's.

The framework solves parameters by walking their declarations at each request; for a dozen filters that costs as much as
reading the page. Here the model reads the query by itself. What is wrong with it is told in the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

__all__ = ["DirectRoute"]


class DirectRoute(APIRoute):
    """A route with the parameters `request`, `response`, one dependency on who asks, and one model of the query; it
    returns its response."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that reads the query by the model alone."""
        (identity,) = self.dependant.dependencies
        (asked,) = self.dependant.query_params
        assert identity.name is not None
        names = identity.name, asked.name
        model = cast("type[BaseModel]", asked.field_info.annotation)
        find = cast("Callable[[Request], Coroutine[Any, Any, object]]", identity.call)
        call = cast("Callable[..., Coroutine[Any, Any, Response]]", self.dependant.call)

        async def handle(request: Request) -> Response:
            who = await find(request)
            try:
                query = model.model_validate(dict(request.query_params))
            except ValidationError as error:
                found = error.errors(include_url=False)
                raise RequestValidationError(
                    [{**one, "loc": ("query", *one["loc"])} for one in found]
                ) from error
            headers = Response()  # what the route says beside its body, whose length is not known yet
            del headers.headers["content-length"]
            return await call(
                request=request, response=headers, **dict(zip(names, (who, query), strict=True))
            )

        return handle
