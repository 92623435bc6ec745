"""What a user installs is what stands in the repository.

In charge of: building wheel and sdist from the committed files, building the wheel again from the sdist, comparing both
with what git tracks, installing the wheel in an environment of its own outside the checkout, and using it there as
a user would. The environment borrows the locked libraries of .venv by a path, so that nothing is downloaded.

To use the installed center in a test, ask for `installed`: it runs commands in an empty folder with an environment that
does not know the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from running_center import free_ports
from source_tree import ROOT, importable_modules, listed_packages
from waiting import eventually

from restante import __version__

#: One worker runs this file: the builds are made once.
pytestmark = pytest.mark.xdist_group("wheel")

WHEEL = f"restante-{__version__}-py3-none-any.whl"
SDIST = f"restante-{__version__}.tar.gz"

#: Below a package these are files of the package, though they are no Python.
DATA = {"py.typed", "script.py.mako"}


def committed() -> set[str]:
    """Every file that git tracks and that is still there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def belongs_in_wheel(name: str) -> bool:
    """Whether a committed file is part of a package that pyproject.toml lists."""
    path = PurePosixPath(name)
    package = ".".join(("restante", *path.parent.parts))
    return package in listed_packages() and (path.suffix == ".py" or path.name in DATA)


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build as a release would, with the setuptools of the lock instead of a downloaded one."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(target), str(source)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@dataclass(frozen=True)
class Built:
    """What one release consists of."""

    wheel: Path
    sdist: Path
    wheel_from_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Wheel and sdist of the committed files alone, and the wheel that the sdist gives."""
    source = tmp_path_factory.mktemp("source")
    for name in committed():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    build(source, first, "--wheel", "--sdist")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(first / SDIST) as archive:
        archive.extractall(unpacked, filter="data")
    build(unpacked / SDIST.removesuffix(".tar.gz"), second, "--wheel")
    return Built(first / WHEEL, first / SDIST, second / WHEEL)


@dataclass(frozen=True)
class Installed:
    """The center as a user has it."""

    #: `bin` of its environment.
    programs: Path
    #: An empty folder to stand in.
    folder: Path

    def environment(self) -> dict[str, str]:
        """A user's environment: the new programs first, nothing of Python's or ours."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RESTANTE"))
        }
        return {**kept, "PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.folder)}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command there, its output in pipes; the caller ends it."""
        return subprocess.Popen(
            command,
            executable=str(self.programs / command[0]),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, seconds: float = 120.0) -> str:
        """Run a command there to its end, which must be a good one, and return what it printed."""
        with self.start(*command) as process:
            output, errors = process.communicate(timeout=seconds)
        assert process.returncode == 0, f"{' '.join(command)}: {process.returncode}\n{output}\n{errors}"
        return output


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a fresh environment outside the checkout."""
    place = tmp_path_factory.mktemp("elsewhere")
    environment = place / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], cwd=place, check=True)
    library = next(environment.glob("lib/python3*/site-packages"))
    here = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    # A line of a .pth file adds that folder, but not the .pth files in it: the editable install stays unknown.
    (library / "locked.pth").write_text(f"{here}\n", encoding="utf-8")
    uv = Path(sys.executable).with_name("uv")
    python = environment / "bin" / "python"
    subprocess.run(
        [str(uv), "pip", "install", "--quiet", "--no-config", "--offline", "--no-deps"]
        + ["--python", str(python), str(built.wheel)],
        cwd=place,
        check=True,
    )
    folder = place / "folder"
    folder.mkdir()
    return Installed(environment / "bin", folder)


def test_the_wheel_holds_the_committed_packages(built: Built) -> None:
    expected = {f"restante/{name}" for name in committed() if belongs_in_wheel(name)}
    with zipfile.ZipFile(built.wheel) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        for name in sorted(found):
            assert wheel.read(name) == (ROOT / name.removeprefix("restante/")).read_bytes(), f"{name} differs"
    assert found == expected


def test_the_wheel_carries_its_metadata(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        info = f"restante-{__version__}.dist-info"
        metadata = wheel.read(f"{info}/METADATA").decode()
        assert "License-Expression: Apache-2.0" in metadata
        assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert "restante = restante.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
    declared = [
        line.split("#")[0].split(">")[0].strip()
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    ]
    for requirement in filter(None, declared):
        assert f"Requires-Dist: {requirement}" in metadata


def test_the_sdist_holds_every_committed_file(built: Built) -> None:
    top = SDIST.removesuffix(".tar.gz")
    with tarfile.open(built.sdist) as archive:
        found = {
            name.removeprefix(f"{top}/") for name in archive.getnames() if not archive.getmember(name).isdir()
        }
    made = {name for name in found if name in {"PKG-INFO", "setup.cfg"} or ".egg-info/" in name}
    missing, unexpected = committed() - found, found - made - committed()
    assert not missing, f"name these in MANIFEST.in: {sorted(missing)}"
    assert not unexpected, f"not committed, but in the sdist: {sorted(unexpected)}"


def test_the_sdist_gives_the_same_wheel(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as one, zipfile.ZipFile(built.wheel_from_sdist) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            if not name.endswith("/RECORD"):
                assert one.read(name) == other.read(name), f"{name} differs"


def test_every_module_imports_where_only_the_wheel_is(installed: Installed) -> None:
    names = [name for name in importable_modules() if is_committed(name)]
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "import restante; print(restante.__path__[0], restante.__version__)"
    )
    place, version = installed.run("python", "-c", code, json.dumps(names)).split()
    assert version == __version__
    assert ROOT not in Path(place).parents
    assert Path(place) != ROOT


def is_committed(name: str) -> bool:
    """Whether a module's file is one that git tracks."""
    path = "/".join(name.split(".")[1:])
    return bool({f"{path}.py", f"{path}/__init__.py".lstrip("/")} & committed())


def test_the_command_starts(installed: Installed) -> None:
    assert __version__ in installed.run("restante", "--version")
    assert __version__ in installed.run("python", "-m", "restante", "--version")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_installed_center_takes_a_message(
    installed: Installed, database: str, request: pytest.FixtureRequest
) -> None:
    """As a user: make a center, migrate its database, serve, send, and ask where the message is."""
    folder = installed.folder / database
    ports = free_ports(3)
    url: list[str] = []
    if database == "postgresql":
        url = ["--database", request.getfixturevalue("pg_durable_database")]
    options = [f"--{door}-port={port}" for door, port in zip(("smpp", "http", "ops"), ports, strict=True)]
    installed.run("restante", "init", "--dir", str(folder), *options, *url)
    config = ("--config", str(folder / "restante.toml"))
    assert "0 failed" in installed.run("restante", "doctor", *config)
    installed.run("restante", "db", "upgrade", *config)  # finds nothing to do
    with installed.start("restante", "serve", *config) as center:
        try:
            assert center.stdout is not None
            assert any("ready" in line for line in center.stdout)
            installed.run("restante", "range", "add", "+4477", *config)
            sent = json.loads(installed.run("restante", "send", "+447700900123", "hello", "--json", *config))
            id = sent["items"][0]["id"]
            eventually(lambda: "mailbox" in installed.run("restante", "trace", id, *config), seconds=60)
        finally:
            center.terminate()
            center.communicate(timeout=60)
    assert center.returncode == 0
