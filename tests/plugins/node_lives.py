"""Lives of the nodes of one center, as its database tells them: who works on what, and who is dead.

In charge of: the questions that tests about the death of nodes ask. Not in charge of: nodes themselves
(`node_cluster.py`), or the judgement of a whole run (`crash_book.py`).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from crash_book import Page, read
from running_center import RunningCenter
from waiting import eventually

_UNDER_WAY = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' AND state <> 'idle' AND extract(epoch FROM xact_start) < {0} "
    "AND NOT (state LIKE 'idle in%' AND state_change < clock_timestamp() - interval '1 s')"
)


def name_of(node: RunningCenter) -> str:
    """As in the database."""
    return node.folder.name


def epoch_of(url: str, node: RunningCenter) -> int:
    """The epoch in the row of a node."""
    ((epoch,),) = read(url, f"SELECT epoch FROM node WHERE name = '{name_of(node)}'")[0]
    return int(epoch)


def left_by(url: str, node: RunningCenter, epoch: int) -> Page:
    """What a node that does nothing any more works on, read before others take it; AssertionError after that.

    A commit that it had put on its way may still be going on: that is waited for. A transaction that it left in the
    middle is as good as undone.
    """
    ((now,),) = read(url, "SELECT extract(epoch FROM clock_timestamp())")[0]
    eventually(lambda: read(url, _UNDER_WAY.format(now)) == [[(0,)]], "its last commit to end")
    queue, life = read(
        url,
        f"SELECT id, recipient FROM queue WHERE owner = {epoch}",
        f"SELECT epoch FROM node WHERE name = '{name_of(node)}'",
    )
    assert life == [(epoch,)], "others took it for dead before the test had looked"
    return Page(queue=dict(queue))  # type: ignore[arg-type]  # pairs


def wait_taken_over(url: str, node: RunningCenter, epoch: int) -> float:
    """Until a life is over and none of its rows are left to it; the seconds that took."""
    began = time.monotonic()
    over = f"SELECT count(*) FROM node WHERE name = '{name_of(node)}' AND epoch = {epoch}"
    eventually(lambda: read(url, over) == [[(0,)]], "others to take it for dead", seconds=60)
    rows = f"SELECT count(*) FROM queue WHERE owner = {epoch}"
    eventually(lambda: read(url, rows) == [[(0,)]], "others to take up what it left", seconds=60)
    return time.monotonic() - began


def freeze(node: RunningCenter) -> None:
    """SIGSTOP; returns when the process stands still."""
    assert node.process is not None
    pid = node.process.pid
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it to stop")


def thaw(node: RunningCenter) -> None:
    """SIGCONT."""
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGCONT)
