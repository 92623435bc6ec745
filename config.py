"""What a process needs to start: `restante.toml`, the environment, and the settings that the rooms declare.

In charge of: composing the rooms' `Settings` into one `Config`; reading it from defaults, file and environment in that
order; refusing what nobody declared, with its line and the nearest known key; saying where each value came from;
knowing what every setting is called, defaults to and means. Not in charge of: what a setting does (the room that
declares it), the reference made from the declarations (`cli/config_text.py`), and everything that operators edit
while the center runs (that lives in the database, through `registry/`).

Each key `section.name` may come from the variable `RESTANTE_SECTION_NAME`. A secret may also come from a file:
`name_file` in the file, `RESTANTE_SECTION_NAME_FILE` in the environment.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from .access.credentials import CredentialSettings
from .access.one_time_codes import CodeSettings
from .access.sessions import SessionSettings
from .access.subscriber import SubscriberSettings
from .antispoof.settings import SourcesSettings, SpoofSettings
from .api.settings import HttpSettings, OpsSettings
from .mailbox.settings import MailboxSettings
from .smsc.delivery_settings import DeliverySettings
from .smsc.diameter_settings import DiameterSettings
from .smsc.handset_settings import GsupSettings, HandsetSettings
from .smsc.keywords import KeywordSettings
from .smsc.link_receipts import LinkReceiptSettings
from .smsc.listener import ListenerSettings
from .smsc.submission import SubmissionSettings
from .store.settings import BusSettings, StoreSettings
from .zones.settings import ZonesSettings

__all__ = ["Config", "ConfigError", "Key", "Loaded", "Problem", "Value", "alternatives", "keys", "load"]

PREFIX = "RESTANTE_"
#: Variables with our prefix that are no settings: of the command line, of crash tests, of the tests.
OTHER_VARIABLES = re.compile(r"RESTANTE_(CONFIG|URL|API_KEY|BENCH_PASSWORD|DEBUG|FAILPOINT|LONG|TEST_\w+)")

#: How many characters of a file that holds a secret are read: more than any key or certificate has.
SECRET_FILE_CHARACTERS = 65536

C = TypeVar("C", bound=BaseModel)


class SecretSettings(BaseModel):
    """[secrets] of restante.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_file: Path = Field(
        default=Path("restante.key"),
        description="master keys, mode 0600; relative to the configuration file; made by restante init",
    )


class Config(BaseModel):
    """Everything a process needs to start, one section a room."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: StoreSettings = Field(default_factory=StoreSettings)
    bus: BusSettings = Field(default_factory=BusSettings)
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    smpp: ListenerSettings = Field(default_factory=ListenerSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    ops: OpsSettings = Field(default_factory=OpsSettings)
    submission: SubmissionSettings = Field(default_factory=SubmissionSettings)
    keywords: KeywordSettings = Field(default_factory=KeywordSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    links: LinkReceiptSettings = Field(default_factory=LinkReceiptSettings)
    mailbox: MailboxSettings = Field(default_factory=MailboxSettings)
    subscribers: SubscriberSettings = Field(default_factory=SubscriberSettings)
    credentials: CredentialSettings = Field(default_factory=CredentialSettings)
    sessions: SessionSettings = Field(default_factory=SessionSettings)
    one_time_codes: CodeSettings = Field(default_factory=CodeSettings)
    zones: ZonesSettings = Field(default_factory=ZonesSettings)
    antispoof: SpoofSettings = Field(default_factory=SpoofSettings)
    affiliations: SourcesSettings = Field(default_factory=SourcesSettings)
    handsets: HandsetSettings = Field(default_factory=HandsetSettings)
    gsup: GsupSettings = Field(default_factory=GsupSettings)
    diameter: DiameterSettings = Field(default_factory=DiameterSettings)


# --------------------------------------------------------------------------------------------- declared keys


@dataclass(frozen=True, slots=True)
class Key:
    """One declared setting."""

    path: tuple[str, ...]  #: section and name
    field: FieldInfo
    description: str

    @property
    def name(self) -> str:
        """As people write it: `section.name`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + "_".join(self.path).upper()

    @property
    def secret(self) -> bool:
        """True if its value is never shown and may come from a file."""
        return SecretStr in alternatives(self.field.annotation)

    @property
    def default(self) -> object:
        """What holds when nobody says anything; None if it must be said."""
        if self.field.is_required():
            return None
        return self.field.get_default(call_default_factory=True, validated_data={})

    @property
    def required(self) -> bool:
        """True if there is no default."""
        return self.field.is_required()


def keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key that a model declares, in the order of declaration, sections opened."""
    comments = _field_comments(model)
    for name, declared in model.model_fields.items():
        inner = _section(declared.annotation)
        if inner is not None:
            yield from keys(inner, (*above, name))
        else:
            yield Key((*above, name), declared, declared.description or comments.get(name, ""))


def _section(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def alternatives(annotation: object) -> tuple[object, ...]:
    """The members of a union, or the annotation alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _field_comments(model: type[BaseModel]) -> dict[str, str]:
    """The `#:` comments of a class: behind a field on its line, or in the lines above it."""
    try:
        lines = inspect.getsource(model).splitlines()
    except OSError:  # made at run time
        return {}
    found: dict[str, str] = {}
    above: list[str] = []
    last = ""
    for line in lines:
        stripped = line.strip()
        declared = re.match(r"    (\w+)\s*:", line)
        if stripped.startswith("#:"):
            above.append(stripped[2:].strip())
            continue
        if declared:
            last = declared[1]
        behind = re.search(r"#:\s*(.*)$", line)
        texts = above + ([behind[1]] if behind else [])
        if last and texts:
            found[last] = " ".join(filter(None, [found.get(last, ""), *texts]))
        above = []
    return found


# ------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what was configured."""

    where: str  #: "restante.toml:12" or the name of an environment variable
    key: str  #: dotted; "" if the file as a whole is meant
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key + ': ' if self.key else ''}{self.text}"


class ConfigError(Exception):
    """What was configured cannot be used; every problem names its place."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Value:
    """One effective setting and where it comes from."""

    key: Key
    value: object
    source: str  #: "default", "restante.toml:12", "RESTANTE_SMPP_PORT", "/run/secrets/x"

    @property
    def shown(self) -> object:
        """The value as it may be printed: secrets are masked, passwords in addresses too."""
        if self.key.secret:
            return "********" if self.value else None
        if isinstance(self.value, str):
            return re.sub(r"(://[^/:@]*):.*@", r"\1:********@", self.value)
        return self.value


@dataclass(frozen=True, slots=True)
class Loaded(Generic[C]):
    """A configuration as it was read."""

    config: C
    values: tuple[Value, ...]
    path: Path | None  #: the file, if there is one

    @property
    def changed(self) -> tuple[Value, ...]:
        """What differs from the defaults."""
        return tuple(value for value in self.values if value.source != "default")


def load(model: type[C], path: Path | None, environ: Mapping[str, str]) -> Loaded[C]:
    """Read the configuration. Raises ConfigError with every problem found.

    `path` None: no file, defaults and environment only. Relative paths in the file are the rooms' business.
    """
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError([Problem(str(path), "", error.strerror or str(error))]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(str(path), "", f"is not UTF-8 text: {error.reason}")]) from error
    return _Reader(model, path, text, environ).read()


class _Reader(Generic[C]):
    """One reading: gathers raw values with their places, then lets pydantic judge them."""

    def __init__(self, model: type[C], path: Path | None, text: str, environ: Mapping[str, str]) -> None:
        self.model = model
        self.path = path
        self.text = text
        self.environ = environ
        self.file = path.name if path is not None else "(no file)"
        self.declared = {key.path: key for key in keys(model)}
        self.problems: list[Problem] = []
        self.raw: dict[tuple[str, ...], object] = {}
        self.sources: dict[tuple[str, ...], str] = {}
        self._lines: dict[tuple[str, ...], int] | None = None

    def read(self) -> Loaded[C]:
        try:
            document = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([self._syntax(error)]) from error
        self._take_file(document, ())
        self._take_environment()
        if self.problems:
            raise ConfigError(self.problems)
        try:
            config = self.model.model_validate(_nested(self.raw))
        except ValidationError as error:
            refused = [problem for item in error.errors() for problem in self._refused(dict(item))]
            raise ConfigError(refused) from error
        return Loaded(config, tuple(self._values(config)), self.path)

    # What was said ..............................................................................................

    def _take_file(self, table: Mapping[str, object], above: tuple[str, ...]) -> None:
        for name, value in table.items():
            path = (*above, name)
            if path in self.declared:
                self.raw[path] = value
                self.sources[path] = self._place(path)
            elif self._secret_of(path) is not None:
                self._take_secret_file(path, str(value), self._place(path))
            elif any(known[: len(path)] == path for known in self.declared):
                if isinstance(value, dict):
                    self._take_file(cast("dict[str, object]", value), path)
                else:
                    self.problems.append(
                        Problem(self._place(path), _dotted(path), "is a section, not a value")
                    )
            else:
                self.problems.append(Problem(self._place(path), _dotted(path), self._unknown(path)))

    def _take_environment(self) -> None:
        variables = {key.variable: key for key in self.declared.values()}
        for key in list(variables.values()):
            if key.secret:
                variables.setdefault(key.variable + "_FILE", key)
        for variable, text in self.environ.items():
            if not variable.startswith(PREFIX) or OTHER_VARIABLES.fullmatch(variable):
                continue
            key = variables.get(variable)
            if key is None:
                near = difflib.get_close_matches(variable, variables, 1, 0.6)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.problems.append(Problem(variable, "", f"no setting has this variable{hint}"))
            elif variable == key.variable:
                self.raw[key.path] = _from_text(key, text)
                self.sources[key.path] = variable
            else:
                self._take_secret_file((*key.path[:-1], key.path[-1] + "_file"), text, variable)

    def _secret_of(self, path: tuple[str, ...]) -> Key | None:
        """The secret that `name_file` stands for, if `path` ends so."""
        if not path[-1].endswith("_file"):
            return None
        key = self.declared.get((*path[:-1], path[-1].removesuffix("_file")))
        return key if key is not None and key.secret else None

    def _take_secret_file(self, path: tuple[str, ...], name: str, place: str) -> None:
        key = self._secret_of(path)
        assert key is not None
        file = Path(name)
        if not file.is_absolute() and self.path is not None:
            file = self.path.parent / file
        try:
            with file.open(encoding="utf-8") as stream:
                self.raw[key.path] = stream.read(SECRET_FILE_CHARACTERS).rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(Problem(place, _dotted(path), f"cannot read {file}: {error}"))
        self.sources[key.path] = str(file)

    # What is wrong with it ......................................................................................

    def _syntax(self, error: tomllib.TOMLDecodeError) -> Problem:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = f":{found[1]}" if found else f":{self.text.count(chr(10)) + 1}"
        return Problem(self.file + line, "", f"is not valid TOML: {error}")

    def _unknown(self, path: tuple[str, ...]) -> str:
        siblings = {known[len(path) - 1] for known in self.declared if known[: len(path) - 1] == path[:-1]}
        near = difflib.get_close_matches(path[-1], siblings, 1, 0.5)
        if near:
            return f"unknown key; did you mean {_dotted((*path[:-1], near[0]))}?"
        elsewhere = [_dotted(known) for known in self.declared if known[-1] == path[-1]]
        everywhere = [_dotted(known) for known in self.declared]
        near = elsewhere or difflib.get_close_matches(_dotted(path), everywhere, 1, 0.0)
        return f"unknown key; did you mean {near[0]}?" if near else "unknown key"

    def _refused(self, item: Mapping[str, Any]) -> Iterator[Problem]:
        """Say in our words what pydantic refused, and where it was said."""
        location = tuple(str(part) for part in item["loc"])
        path = location
        while path and path not in self.declared:
            path = path[:-1]
        name = _dotted(location)
        if item["type"] == "missing":  # a key, or a section that has such keys
            for key in self.declared.values():
                if key.required and key.path[: len(location)] == location:
                    text = f"must be given here or in {key.variable}"
                    yield Problem(self.file, key.name, text)
            return
        place = self.sources.get(path, self.file)
        text = str(item["msg"]).removeprefix("Value error, ")
        shown = (
            "" if path in self.declared and self.declared[path].secret else f" (it says {item['input']!r})"
        )
        if not path:  # a rule of a whole section: its input is everything
            shown = ""
        yield Problem(place, name, text[:1].lower() + text[1:] + shown)

    # Where it was said ..........................................................................................

    def _place(self, path: tuple[str, ...]) -> str:
        if self._lines is None:
            self._lines = line_numbers(self.text)
        line = self._lines.get(path)
        return f"{self.file}:{line}" if line else self.file

    def _values(self, config: BaseModel) -> Iterator[Value]:
        for path, key in self.declared.items():
            value: object = config
            for part in path:
                value = getattr(value, part)
            yield Value(key, value, self.sources.get(path, "default"))


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key of a valid TOML document begins.

    The standard reader keeps no places, but it can be asked about growing beginnings of the document: the first
    beginning that is valid and has the key ends with it.
    """
    lines = [line + "\n" for line in text.split("\n")]  # TOML knows no other end of a line
    found: dict[tuple[str, ...], int] = {}
    valid = 0  # number of lines of the longest valid beginning so far
    for number, line in enumerate(lines, 1):
        if valid == number - 1 and (not line.strip() or line.lstrip().startswith("#")):
            valid = number
            continue
        try:
            document = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        for path in _paths(document, ()):
            found.setdefault(path, valid + 1)
        valid = number
    return found


def _paths(table: Mapping[str, object], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(cast("dict[str, object]", value), (*above, name))


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


def _nested(flat: Mapping[tuple[str, ...], object]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for path, value in flat.items():
        table = nested
        for part in path[:-1]:
            table = cast("dict[str, object]", table.setdefault(part, {}))
        table[path[-1]] = value
    return nested


#: What an annotation like `list[str]` or `tuple[int, ...]` comes from.
_CONTAINERS: tuple[object, ...] = (list, tuple, set, frozenset, dict)


def _from_text(key: Key, text: str) -> object:
    """A variable's text as pydantic can judge it: lists are JSON or words with commas between them."""
    if not any(get_origin(one) in _CONTAINERS for one in alternatives(key.field.annotation)):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [word.strip() for word in text.split(",") if word.strip()]
