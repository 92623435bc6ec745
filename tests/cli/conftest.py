"""A center that commands are pointed at."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from cli_center import Center, made, served


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Generator[Center]:
    """A fresh center, running."""
    with served(made(tmp_path_factory.mktemp("center")).folder) as running:
        yield running
