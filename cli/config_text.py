"""The configuration in words: the reference and the commented file of `restante init`.

In charge of: writing both from what the rooms declare, so that neither can be out of date. Not in charge of: reading
any of it (`config.py`).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr

from ..config import Key, alternatives, keys

__all__ = ["allowed", "reference", "template", "toml_value"]


def allowed(key: Key) -> str:
    """What values a key takes, for people: type, choices, bounds."""
    bounds: dict[str, object] = {}
    for rule in key.field.metadata:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            if getattr(rule, name, None) is not None:
                bounds[name] = getattr(rule, name)
    words = " or ".join(_type_words(one) for one in alternatives(key.field.annotation))
    low = bounds.get("ge", bounds.get("gt"))
    high = bounds.get("le", bounds.get("lt"))
    if low is not None or high is not None:
        above = "above " if "gt" in bounds else ""
        below = "below " if "lt" in bounds else ""
        words += f", {above}{low if low is not None else ''}..{below}{high if high is not None else ''}"
    return words


def _type_words(annotation: object) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_words(get_args(annotation)[0])
    if origin is dict:
        return "table of tables"
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if annotation is type(None):
        return "nothing"
    if origin in (list, tuple, set, frozenset):
        inner = [arg for arg in get_args(annotation) if arg is not Ellipsis]
        return "list of " + (_type_words(inner[0]) if inner else "values")
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return " or ".join(f"`{member.value}`" for member in annotation)
        return _WORDS.get(cast("type[object]", annotation), annotation.__name__)
    return str(annotation)


_WORDS: dict[type[object], str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text (secret)",
}


def toml_value(value: object) -> str:
    """A value as TOML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and not isinstance(value, Enum):
        return repr(value)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return "{" + ", ".join(f"{name} = {toml_value(item)}" for name, item in pairs) + "}"
    if isinstance(value, (set, frozenset)):
        value = sorted(cast("set[str]", value))
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", list(value))  # pyright: ignore[reportUnknownArgumentType]  # of anything
        return "[" + ", ".join(toml_value(item) for item in items) + "]"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    text = json.dumps("" if value is None else str(value), ensure_ascii=False)
    return text.replace(
        "\x7f", "\\u007f"
    )  # the one control character that JSON leaves alone and TOML does not


def template(values: Mapping[str, object], model: type[BaseModel]) -> str:
    """A commented restante.toml: `values` (by dotted name) are set, every other key stands as a comment."""
    lines = ["# Restante. `restante config show`: what is in force; `restante config check`: what is wrong."]
    known = {key.name for key in keys(model)}
    if strange := values.keys() - known:
        raise ValueError(f"no such settings: {sorted(strange)}")
    for section, members in sections(model).items():
        lines += ["", f"[{section}]"]
        for key in members:
            lines += [
                f"# {line}" for line in textwrap.wrap(_plain(f"{key.description} [{allowed(key)}]"), 108)
            ]
            if key.name in values:
                lines.append(f"{key.path[-1]} = {toml_value(values[key.name])}")
            elif key.secret:
                lines.append(f'#{key.path[-1]}_file = ""')
            else:
                lines.append(f"#{key.path[-1]} = {toml_value(key.default)}")
    return "\n".join(lines) + "\n"


def sections(model: type[BaseModel]) -> dict[str, list[Key]]:
    """The keys by section, in the order in which sections are declared."""
    found: dict[str, list[Key]] = {}
    for key in keys(model):
        found.setdefault(".".join(key.path[:-1]), []).append(key)
    return found


def reference(model: type[BaseModel]) -> str:
    """The configuration reference as Markdown: docs/configuration.md is this text."""
    lines = [
        "# Configuration",
        "",
        "Made from the declarations by `restante config reference`; do not edit it by hand.",
        "",
        "`restante.toml` holds what a process needs to start. A variable in the environment wins over the file. A",
        "secret may stand in a file of its own: `name_file` in `restante.toml`, the variable with `_FILE` behind it",
        "in the environment. A key that nobody declared is refused with its line and the nearest known key.",
    ]
    for section, members in sections(model).items():
        lines += ["", f"## [{section}]", ""]
        lines += ["| key | variable | values | default | meaning |", "|---|---|---|---|---|"]
        for key in members:
            default = "(must be given)" if key.required else _cell(key)
            cells = (f"`{key.path[-1]}`", f"`{key.variable}`", allowed(key), default, key.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(key: Key) -> str:
    return "" if key.secret or key.default is None else f"`{toml_value(key.default)}`"


def _plain(text: str) -> str:
    return text.replace("`", "")
