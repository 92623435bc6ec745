"""Versions as HTTP writes them.

In charge of: ETag and If-Match (RFC 9110 §8.8.3, §13.1.1). Not in charge of: what has versions.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from .problems import Problem

__all__ = ["IfMatch", "etag", "etag_version", "version_of"]

IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=64, description="ETag of the version you know")
]

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')


def etag(version: int) -> str:
    """A version as an ETag."""
    return f'"{version}"'


def etag_version(text: str) -> int:
    """The version an ETag names. Raises version-stale for one that is not ours."""
    found = _ETAG.fullmatch(text.strip())
    if found is None:
        raise Problem("version-stale", "If-Match must be an ETag as it was given.")
    return int(found[1])


def version_of(if_match: str | None) -> int:
    """The version that a required If-Match names. Raises version-missing, version-stale."""
    if if_match is None:
        raise Problem("version-missing")
    return etag_version(if_match)
