"""The disk fails under load: EIO from a write, EIO from a sync, no space. Nothing is answered that is not stored.

SQLite only: it is our process that writes the file. A failed sync leaves open what is on disk, so the batch is looked
up over a new connection before anybody is answered (behaviour.md 10); peers see refusals, and all goes on by itself.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import httpx
from crash_book import judge, page, wait_drained
from crash_load import KINDS, OFF, Traffic, furnish, traffic
from failing_disk import FailingDisk, Fault
from running_center import RunningCenter
from waiting import eventually

from restante.smsc.smpp.command_status import CommandStatus as Status


def ready(center: RunningCenter) -> bool:
    """What /readyz says."""
    return httpx.get(f"http://127.0.0.1:{center.ops_port}/readyz", timeout=30).status_code == 200


def suffer(center: RunningCenter, load: Traffic, disk: FailingDisk, fault: Fault) -> int:
    """One fault, from load to load; how many requests were refused meanwhile."""
    before = len(load.acked)
    eventually(lambda: len(load.acked) > before + 150, "load", seconds=120)
    refused = load.refused.total()
    disk.be(fault)
    eventually(lambda: load.refused.total() > refused + 20, f"refusals under {fault.name}", seconds=60)
    eventually(lambda: not ready(center), f"/readyz to say so under {fault.name}", seconds=60)
    disk.be(Fault.NONE)
    healed = len(load.acked)
    eventually(lambda: ready(center), f"/readyz to be content after {fault.name}", seconds=60)
    eventually(lambda: len(load.acked) > healed + 150, f"the load to go on after {fault.name}", seconds=120)
    return load.refused.total() - refused


def test_a_disk_that_fails_in_every_way(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    center = RunningCenter(tmp_path / "center", {"store.heartbeat_s": 0.2})
    (database,) = center.site.database_files
    disk = FailingDisk(tmp_path / "disk", database)
    url = center.site.config.store.url
    center.start(**disk.environ)
    try:
        furnish(center)
        # No handsets that are off: what the box cannot take now is offered again in a minute.
        with traffic(center.smpp_port, seed, [kind for kind in KINDS if kind.number != OFF]) as load:
            load.wait_bound()
            load.go()
            faults = (Fault.SYNC_FAILS, Fault.WRITE_FAILS, Fault.NO_SPACE)
            refused = {fault.name: suffer(center, load, disk, fault) for fault in faults}
            load.rest()
            load.wait_bound()
            wait_drained(url, load, 150)
            assert center.stop() == 0
            said = judge(load, [], page(url))
    finally:
        if not center.process_ended():
            center.kill()
    sys.stdout.write(f"seed {seed}; {dict(said.counts)}; refused: {refused} {dict(load.refused)}\n")
    assert set(load.refused) <= {Status.ESME_RMSGQFUL, Status.ESME_RSYSERR}
    assert not said.faults, "\n".join(said.faults[:20])
