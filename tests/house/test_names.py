"""Names: nothing at the root shadows a library, every module has one import name, every folder is in the wheel.

The root of the repository is the package, so whatever stands there is importable under its bare name as well
whenever the checkout is the working directory. That is why a few names are forbidden.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from source_tree import BESIDE, ROOT, files, importable_modules, listed_packages, package_modules

#: Folders whose names belong to others: without __init__.py they are namespaces, which never win over a real package.
NAMESPACES = ("mailbox", "alembic", "alembic/versions")

FORBIDDEN_STEMS = frozenset(
    {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "types", "misc"}
)


def test_root_names_shadow_nothing() -> None:
    taken = set(sys.stdlib_module_names) | set(packages_distributions()) - {"restante"}
    at_root = {path.stem for path in files() if len(path.parts) == 1 and path.suffix == ".py"}
    at_root |= {path.parts[0] for path in files() if len(path.parts) == 2 and path.name == "__init__.py"}
    clashes = (at_root - {"__init__", "__main__"}) & taken
    assert not clashes, f"these names at the root hide a library of that name: {sorted(clashes)}"


def test_namespace_folders_have_no_init() -> None:
    wrong = [name for name in NAMESPACES if (ROOT / name / "__init__.py").exists()]
    assert not wrong, f"remove __init__.py from {wrong}: it would hide the library of that name"


def test_other_folders_have_an_init() -> None:
    folders = {path.parent for path in files() if path.suffix == ".py"}
    folders = {folder for folder in folders if folder.parts and folder.parts[0] not in BESIDE}
    missing = [
        str(folder)
        for folder in sorted(folders)
        if folder.parts[0] not in {"mailbox", "alembic"} and not (ROOT / folder / "__init__.py").is_file()
    ]
    assert not missing, f"__init__.py is missing in {missing}"


def test_every_folder_is_in_the_wheel() -> None:
    found = {
        ".".join(("restante", *path.parent.parts))
        for path in files()
        if path.suffix == ".py" and (len(path.parts) == 1 or path.parts[0] not in BESIDE)
    }
    listed = listed_packages()
    missing = sorted(found - listed)
    assert not missing, f"name in `packages` of pyproject.toml: {missing}"
    stale = sorted(name for name in listed if not ROOT.joinpath(*name.split(".")[1:]).is_dir())
    assert not stale, f"pyproject.toml lists folders that do not exist: {stale}"


def test_file_names_say_something() -> None:
    wrong = [str(path) for path in files() if path.suffix == ".py" and path.stem in FORBIDDEN_STEMS]
    wrong += [str(path) for path in files() if FORBIDDEN_STEMS & set(path.parent.parts)]
    assert not wrong, f"name these for what they are in charge of: {sorted(set(wrong))}"


IMPORT_EVERYTHING = """
import importlib, json, sys
import mailbox, alembic
others = {"mailbox": mailbox.__file__, "alembic": alembic.__file__}
seen = []
def watch(event, arguments):
    started = ("socket.bind", "socket.connect", "subprocess.Popen", "os.fork", "os.mkdir", "os.remove",
               "sqlite3.connect", "_thread.start_new_thread")
    if watching and (event in started or event == "open" and arguments[1] and set(str(arguments[1])) & set("wax+")):
        seen.append(f"{name}: {event} {arguments[:1]}")
watching = False
sys.addaudithook(watch)
sys.dont_write_bytecode = True
libraries = json.loads(sys.argv[2])
for name in libraries:
    importlib.import_module(name)
watching = True
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
watching = False
files = {}
for name, module in list(sys.modules.items()):
    if getattr(module, "__file__", None):
        files.setdefault(module.__file__, []).append(name)
print(json.dumps({"files": files, "others": others, "seen": seen}))
"""


def import_everything() -> dict[str, dict[str, list[str]]]:
    """Import the whole package in a fresh interpreter that stands in the root; the house's libraries come first."""
    outside = sorted(
        {
            found.target.split(".")[0]
            for module in package_modules()
            for found in module.imports
            if not found.level
        }
        - {"restante", "__future__"}
    )
    command = [sys.executable, "-c", IMPORT_EVERYTHING, json.dumps(importable_modules()), json.dumps(outside)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_starts_nothing_and_names_are_unique() -> None:
    found = import_everything()
    assert not found["seen"], "something happens on import: " + "; ".join(found["seen"])
    for name, path in found["others"].items():
        assert Path(str(path)).parent.parent != ROOT, (
            f"import {name} finds this checkout instead of the library"
        )
        assert Path(str(path)) != ROOT / name / "__init__.py"
    twice = {
        path: names
        for path, names in found["files"].items()
        if len(names) > 1 and ROOT in Path(path).parents and ".venv" not in path
    }
    # `python -m` and the package itself aside, a file is one module.
    assert not twice, f"imported under two names: {twice}"


def test_pytest_imports_the_package_under_its_own_name() -> None:
    # pytest itself loads the root's __init__.py, which holds the version, under the name of the checkout's folder.
    package_files = {str(ROOT / module.path) for module in package_modules() if module.name != "restante"}
    wrong = {
        name: module.__file__
        for name, module in list(sys.modules.items())
        if getattr(module, "__file__", None) in package_files and name.split(".")[0] != "restante"
    }
    assert not wrong, f"imported under a bare name: {wrong}"


def test_the_package_starts_as_a_module() -> None:
    """`python -m restante` finds the package and, from the root, still the libraries that share names with it."""
    code = "import mailbox, alembic, restante.__main__; print(mailbox.Mailbox.__name__, alembic.__version__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Mailbox ")
