"""The command line's way into a running center: its REST interface, and nothing else.

In charge of: finding the center and the key to it (`restante.toml` and the operator file beside it, or RESTANTE_URL and
RESTANTE_API_KEY), one request at a time, and turning problems (RFC 9457) into words. Not in charge of: what a
command asks for or prints.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from .output import Exit, Failure
from .site import OPERATOR_FILE, Running, config_path, reachable, read_config

__all__ = ["Client", "OperatorFile", "connect"]

TIMEOUT_S = 30.0
API = "/api/v1"

Json = dict[str, Any]


class OperatorFile:
    """What the first operator was given, kept for the command line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, facts: Mapping[str, str]) -> None:
        """Create it, readable by its owner only. FileExistsError if it is there already."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(facts, stream, indent=2)
            stream.write("\n")

    def read(self) -> dict[str, str]:
        """Its facts. Raises Failure when it cannot be used."""
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
            if mode & 0o077:
                raise Failure(
                    f"{self.path} may be read by others (mode {mode:o})", fix=f"chmod 600 {self.path}"
                )
            return cast("dict[str, str]", json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise Failure(
                f"no key to the center: {self.path} does not exist",
                fix="restante init --dir DIR makes one; or set RESTANTE_URL and RESTANTE_API_KEY",
            ) from error
        except (OSError, ValueError) as error:
            raise Failure(f"cannot use {self.path}: {error}") from error


def connect(
    config_file: str | None, *, key: str = "api_key", environ: Mapping[str, str] | None = None
) -> Client:
    """A client of the center that `config_file` (or the environment) names. `key`: which key of the operator file.

    Raises Failure.
    """
    environ = os.environ if environ is None else environ
    url, token = environ.get("RESTANTE_URL", ""), environ.get("RESTANTE_API_KEY", "")
    folder = config_path(config_file).resolve().parent
    if not token:
        token = OperatorFile(folder / OPERATOR_FILE).read().get(key, "")
    return Client(url or _address(config_file, folder, environ), token)


def _address(config_file: str | None, folder: Path, environ: Mapping[str, str]) -> str:
    """Where the center listens: by the note that it leaves while it runs, else by its configuration."""
    running = Running.read(folder)
    if running is not None:
        return running.url
    http = read_config(config_file, environ).config.http
    scheme = "https" if http.tls_certificate else "http"
    return f"{scheme}://{reachable(http.host, http.port)}"


class Client:
    """A client of one center's REST interface. Use it in a `with`."""

    def __init__(self, url: str, api_key: str = "", *, transport: httpx.BaseTransport | None = None) -> None:
        """`url`: scheme, host and port; `transport`: another one, for tests of this class."""
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json", "User-Agent": "restante-cli"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(
            base_url=self.url + API, headers=headers, timeout=TIMEOUT_S, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: object) -> Any:
        """GET and decode."""
        return self._decoded(self._request("GET", path, params=params))

    def post(
        self,
        path: str,
        body: object = None,
        *,
        etag: str = "",
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        **params: object,
    ) -> Any:
        """POST a JSON body and decode the answer (None if there is none)."""
        return self._change("POST", path, body, etag, reason, params, headers)

    def patch(
        self, path: str, changes: Mapping[str, object], *, etag: str, reason: str = "", **params: object
    ) -> Any:
        """PATCH (RFC 7396) a version of an object."""
        kind = {"Content-Type": "application/merge-patch+json"}
        return self._change("PATCH", path, changes, etag, reason, params, kind)

    def put(self, path: str, body: object, *, etag: str = "", reason: str = "", **params: object) -> Any:
        """PUT a value."""
        return self._change("PUT", path, body, etag, reason, params)

    def delete(self, path: str, *, etag: str = "", reason: str = "", **params: object) -> Any:
        """DELETE a version of an object, or something without versions."""
        return self._change("DELETE", path, None, etag, reason, params)

    def upload(
        self, path: str, content: bytes, content_type: str, *, reason: str = "", **params: object
    ) -> Any:
        """POST octets that are no JSON."""
        headers = {"Content-Type": content_type} | ({"X-Reason": reason} if reason else {})
        return self._decoded(self._request("POST", path, content=content, headers=headers, params=params))

    def download(self, path: str, **params: object) -> bytes:
        """GET octets."""
        return self._request("GET", path, params=params).content

    def _change(
        self,
        method: str,
        path: str,
        body: object,
        etag: str,
        reason: str,
        params: Mapping[str, object],
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        said = {"If-Match": etag, "X-Reason": reason, **(headers or {})}
        said = {name: value for name, value in said.items() if value}
        return self._decoded(self._request(method, path, body=body, headers=said, params=params))

    def versioned(self, path: str) -> tuple[Json, str]:
        """An object and its ETag."""
        response = self._request("GET", path)
        return cast("Json", self._decoded(response)), response.headers.get("ETag", "")

    def pages(self, path: str, *, limit: int | None = None, **params: object) -> Iterator[Json]:
        """Every item of a collection (at most `limit`), page by page."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            size = 200 if left is None else min(left, 200)
            page = cast("Json", self.get(path, **params, limit=size, cursor=cursor))
            items = cast("list[Json]", page["items"])
            yield from items
            cursor = cast("str | None", page.get("next_cursor"))
            if left is not None:
                left -= len(items)
            if not cursor or not items:
                return

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        assert "?" not in path, "what stands in the path would be lost: httpx replaces it by params"
        sent = {name: _parameter(value) for name, value in (params or {}).items() if value is not None}
        try:
            said = dict(headers or {})
            response = self._http.request(method, path, json=body, content=content, headers=said, params=sent)
        except httpx.InvalidURL as error:
            raise Failure(f"{self.url} is not an address: {error}", code=Exit.USAGE) from error
        except httpx.TimeoutException as error:
            raise Failure(f"the center at {self.url} did not answer within {TIMEOUT_S:.0f} s") from error
        except httpx.TransportError as error:
            raise Failure(
                f"nothing answers at {self.url}: {error}",
                fix="start the center: restante serve --config restante.toml",
            ) from error
        if response.is_success:
            return response
        raise refusal(response)

    @staticmethod
    def _decoded(response: httpx.Response) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise Failure(f"{response.request.url} did not answer with JSON: is this a Restante?") from error


def _parameter(value: object) -> str | list[str]:
    if isinstance(value, list):
        return [str(one) for one in cast("list[object]", value)]
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def refusal(response: httpx.Response) -> Failure:
    """What a negative answer means, in words."""
    try:
        problem = cast("Json", response.json())
        title = str(problem["title"])
    except (ValueError, KeyError, TypeError):
        return Failure(f"the center answered {response.status_code} {response.reason_phrase}")
    text = title
    if problem.get("detail"):
        text += f": {problem['detail']}"
    for found in cast("list[Json]", problem.get("errors") or []):
        text += f"\n  {found.get('pointer', '')} {found.get('detail', '')}".rstrip()
    fix = ""
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        fix = "the key in operator.json or RESTANTE_API_KEY is not (or no longer) good at this center"
    elif response.status_code == HTTPStatus.PRECONDITION_FAILED:
        fix = "somebody changed it in between; run the command again"
    elif response.status_code == HTTPStatus.FORBIDDEN:
        fix = "ask an operator who may do this"
    return Failure(text, fix=fix, facts={"problem": problem})
