"""Where a center lives: its folder, its configuration, and whether it runs.

In charge of: reading the configuration for a command, resolving paths relative to its file, and the note `running.json`
that a running center leaves beside it. Not in charge of: what the settings mean.

Importing this file is cheap; the configuration brings all rooms along and is imported when it is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, SecretStr

from .output import Failure

if TYPE_CHECKING:
    from ..config import Config, ConfigError, Loaded
    from ..serve import Addresses

__all__ = [
    "CONFIG_FILE",
    "KEY_FILE",
    "OPERATOR_FILE",
    "RUNNING_FILE",
    "Running",
    "Site",
    "config_path",
    "explained",
    "placed",
    "reachable",
    "read_config",
    "site",
]

M = TypeVar("M", bound=BaseModel)

CONFIG_FILE = "restante.toml"
KEY_FILE = "restante.key"
OPERATOR_FILE = "operator.json"  #: beside restante.toml, mode 0600, written by `restante init`
RUNNING_FILE = "running.json"  #: beside restante.toml while the center runs


def config_path(given: str | None) -> Path:
    """The configuration file that is meant; it need not exist."""
    return Path(given or CONFIG_FILE)


@dataclass(frozen=True, slots=True)
class Site:
    """One center's place."""

    loaded: Loaded[Config]
    folder: Path  #: of restante.toml
    config: Config  #: with paths that do not depend on the working directory
    key_file: Path

    @property
    def secret_files(self) -> list[Path]:
        """Files that nobody else may read; those that must be there, and the others if they are."""
        optional = [self.folder / OPERATOR_FILE, *self.database_files]
        if re.search(r"://[^/:@]*:.*@", self.config.store.url):
            optional.append(self.folder / CONFIG_FILE)
        for key in (self.config.http.tls_key, self.config.smpp.tls.key):
            if key is not None:
                optional.append(key)
        return [self.key_file, *(path for path in optional if path.exists())]

    @property
    def database_files(self) -> list[Path]:
        """SQLite's file; none for PostgreSQL."""
        url = self.config.store.url
        return [Path(url.partition(":///")[2])] if url.startswith("sqlite:///") else []

    @property
    def data_folder(self) -> Path:
        """Where the disk fills up."""
        files = self.database_files
        return files[0].parent if files else self.folder


def read_config(config_file: str | None, environ: Mapping[str, str] | None = None) -> Loaded[Config]:
    """The configuration of a command: the file if it is named or there, and the environment. Raises Failure."""
    from ..config import Config, ConfigError, load

    path = config_path(config_file)
    try:
        return load(
            Config, path if config_file or path.exists() else None, os.environ if environ is None else environ
        )
    except ConfigError as error:
        raise explained(error) from error


def explained(error: ConfigError) -> Failure:
    """A configuration that cannot be used, as a failure of the command."""
    return Failure(
        "the configuration cannot be used:\n" + "\n".join(f"  {problem}" for problem in error.problems),
        fix="correct the places named above; `restante config reference` tells every key",
        facts={"problems": [str(problem) for problem in error.problems]},
    )


def site(config_file: str | None, environ: Mapping[str, str] | None = None) -> Site:
    """The center that a command is about. Raises Failure if there is no configuration file."""
    path = config_path(config_file)
    if not path.exists():
        raise Failure(
            f"there is no center here: {path} does not exist",
            fix="restante init --dir DIR makes one; --config FILE names another",
        )
    return placed(read_config(str(path), environ), path.resolve().parent)


def placed(loaded: Loaded[Config], folder: Path) -> Site:
    """A configuration whose relative paths start at the folder of its file."""
    config = loaded.config
    url = _with_folder(config.store.url, folder)
    http = _with_paths(config.http, ("tls_certificate", "tls_key"), folder)
    tls = _with_paths(config.smpp.tls, ("certificate", "key", "client_ca"), folder)
    table = _with_paths(config.affiliations.table, ("file",), folder)
    sql = config.affiliations.sql
    sql = sql.model_copy(update={"url": SecretStr(_with_folder(sql.url.get_secret_value(), folder))})
    config = config.model_copy(
        update={
            "store": config.store.model_copy(update={"url": url}),
            "http": http,
            "smpp": config.smpp.model_copy(update={"tls": tls}),
            "affiliations": config.affiliations.model_copy(update={"table": table, "sql": sql}),
        }
    )
    return Site(loaded, folder, config, folder / config.secrets.key_file)


def _with_folder(url: str, folder: Path) -> str:
    """The URL of a database, whose relative file starts at a folder."""
    scheme, _, rest = url.partition(":///")
    if scheme.startswith("sqlite") and rest and not rest.startswith("/"):
        return f"{scheme}:///{folder / rest}"
    return url


def _with_paths(settings: M, names: Iterable[str], folder: Path) -> M:
    """Settings whose relative paths start at a folder."""
    given = {name: cast("Path | None", getattr(settings, name)) for name in names}
    return settings.model_copy(
        update={name: folder / path for name, path in given.items() if path is not None}
    )


@dataclass(frozen=True, slots=True)
class Running:
    """What a running center says about itself in its folder."""

    pid: int
    url: str  #: of the REST door
    smpp: str  #: "127.0.0.1:2775"
    ops: str  #: URL of the operations door
    smpps: str = ""  #: "127.0.0.1:3550"; "" if no TLS is spoken

    @classmethod
    def of(cls, config: Config, addresses: Addresses) -> Running:
        """Of this process."""
        scheme = "https" if config.http.tls_certificate else "http"
        return cls(
            pid=os.getpid(),
            url=f"{scheme}://{reachable(*addresses.http)}",
            smpp=reachable(*addresses.smpp),
            ops=f"http://{reachable(*addresses.ops)}",
            smpps=reachable(*addresses.smpps) if addresses.smpps is not None else "",
        )

    @classmethod
    def read(cls, folder: Path) -> Running | None:
        """What the note says, if the process that wrote it still lives."""
        try:
            facts = cast("dict[str, Any]", json.loads((folder / RUNNING_FILE).read_text(encoding="utf-8")))
            found = cls(**facts)
            os.kill(found.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:  # another user's, but alive
            return cls(**json.loads((folder / RUNNING_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found

    def write(self, folder: Path) -> None:
        """Leave the note; replaced at once, never half written."""
        fresh = folder / f".{RUNNING_FILE}.{self.pid}"
        fresh.write_text(json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}) + "\n")
        fresh.replace(folder / RUNNING_FILE)

    def remove(self, folder: Path) -> None:
        """Take the note away, if it is still ours."""
        found = Running.read(folder)
        if found is not None and found.pid == self.pid:
            (folder / RUNNING_FILE).unlink(missing_ok=True)


def reachable(host: str, port: int) -> str:
    """Host and port under which this machine reaches what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
