"""Programs that tests need and that pip cannot install.

In charge of the rule of behaviour.md 12: as root, or with CI=true, a test that cannot get its component fails;
elsewhere it is skipped, and the summary names what was skipped and the command that would install it.
Not in charge of installing anything: `./bootstrap packages` does that before `make test`.

    def test_receipts(component):
        bearerbox = component("kannel", "bearerbox")
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

PREFIX = "missing component: Debian package "


def find_program(program: str) -> str | None:
    """The path of a program, looked for where daemons live too: a plain user's PATH often lacks sbin."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(program, path=f"{path}:/usr/local/sbin:/usr/sbin:/sbin")


def must_have_components() -> bool:
    """Whether a missing component is a failure: whoever can install packages has no excuse."""
    return os.geteuid() == 0 or os.environ.get("CI") == "true"


def require(package: str, program: str) -> str:
    """The path of `program`; without it the running test fails or is skipped, and `package` is named."""
    found = find_program(program)
    if found is not None:
        return found
    if must_have_components():
        pytest.fail(
            f"{program} is not installed: apt-get install --no-install-recommends {package}", pytrace=False
        )
    pytest.skip(PREFIX + package)


@pytest.fixture(scope="session")
def component() -> Callable[[str, str], str]:
    """`component(package, program)` answers the program's path, else ends the test by the rule above."""
    return require


def skipped_packages(reasons: list[str]) -> list[str]:
    """The packages named in the reasons of skipped tests, each once, in order."""
    return sorted({reason.split(PREFIX, 1)[1].strip() for reason in reasons if PREFIX in reason})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out and how to get it."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    packages = skipped_packages(reasons)
    if packages:
        count = sum(PREFIX in reason for reason in reasons)
        terminalreporter.write_line(
            f"{count} tests skipped for want of {', '.join(packages)}; "
            f"to run them: apt-get install --no-install-recommends {' '.join(packages)}"
        )
