"""How much of a long test runs.

In charge of the caps that `make test-long` lifts (behaviour.md 12): a fuzz, crash or soak test asks for its size here
and stays one test. A test that makes no sense when short is marked `long` instead.

    def test_mutations(cap):
        for _ in range(cap(10_000, 1_000_000)): ...
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def cap() -> Callable[[int, int], int]:
    """`cap(short, long)` answers `short` in `make test` and `long` in `make test-long`."""
    lifted = os.environ.get("RESTANTE_LONG") == "1"
    return lambda short, long: long if lifted else short
