"""The checkout as data, for the tests of the house.

In charge of: which files belong to it, which of them are modules of the package, what they import. Not in charge
of any rule; those stand in tests/house/.
"""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Folders at the root that hold Python without being part of the package.
BESIDE = frozenset({"bench", "console", "docs", "tests"})


@cache
def files() -> tuple[Path, ...]:
    """Every file of the checkout, relative to the root: what git tracks, and what it would if it were added."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return tuple(sorted(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()))


@dataclass(frozen=True)
class Import:
    """One import statement's target, resolved to a full module path."""

    #: `restante.store.clock`, `asyncio`, `sqlalchemy.engine`
    target: str
    #: Line of the statement.
    line: int
    #: Dots before the name as written; 0 for an absolute import.
    level: int


class Module:
    """One Python file, parsed once."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        #: Relative to the root.
        self.path = path
        #: The source; given only where a rule is tried on an example.
        self.text = (ROOT / path).read_text(encoding="utf-8") if text is None else text

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, filename=str(self.path))

    @property
    def name(self) -> str:
        """The name under which it is imported: `restante.store.clock`."""
        parts = self.path.with_suffix("").parts
        return ".".join(("restante", *parts[: -1 if parts[-1] == "__init__" else None]))

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @cached_property
    def docstring(self) -> str:
        """The module's docstring, or nothing."""
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """What it imports, wherever the statement stands: a late or typing-only import is knowledge too."""
        return tuple(dict.fromkeys(self._imports()))

    def _imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, 0)
            elif isinstance(node, ast.ImportFrom):
                start = ""
                if node.level:
                    parents = self.package.split(".")
                    start = ".".join(parents[: len(parents) - node.level + 1])
                base = ".".join(part for part in (start, node.module) if part)
                for alias in node.names:
                    # `from . import clock` names a module; `from .clock import Clock` a thing inside one.
                    target = f"{base}.{alias.name}"
                    yield Import(
                        target if node.level and _is_module(target) else base, node.lineno, node.level
                    )


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or path.is_dir()


@cache
def package_modules() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(
        Module(path)
        for path in files()
        if path.suffix == ".py" and (len(path.parts) == 1 or path.parts[0] not in BESIDE)
    )


@cache
def modules_beside() -> tuple[Module, ...]:
    """Every Python file below tests/ and bench/."""
    return tuple(
        Module(path) for path in files() if path.suffix == ".py" and path.parts[0] in {"tests", "bench"}
    )


@cache
def project() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def listed_packages() -> set[str]:
    """The packages that pyproject.toml names."""
    tool = project()["tool"]
    assert isinstance(tool, dict)
    return set(tool["setuptools"]["packages"])


def importable_modules() -> list[str]:
    """Names of the modules that may be imported by anyone; alembic runs env.py and its revisions by itself."""
    return [module.name for module in package_modules() if module.path.parts[0] != "alembic"]
