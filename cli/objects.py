"""The commands that every kind of edited object has: list, show, set, remove, history, rollback.

In charge of: finding an object by its name or id, edits with their version (If-Match), and showing what an edit does.
Not in charge of: the kinds (`esme.py`, `route.py`, `range.py`), or what an edit means (the center).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import typer

from .client import Client, connect
from .output import ConfigFile, DryRun, Failure, Json, Output, Reason, spelled

__all__ = ["Kind", "Objects", "common_commands", "edited", "settings_of"]

Object = dict[str, Any]
FACTS = ("id", "version", "updated_at", "updated_by", "warnings")  #: what the center adds to every object


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object, as the command line calls it."""

    name: str  #: "esme"
    plural: str  #: in the REST path: "accounts"
    prefix: str  #: of its ids: "acc"
    key: str  #: the field that people call it by: "system_id"
    columns: tuple[str, ...]  #: fields of the list


class Objects:
    """The objects of one kind at one center."""

    def __init__(self, client: Client, kind: Kind) -> None:
        self.client = client
        self.kind = kind
        self.path = f"/admin/{kind.plural}"

    def find(self, name: str) -> tuple[Object, str]:
        """An object by id or by what people call it, with its ETag. Raises Failure."""
        prefix, _, digits = name.partition("_")
        if prefix == self.kind.prefix and digits.isdigit():
            return self.client.versioned(f"{self.path}/{name}")
        for found in self.client.pages(self.path, q=name):
            if found[self.kind.key] == name:
                return self.client.versioned(f"{self.path}/{found['id']}")
        raise Failure(f"there is no {self.kind.name} {name}", fix=f"restante {self.kind.name} list")

    def patch(self, name: str, changes: Mapping[str, object], *, reason: str, dry_run: bool) -> Object:
        """Change some fields of an object."""
        found, etag = self.find(name)
        path = f"{self.path}/{found['id']}"
        return cast(
            "Object", self.client.patch(path, changes, etag=etag, reason=reason, dry_run=dry_run or None)
        )


def settings_of(words: Sequence[str]) -> Object:
    """`name=value` words as fields; a value that is JSON is taken as JSON, any other as text."""
    fields: Object = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields


def edited(out: Output, answer: Object | None, done: str) -> None:
    """Show what an edit did, or with --dry-run what it would do."""
    if out.as_json:
        out.document(answer if answer is not None else {"done": True})
        return
    if answer is not None and answer.get("dry_run"):
        rows = [(one["pointer"], spelled(one["before"]), spelled(one["after"])) for one in answer["diff"]]
        out.table(["field", "before", "after"], rows)
        out.line("nothing was changed (--dry-run)")
    else:
        out.line(done)
    warnings = cast("list[Object]", (answer or {}).get("warnings") or [])
    for warning in warnings:
        out.note(f"mind: {warning['pointer']} {warning['detail']}")


def show_object(out: Output, found: Object) -> None:
    """Every field of an object."""
    if out.as_json:
        out.document(found)
    out.facts({name: found[name] for name in found if name != "warnings"})


def common_commands(kind: Kind, *, help: str) -> typer.Typer:
    """The commands that need no knowledge of the kind.

    Long because it is seven small functions that share the kind.
    """
    app = typer.Typer(help=help, no_args_is_help=True)
    name_argument = typer.Argument(
        metavar=kind.key.upper(), help=f"{kind.key}, or an id as in {kind.prefix}_3"
    )

    @app.command("list")
    def list_all(
        query: str = typer.Option("", "--query", "-q", help="Part of the name or description."),
        config_file: ConfigFile = None,
        as_json: Json = False,
    ) -> None:
        """List them."""
        with Output(as_json) as out, connect(config_file) as client:
            found = list(client.pages(f"/admin/{kind.plural}", q=query or None))
            if as_json:
                out.document(found)
            out.table(
                ["id", *kind.columns], [[one["id"], *(one[name] for name in kind.columns)] for one in found]
            )

    @app.command("show")
    def show(name: str = name_argument, config_file: ConfigFile = None, as_json: Json = False) -> None:
        """Show every field of one."""
        with Output(as_json) as out, connect(config_file) as client:
            show_object(out, Objects(client, kind).find(name)[0])

    @app.command("set")
    def set_fields(
        name: str = name_argument,
        fields: list[str] = typer.Argument(
            metavar="NAME=VALUE...", help="Fields; lists as JSON, null for default."
        ),
        reason: Reason = "",
        dry_run: DryRun = False,
        config_file: ConfigFile = None,
        as_json: Json = False,
    ) -> None:
        """Change fields of one."""
        with Output(as_json) as out, connect(config_file) as client:
            answer = Objects(client, kind).patch(name, settings_of(fields), reason=reason, dry_run=dry_run)
            edited(out, answer, f"{name} is changed (version {answer.get('version')})")

    @app.command("remove")
    def remove(
        name: str = name_argument,
        reason: Reason = "",
        dry_run: DryRun = False,
        config_file: ConfigFile = None,
        as_json: Json = False,
    ) -> None:
        """Remove one; its history stays."""
        with Output(as_json) as out, connect(config_file) as client:
            objects = Objects(client, kind)
            found, etag = objects.find(name)
            path = f"{objects.path}/{found['id']}"
            answer = client.delete(path, etag=etag, reason=reason, dry_run=dry_run or None)
            edited(out, answer, f"{name} is removed")

    @app.command("history")
    def history(name: str = name_argument, config_file: ConfigFile = None, as_json: Json = False) -> None:
        """Show the versions of one, newest first."""
        with Output(as_json) as out, connect(config_file) as client:
            objects = Objects(client, kind)
            found = objects.find(name)[0]
            versions = list(client.pages(f"{objects.path}/{found['id']}/history"))
            if as_json:
                out.document(versions)
            out.table(
                ["version", "at", "by", "reason"],
                [(one["version"], one["at"], one["author"], one["reason"]) for one in versions],
            )

    @app.command("rollback")
    def rollback(
        name: str = name_argument,
        version: int = typer.Argument(help="The version whose value comes back."),
        reason: Reason = "",
        dry_run: DryRun = False,
        config_file: ConfigFile = None,
        as_json: Json = False,
    ) -> None:
        """Write a new version with the value of an old one."""
        with Output(as_json) as out, connect(config_file) as client:
            objects = Objects(client, kind)
            found, etag = objects.find(name)
            path = f"{objects.path}/{found['id']}:rollback"
            answer = client.post(path, etag=etag, reason=reason, to_version=version, dry_run=dry_run or None)
            edited(out, answer, f"{name} is as it was in version {version}")

    return app
