"""A center with a fault: it answers its peers before the commit. Shows that crash tests notice.

In charge of: that fault, and of serving with it. Not in charge of: being killed (`tests/crash/test_kill.py`).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from restante.cli.main import main
from restante.store.engine import Engine
from restante.store.store import Answer, Change

#: Stands before the command that would run a center, and runs a hasty one (`RunningCenter.under`).
COMMAND = (sys.executable, str(Path(__file__)))


def hurry() -> None:
    """Answer each change as stored when it is put."""
    put = Engine.put

    def put_hastily(self: Engine, change: Change) -> None:
        asyncio.get_running_loop().call_soon(change.done, Answer.STORED)
        change.done = _nobody
        put(self, change)

    Engine.put = put_hastily


def _nobody(_answer: Answer) -> None:
    """Was answered."""


if __name__ == "__main__":
    sys.path.pop(0)  # the plugins of the tests are no part of a center
    hurry()
    sys.argv = ["restante", *sys.argv[sys.argv.index("serve") :]]
    main()
