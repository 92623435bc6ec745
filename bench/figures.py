"""What a benchmark found, beside what it must reach.

In charge of: the lines that a benchmark leaves for the table at the end of `make bench` (`bench/run.py`), which names a
file for them in the environment. Alone, a benchmark leaves nothing. Not in charge of: measuring.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "BENCH_FIGURES"  #: not RESTANTE_…, which centers read as settings


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    work: str
    found: float
    must: float
    unit: str = ""
    at_most: bool = False  #: the limit is the highest that will do; else the lowest
    binding: bool = True  #: False: for comparison, as PostgreSQL's beside SQLite's (design.md, Targets)

    @property
    def reached(self) -> float:
        """Of the limit: 1 and more is met, whichever way the limit goes."""
        return self.must / self.found if self.at_most and self.found > 0 else self.found / self.must

    @property
    def met(self) -> bool:
        """Is it as good as it must be?"""
        return self.found <= self.must if self.at_most else self.found >= self.must


def leave(*found: Figure) -> None:
    """Say what was found, if somebody collects it."""
    path = os.environ.get(FILE)
    if path:
        with Path(path).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(one)) + "\n" for one in found)


def collected(path: Path) -> Iterable[Figure]:
    """What benchmarks left."""
    for line in path.read_text("utf-8").splitlines():
        yield Figure(**json.loads(line))
