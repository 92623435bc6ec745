"""The style sheet of design.md, as far as a program can tell.

In charge of: docstrings, sizes, handling of exceptions, sleeps in tests, SQL text, branches on "demo" or "test",
unfinished work, and addresses or paths of one machine in committed files. What ruff and pyright find is left to them.

A rule takes a module and yields findings. Each is tried on an example that breaks it and on one that does not
before it is believed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, Module, files, modules_beside, package_modules

Rule = Callable[[Module], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def by_alembic(module: Module) -> bool:
    """Whether alembic gives the file its shape."""
    return module.path.parts[0] == "alembic"


# --- rules for the package ------------------------------------------------------------------------------------


def opens_with_its_charge(module: Module) -> Iterator[str]:
    """Style 1: the docstring says what the module is in charge of."""
    if not module.docstring:
        yield f"{module}: no docstring"
        return
    exempt = by_alembic(module) or module.path.name == "__init__.py"
    if not exempt and "in charge of" not in module.docstring.lower():
        yield f"{module}: say what it is in charge of, and what not"


def documents_what_is_public(module: Module) -> Iterator[str]:
    """Functions and classes that others may use have a docstring."""
    for node in module.tree.body:
        if (
            not isinstance(node, Function | ast.ClassDef)
            or node.name.startswith("_")
            or ast.get_docstring(node)
        ):
            continue
        if not (by_alembic(module) and node.name in {"upgrade", "downgrade"}):
            yield f"{module}:{node.lineno}: {node.name} has no docstring"


SQL = re.compile(
    r"\s*(SELECT\s+\S|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|PRAGMA\s+\w"
    r"|(CREATE|ALTER|DROP)\s+(TABLE|INDEX)\s)"
)


def strings(module: Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def has_no_sql(module: Module) -> Iterator[str]:
    """Style 10: SQL text stands in the store and beside a room's tables."""
    if (
        module.path.parts[0] != "store"
        and not by_alembic(module)
        and not module.path.name.endswith("tables.py")
    ):
        for line, text in strings(module):
            if SQL.match(text):
                yield f"{module}:{line}: SQL text {text[:60]!r}"


MODE = re.compile(
    r"(is_|in_|for_|under_|run_)?(demo|tests?|testing|mock(ed)?|fake)(_mode|_run)?", re.IGNORECASE
)


def does_not_ask_for_demo_or_test(module: Module) -> Iterator[str]:
    """Style 9: another outlet, clock or register is passed in instead."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            for part in ast.walk(node.test):
                name = (
                    part.id
                    if isinstance(part, ast.Name)
                    else part.attr
                    if isinstance(part, ast.Attribute)
                    else ""
                )
                if MODE.fullmatch(name):
                    yield f"{module}:{node.lineno}: a branch on {name}"
    for line, text in strings(module):
        if "PYTEST_" in text or text == "pytest":
            yield f"{module}:{line}: looks for pytest"


# --- rules for everything -------------------------------------------------------------------------------------


def fits_a_head(module: Module) -> Iterator[str]:
    """Style 13: 60 and 500 lines as they are; up to twice that with a docstring that says "Long because"."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            explained = "long because" in (ast.get_docstring(node) or "").lower()
            if length > (120 if explained else 60):
                yield f"{module}:{node.lineno}: {node.name} has {length} lines; split it, or say 'Long because …'"
    length = module.text.count("\n")
    explained = "long because" in module.docstring.lower()
    if length > (1000 if explained else 500):
        yield f"{module}: {length} lines; split it, or say 'Long because …' in its docstring"


def names_its_exceptions(module: Module) -> Iterator[str]:
    """No bare except."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{module}:{node.lineno}: name the exception"


def gives_reasons_for_silence(module: Module) -> Iterator[str]:
    """An ignored type error names its rule, and in the package the line or the one above says why."""
    in_tests = module.path.parts[0] in {"tests", "bench"}
    lines = module.text.splitlines()
    for number, line in enumerate(lines, 1):
        found = re.search(r"#\s*(?:type|pyright):\s*ignore\b(\[[^]]+\])?(.*)", line)
        if found:
            above = lines[number - 2].strip() if number > 1 else ""
            explained = in_tests or found.group(2).strip(" #") or above.startswith("#")
            if not found.group(1) or not explained:
                yield f"{module}:{number}: name the rule and say why: {line.strip()}"


# --- rules for tests ------------------------------------------------------------------------------------------


def opens_with_what_it_tests(module: Module) -> Iterator[str]:
    """A test file has a docstring."""
    if not module.docstring:
        yield f"{module}: no docstring"


def does_not_sleep(module: Module) -> Iterator[str]:
    """Style 15: no `time.sleep`, and `asyncio.sleep` of more than 0 only as the pause of a loop that polls."""
    if module.path.parts[0] != "tests" or module.path.parts[1] == "plugins":
        return
    inside_loops = {
        id(inner)
        for loop in ast.walk(module.tree)
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        for inner in ast.walk(loop)
    }
    for node in ast.walk(module.tree):
        if (
            not isinstance(node, ast.Call)
            or not isinstance(node.func, ast.Attribute)
            or node.func.attr != "sleep"
        ):
            continue
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
        if owner == "time" or (owner in {"asyncio", "anyio"} and not zero and id(node) not in inside_loops):
            yield f"{module}:{node.lineno}: {owner}.sleep; poll with tests/plugins/waiting.py, or step the clock"


FOR_PACKAGE: list[Rule] = [
    opens_with_its_charge,
    documents_what_is_public,
    has_no_sql,
    does_not_ask_for_demo_or_test,
    fits_a_head,
    names_its_exceptions,
    gives_reasons_for_silence,
]
FOR_TESTS: list[Rule] = [
    opens_with_what_it_tests,
    does_not_sleep,
    fits_a_head,
    names_its_exceptions,
    gives_reasons_for_silence,
]

CHARGE = '"""A room.\n\nIn charge of this, not of that.\n"""\n'
IGNORE = "value = 1  # type: " + "ignore"  # in two halves, so that this line is no finding itself
#: Rule, file, source that breaks it, source that does not.
EXAMPLES: list[tuple[Rule, str, str, str]] = [
    (opens_with_its_charge, "smsc/a.py", '"""Things."""\n', CHARGE),
    (opens_with_what_it_tests, "tests/test_a.py", "import os\n", '"""Things."""\n'),
    (documents_what_is_public, "smsc/a.py", "def one(): pass\n", "def _one(): pass\n"),
    (has_no_sql, "smsc/a.py", 'QUERY = "SELECT id FROM queue"\n', 'TEXT = "Select a number"\n'),
    (has_no_sql, "mailbox/box.py", 'QUERY = """\n  DELETE FROM box"""\n', '"""SELECT in a docstring."""\n'),
    (does_not_ask_for_demo_or_test, "serve.py", "if settings.demo: pass\n", "if settings.attempts: pass\n"),
    (does_not_ask_for_demo_or_test, "serve.py", "x = 1 if testing else 2\n", "x = 1 if tested else 2\n"),
    (fits_a_head, "smsc/a.py", "def one():\n" + "    x = 1\n" * 60, "def one():\n" + "    x = 1\n" * 59),
    (fits_a_head, "smsc/a.py", "x = 1\n" * 501, '"""Long because flat."""\n' + "x = 1\n" * 501),
    (names_its_exceptions, "smsc/a.py", "try: pass\nexcept: pass\n", "try: pass\nexcept OSError: pass\n"),
    (gives_reasons_for_silence, "smsc/a.py", IGNORE + "\n", IGNORE + "[assignment]  # the stub is wrong\n"),
    (does_not_sleep, "tests/test_a.py", "time.sleep(0)\n", "asyncio.sleep(0)\n"),
    (does_not_sleep, "tests/test_a.py", "asyncio.sleep(1)\n", "while x():\n    asyncio.sleep(1)\n"),
]


@pytest.mark.parametrize(("rule", "path", "bad", "good"), EXAMPLES)
def test_the_rules_themselves(rule: Rule, path: str, bad: str, good: str) -> None:
    assert list(rule(Module(Path(path), bad)))
    assert not list(rule(Module(Path(path), good)))


@pytest.mark.parametrize("rule", FOR_PACKAGE)
def test_the_package(rule: Rule) -> None:
    wrong = [finding for module in package_modules() for finding in rule(module)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("rule", FOR_TESTS)
def test_the_tests(rule: Rule) -> None:
    wrong = [finding for module in modules_beside() for finding in rule(module)]
    assert not wrong, "\n" + "\n".join(wrong)


# --- rules for every committed line ---------------------------------------------------------------------------

# Written in two halves, so that this file is not a finding of itself.
UNFINISHED = re.compile(
    "|".join([r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b", r"mark\.x" + "fail"])
)
PLACES = re.compile(
    "|".join(
        [
            r"pypi\." + "org",
            r"files\.python" + "hosted",
            r"registry\." + "npmjs",
            r"registry\." + "yarnpkg",
            r"deb\." + r"debian\.org",
            "/wo" + r"rk/(main|shared|\.library)",
            "/ro" + r"ot/\.",
            "/ho" + "me/[a-z]+/",
            "/op" + "t/(wheels|pypi)",
        ]
    )
)


def lines() -> Iterator[tuple[str, str]]:
    """Place and text of every line of every text file of the checkout."""
    for path in files():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content[:8192]:
            for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
                yield f"{path}:{number}", line


def test_files_name_no_registry_and_no_place_of_one_machine() -> None:
    here = re.compile(re.escape(str(ROOT)) + r"(?![\w-])")
    wrong = [
        f"{place}: {line.strip()[:100]}"
        for place, line in lines()
        if PLACES.search(line) or here.search(line)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_nothing_is_marked_as_unfinished() -> None:
    wrong = [f"{place}: {line.strip()[:100]}" for place, line in lines() if UNFINISHED.search(line)]
    assert not wrong, "\n" + "\n".join(wrong)
