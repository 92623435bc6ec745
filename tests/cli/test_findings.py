"""The doctor's look at the machine: each planted fault is found under its name, with a fix."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from restante.cli import findings
from restante.cli.findings import GIB, Finding, Level


def only(found: list[Finding]) -> Finding:
    (one,) = found
    return one


def test_an_old_python_is_named() -> None:
    assert only([*findings.check_python((3, 10, 4))]).level is Level.FAIL
    assert only([*findings.check_python()]).level is Level.PASS


def test_the_installed_package_is_whole() -> None:
    assert only([*findings.check_package()]).level is Level.PASS


def test_a_full_disk_is_named_with_the_folder(tmp_path: Path) -> None:
    levels = [only([*findings.check_disk(tmp_path, free=lambda _, n=n: n)]).level for n in (0, GIB, 9 * GIB)]
    assert levels == [Level.FAIL, Level.WARN, Level.PASS]
    missing = only([*findings.check_disk(tmp_path / "nowhere")])
    assert missing.level is Level.FAIL
    assert missing.fix == f"mkdir -p {tmp_path / 'nowhere'}"


def test_a_slow_disk_is_named(tmp_path: Path) -> None:
    assert only([*findings.check_fsync(tmp_path, warn_ms=0.0)]).level is Level.WARN
    assert only([*findings.check_fsync(tmp_path, warn_ms=1e9)]).level is Level.PASS
    assert list(tmp_path.iterdir()) == []
    assert only([*findings.check_fsync(tmp_path / "nowhere")]).level is Level.FAIL


def test_too_few_open_files_are_named() -> None:
    low = only([*findings.check_open_files(1024)])
    assert (low.level, low.fix.startswith("ulimit -n 4096")) == (Level.WARN, True)
    assert only([*findings.check_open_files(-1)]).level is Level.PASS


def test_secrets_that_others_may_read_are_named(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(0o640)
    found = only([*findings.check_file_modes([key])])
    assert (found.level, found.fix) == (Level.FAIL, f"chmod 600 {key}")
    key.chmod(0o600)
    assert only([*findings.check_file_modes([key])]).level is Level.PASS
    key.unlink()
    assert [one.level for one in findings.check_file_modes([key])] == [Level.FAIL, Level.SKIP]


def test_a_taken_port_names_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        wanted = [("smpp", "127.0.0.1", port)]
        taken = only([*findings.check_ports(wanted, ours=lambda pid: False)])
        assert taken.level is Level.FAIL
        assert f"pid {os.getpid()}" in taken.text
        assert f"kill {os.getpid()}" in taken.fix
        assert only([*findings.check_ports(wanted, ours=lambda pid: pid == os.getpid())]).level is Level.PASS
        assert findings.listener_of(port) is not None
    assert findings.listener_of(port) is None
    assert only([*findings.check_ports(wanted, ours=lambda pid: False)]).level is Level.PASS


def test_a_port_of_an_address_that_is_not_ours() -> None:
    found = only([*findings.check_ports([("http", "192.0.2.1", 8775)], ours=lambda pid: False)])
    assert (found.name, found.level) == ("port-http", Level.FAIL)
    assert (
        only([*findings.check_ports([("ops", "127.0.0.1", 0)], ours=lambda pid: False)]).level is Level.SKIP
    )
