"""Named points at which a crash test kills the process.

In charge of: reading one setting and dying at the right pass. Not in charge of: what a crash must not break
(`tests/crash/`). The seam is a plain function that rooms are given and call with the point's name; without the
setting it is a function that does nothing, called once a batch at most.

Points:

    before-commit, after-commit             store: each transaction of changes
    before-take-over, after-take-over       store: rows of lives that are over are looked for; some were given back
    after-claim                             store: rows were claimed, and nobody knows it yet
    before-response, after-response         binds: what a turn of the loop has to say is written
    before-send, after-send                 delivery: a message is handed to an outlet
    before-finish, after-finish             delivery: an outcome is about to be recorded; it is on disk

Setting: `RESTANTE_FAILPOINT=before-commit:3` kills at the third pass.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

__all__ = ["VARIABLE", "Failpoint", "from_environment", "nothing"]

Failpoint = Callable[[str], None]
VARIABLE = "RESTANTE_FAILPOINT"


def nothing(_point: str) -> None:
    """Pass every point alive."""


def from_environment(environ: Mapping[str, str]) -> Failpoint:
    """Return what RESTANTE_FAILPOINT asks for; ValueError on a setting that cannot be read."""
    setting = environ.get(VARIABLE, "")
    if not setting:
        return nothing
    name, _, text = setting.partition(":")
    left = int(text or "1")

    def die(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return die
