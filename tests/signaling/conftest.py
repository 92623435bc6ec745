"""The real components that several tests of this room talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from osmo_hlr import OsmoHlr


@pytest.fixture
def osmo_hlr(component: Callable[[str, str], str], tmp_path: Path) -> Iterator[OsmoHlr]:
    """A running OsmoHLR without subscribers."""
    hlr = OsmoHlr(component("osmo-hlr", "osmo-hlr"), tmp_path / "hlr")
    try:
        hlr.start()
        yield hlr
    finally:
        hlr.stop()
