"""Who may know whom: the floors of the house, as design.md draws them.

In charge of the direction of imports, of what the leaves and rooms may import from outside, and of how imports are
written. A late import or one for type checking only counts like any other: it is knowledge too.
"""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from source_tree import ROOT, Module, modules_beside, package_modules

#: Rooms from the roof to the ground. Imports go down; rooms of one floor do not import each other.
FLOORS: list[set[str]] = [
    {"__main__", "alembic"},  # the two that Python and alembic start; alembic gathers every room's tables
    {"cli"},
    {"simulator"},
    {"serve"},
    {"config"},
    {"api"},
    {"mailbox", "zones", "antispoof", "mmsc", "charging"},
    {"smsc"},
    {"access", "registry", "signaling"},
    {"store"},
    {"check", "outlet", "metrics", "smsc.smpp", "smsc.text"},
    {"message"},
    {""},  # restante/__init__.py: the version
]
LEAVES = {"check", "outlet", "metrics", "smsc.smpp", "smsc.text", "message", ""}

#: Rooms below their floor that a room does without: the simulator comes in by real doors only.
ONLY = {"simulator": LEAVES | {"signaling", "simulator"}}

#: The standard library and others that would bring I/O, threads or a database into a leaf.
NOT_IN_LEAVES = {
    *("asyncio", "socket", "ssl", "select", "selectors", "threading", "multiprocessing", "concurrent"),
    *(
        "subprocess",
        "sqlite3",
        "sqlalchemy",
        "asyncpg",
        "alembic",
        "fastapi",
        "starlette",
        "uvicorn",
        "uvloop",
    ),
    *("anyio", "httpx", "requests", "http", "urllib"),
}

#: Libraries that belong to some rooms, where the others are meant to ask those rooms.
BELONGS = {
    "alembic": {"alembic", "store"},
    "argon2": {"access"},
    "asyncpg": {"store"},
    "fastapi": {"api"},
    "phonenumbers": {"api"},
    "rich": {"cli", "simulator"},
    "sqlite3": {"store"},
    "starlette": {"api"},
    "typer": {"cli", "simulator"},
    "uvicorn": {"api", "serve"},
}


def room(name: str) -> str:
    """The room of a module: `restante.smsc.smpp.pdu` is in smsc.smpp, `restante.smsc.retry` in smsc."""
    parts = name.split(".")[1:]
    return ".".join(parts[:2]) if parts[:2] in (["smsc", "smpp"], ["smsc", "text"]) else "".join(parts[:1])


def floor(name: str) -> int:
    """Number of a room's floor, counted from the roof."""
    for number, rooms in enumerate(FLOORS):
        if name in rooms:
            return number
    raise AssertionError(f"{name or 'the package'} is on no floor; draw it in design.md and in FLOORS")


def forbidden(importer: str, imported: str) -> str | None:
    """Why one room may not import another; None if it may."""
    if importer == imported:
        return None
    if importer in ONLY and imported not in ONLY[importer]:
        return f"{importer} imports only {', '.join(sorted(ONLY[importer]))}"
    if floor(imported) < floor(importer):
        return f"{imported} is above {importer}"
    if floor(imported) == floor(importer) and importer not in LEAVES:
        return f"{imported} is a sibling of {importer}"
    return None


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("smsc", "store", True),
        ("smsc", "smsc.smpp", True),
        ("smsc.smpp", "smsc", False),
        ("store", "smsc", False),
        ("mailbox", "zones", False),
        ("access", "registry", False),
        ("check", "outlet", True),
        ("message", "check", False),
        ("cli", "simulator", True),
        ("simulator", "smsc", False),
        ("simulator", "smsc.smpp", True),
        ("api", "serve", False),
        ("store", "", True),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert (forbidden(importer, imported) is None) is allowed


def test_imports_go_down_only() -> None:
    wrong = [
        f"{module}:{found.line}: {reason}"
        for module in package_modules()
        for found in module.imports
        if found.target.split(".")[0] == "restante"
        and (reason := forbidden(room(module.name), room(found.target)))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = """
from ..message import Message
from . import tables
import restante.api
if TYPE_CHECKING:
    from ..smsc.smpp import pdu
def late():
    from ..mailbox import box
"""
    found = Module(Path("store/sweep.py"), source).imports
    assert sorted((each.line, room(each.target)) for each in found if "restante" in each.target) == [
        (2, "message"),
        (3, "store"),
        (4, "api"),
        (6, "smsc.smpp"),
        (8, "mailbox"),
    ]


def test_the_way_to_a_leaf_is_free() -> None:
    """Importing smsc.smpp runs restante/__init__.py and smsc/__init__.py, so these two import nothing."""
    on_the_way = [module for module in package_modules() if module.name in {"restante", "restante.smsc"}]
    wrong = [f"{module}:{found.line}" for module in on_the_way for found in module.imports]
    assert not wrong, "\n" + "\n".join(wrong)


def test_imports_inside_the_package_are_relative() -> None:
    wrong = [
        f"{module}:{found.line}: import {found.target} by a relative name"
        for module in package_modules()
        for found in module.imports
        if not found.level and found.target.split(".")[0] == "restante"
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_imports_in_tests_are_absolute() -> None:
    wrong = [
        f"{module}:{found.line}" for module in modules_beside() for found in module.imports if found.level
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_leaves_do_no_input_or_output() -> None:
    wrong = [
        f"{module}:{found.line}: a leaf imports {found.target}"
        for module in package_modules()
        for found in module.imports
        if room(module.name) in LEAVES and found.target.split(".")[0] in NOT_IN_LEAVES
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_libraries_stay_in_their_rooms() -> None:
    wrong: list[str] = []
    for module in package_modules():
        here = room(module.name)
        keeps_tables = here in {"store", "alembic"} or any((ROOT / here).glob("*tables.py"))
        for found in module.imports:
            library = found.target.split(".")[0]
            if library in BELONGS and here not in BELONGS[library]:
                wrong.append(
                    f"{module}:{found.line}: {library} belongs to {', '.join(sorted(BELONGS[library]))}"
                )
            if library == "sqlalchemy" and not keeps_tables:
                wrong.append(f"{module}:{found.line}: {here} has no *tables.py, so it asks the store")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_library_is_declared() -> None:
    """Each third-party import of the package comes from a line of requirements.in, not from the tests' packages."""
    declared = {
        line.split("#")[0].split("[")[0].split(">")[0].split("=")[0].strip().lower().replace("_", "-")
        for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    }
    # These come with one that is declared, as the part of it that code touches.
    declared |= {"pydantic", "starlette", "click"}
    distributions = packages_distributions()
    wrong: set[str] = set()
    for module in package_modules():
        for found in module.imports:
            library = found.target.split(".")[0]
            if found.level or library == "restante" or library in sys.stdlib_module_names:
                continue
            names = {name.lower().replace("_", "-") for name in distributions.get(library, [library])}
            if not names & declared:
                wrong.add(f"{module.path}:{found.line}: {library} is not in requirements.in")
    assert not wrong, "\n".join(sorted(wrong))
