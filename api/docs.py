"""The API's documentation: its OpenAPI document and pages that work without the Internet.

In charge of: Swagger UI from files that a package carries (fastapi-offline; nothing is fetched from elsewhere), and
what FastAPI cannot know about the document: that every error is a problem. Not in charge of: the routes.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from .problems import MEDIA_TYPE, Problem, ProblemBody

__all__ = ["document", "install"]

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
_DESCRIPTION = """A message center that keeps what it cannot deliver until the recipient asks for it.

Errors are problems (RFC 9457); `type` is a path whose page says what to do. Lists go on with `next_cursor`. Objects
that operators edit want `If-Match`. Requests that send want an `Idempotency-Key`. Times are RFC 3339 in UTC; message
ids are decimal strings."""


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with problems instead of FastAPI's own errors."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        separate_input_output_schemas=True,
    )
    components = made.setdefault("components", {})
    schemas = cast("dict[str, Any]", components.setdefault("schemas", {}))
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "access token or API key (sk_…)"},
    }
    problem = {
        "description": "Problem",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in cast("dict[str, dict[str, Any]]", made.get("paths", {})).values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"].update({"4XX": problem, "5XX": problem})
            operation["security"] = [{}, {"bearer": []}]
    return made


def install(app: FastAPI) -> None:
    """Serve the document and the pages."""
    assets = files("fastapi_offline") / "static"

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    cast("Any", app).openapi = openapi

    @app.get("/docs", include_in_schema=False)
    async def swagger(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Restante API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
        )
        # The page's own script stands in a file too, so that the policy may refuse inline scripts.
        start, _, rest = bytes(page.body).decode().partition("<script>")
        _, _, end = rest.partition("</script>")
        return HTMLResponse(f'{start}<script src="/docs/assets/start.js"></script>{end}')

    @app.get("/docs/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name == "start.js":
            return Response(_START, media_type="text/javascript; charset=utf-8")
        if name not in _ASSETS:
            raise Problem("not-found")
        return Response(
            (assets / name).read_bytes(),
            media_type=_ASSETS[name],
            headers={"Cache-Control": "public, max-age=86400"},
        )


_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
