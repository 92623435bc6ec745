"""Everything that centers say while these tests run is captured, and Wireshark's dissector finds nothing malformed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from running_center import RunningCenter
from wire_capture import WireCapture


@pytest.fixture(scope="session", autouse=True)
def nothing_malformed(
    component: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """One capture a worker, judged after its last test."""
    dumpcap, tshark = component("tshark", "dumpcap"), component("tshark", "tshark")
    capture = WireCapture(dumpcap, tshark, tmp_path_factory.mktemp("capture"))
    yield
    capture.stop()
    ports = sorted(RunningCenter.smpp_ports)
    said = capture.judge(ports)
    sys.stdout.write(f"tshark read {said.frames} frames with SMPP of centers; {said.torn} torn streams\n")
    assert not said.malformed
    assert said.frames > 0 or not ports
