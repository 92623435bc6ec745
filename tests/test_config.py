"""Reading the configuration: sources, refusals with their place, secrets from files, the written reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from restante.cli import config_text
from restante.config import Config, ConfigError, Value, keys, line_numbers, load


class Tls(BaseModel):
    model_config = ConfigDict(extra="forbid")

    certificate: Path | None = None  #: PEM file


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")

    port: int = Field(default=2775, ge=0, le=65535)  #: TCP port; 0 takes a free one
    window: int = Field(default=10, ge=1)
    names: list[str] = ["a"]
    #: comment above
    #: on two lines
    rate: float = 1.5
    tls: Tls = Tls()

    @field_validator("names")
    @classmethod
    def no_spaces(cls, value: list[str]) -> list[str]:
        if any(" " in name for name in value):
            raise ValueError("A name has no spaces")
        return value


class Vault(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: SecretStr = SecretStr("")  #: seals everything
    url: str  #: where the vault is


class Sample(BaseModel):
    wire: Wire = Wire()
    vault: Vault


def written(folder: Path, text: str) -> Path:
    path = folder / "restante.toml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(Sample, written(folder, text), environ or {})
    return [str(problem) for problem in caught.value.problems]


def value(values: tuple[Value, ...], name: str) -> Value:
    return next(one for one in values if one.key.name == name)


GOOD = '[vault]\nurl = "https://vault"\n'


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "\n[wire]\nport = 1\nwindow = 20\n")
    loaded = load(Sample, path, {"RESTANTE_WIRE_PORT": "2", "RESTANTE_CONFIG": "x", "PATH": "/bin"})
    assert (loaded.config.wire.port, loaded.config.wire.window, loaded.config.wire.rate) == (2, 20, 1.5)
    assert value(loaded.values, "wire.port").source == "RESTANTE_WIRE_PORT"
    assert value(loaded.values, "wire.window").source == "restante.toml:6"
    assert value(loaded.values, "wire.rate").source == "default"
    assert {one.key.name for one in loaded.changed} == {"wire.port", "wire.window", "vault.url"}


@pytest.mark.parametrize(("text", "names"), [("a, b", ["a", "b"]), ('["x","y"]', ["x", "y"]), ("", [])])
def test_lists_in_the_environment(tmp_path: Path, text: str, names: list[str]) -> None:
    loaded = load(Sample, written(tmp_path, GOOD), {"RESTANTE_WIRE_NAMES": text})
    assert loaded.config.wire.names == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[wire]\n\nprot = 1\n", "restante.toml:3: wire.prot: unknown key; did you mean wire.port?"),
        ("[wier]\nport = 1\n", "restante.toml:1: wier: unknown key; did you mean wire?"),
        ("port = 1\n", "restante.toml:1: port: unknown key; did you mean wire.port?"),
        ("wire = 3\n", "restante.toml:1: wire: is a section, not a value"),
        ('[wire]\nnames = [\n "a",\n]\nfoo = 1\n', "restante.toml:5: wire.foo: unknown key"),
        ("[wire.tls]\ncertficate = 'x'\n", "restante.toml:2: wire.tls.certficate: unknown key"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = problems(tmp_path, text)
    assert any(line.startswith(expected) for line in found), found


def test_a_value_out_of_bounds_names_its_line_and_value(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + "[wire]\nport = 70000\n")
    assert line == "restante.toml:4: wire.port: input should be less than or equal to 65535 (it says 70000)"


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD, {"RESTANTE_WIRE_PORT": "many"})
    assert line.startswith("RESTANTE_WIRE_PORT: wire.port: ")
    (line,) = problems(tmp_path, GOOD, {"RESTANTE_WIRE_PROT": "1"})
    assert line == "RESTANTE_WIRE_PROT: no setting has this variable; did you mean RESTANTE_WIRE_PORT?"


def test_rules_of_the_room_are_told_in_its_words(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + '[wire]\nnames = ["a b"]\n')
    assert line.startswith("restante.toml:4: wire.names: a name has no spaces")


def test_all_unknown_keys_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, GOOD + "a = 1\nb = 2\n")) == 2


def test_what_must_be_given_is_named(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "[vault]\n")
    assert line == "restante.toml: vault.url: must be given here or in RESTANTE_VAULT_URL"


def test_bad_syntax_has_a_line(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + "[wire]\nport = = 1\n")
    assert line.startswith("restante.toml:4: is not valid TOML")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(Sample, tmp_path / "none.toml", {})
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(Sample, path, {})


@pytest.mark.parametrize("by", ["file", "variable"])
def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path, by: str) -> None:
    (tmp_path / "key").write_text("open sesame\n")
    text = GOOD + ('key_file = "key"\n' if by == "file" else "")
    environ = {"RESTANTE_VAULT_KEY_FILE": str(tmp_path / "key")} if by == "variable" else {}
    loaded = load(Sample, written(tmp_path, text), environ)
    assert loaded.config.vault.key.get_secret_value() == "open sesame"
    shown = value(loaded.values, "vault.key")
    assert shown.shown == "********"
    assert shown.source == str(tmp_path / "key")
    assert "sesame" not in repr(loaded)


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    loaded = load(Sample, written(tmp_path, '[vault]\nurl = "postgresql://me:p@ss@host/db"\n'), {})
    assert value(loaded.values, "vault.url").shown == "postgresql://me:********@host/db"


def test_a_secret_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + "key = 31337\n")
    assert line.startswith("restante.toml:3: vault.key")
    assert "31337" not in line


def test_a_missing_secret_file_is_a_problem(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + 'key_file = "nowhere"\n')
    assert line.startswith("restante.toml:3: vault.key_file: cannot read")


def test_descriptions_come_from_the_comments() -> None:
    described = {key.name: key.description for key in keys(Sample)}
    assert described["wire.port"] == "TCP port; 0 takes a free one"
    assert described["wire.rate"] == "comment above on two lines"
    assert described["vault.key"] == "seals everything"


def test_what_values_are_allowed_is_said_in_words() -> None:
    said = {key.name: config_text.allowed(key) for key in keys(Sample)}
    assert said["wire.port"] == "whole number, 0..65535"
    assert said["wire.names"] == "list of text"
    assert said["vault.key"] == "text (secret)"
    assert said["wire.tls.certificate"] == "path or nothing"


def test_the_template_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    text = config_text.template({"vault.url": 'a"b', "wire.names": ["x", "y"], "wire.port": 0}, Sample)
    loaded = load(Sample, written(tmp_path, text), {})
    assert loaded.config.vault.url == 'a"b'
    assert loaded.config.wire.names == ["x", "y"]
    commented = [line for line in text.splitlines() if "_file" not in line and "certificate" not in line]
    uncommented = "\n".join(line[1:] if re.match(r"#\w", line) else line for line in commented)
    assert load(Sample, written(tmp_path, uncommented), {}).config == loaded.config
    with pytest.raises(ValueError, match="no such settings"):
        config_text.template({"wire.prot": 1}, Sample)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,6}", fullmatch=True),
        st.one_of(
            st.integers(-(2**60), 2**60), st.booleans(), st.text(max_size=20), st.lists(st.text(max_size=9))
        ),
        min_size=1,
        max_size=6,
    )
)
def test_lines_are_found_whatever_stands_there(table: dict[str, object]) -> None:
    lines = ["# head", ""]
    expected: dict[tuple[str, ...], int] = {}
    for name, item in table.items():
        expected[(name,)] = len(lines) + 1
        if isinstance(item, list):
            lines += [f"{name} = [", *(f"  {config_text.toml_value(one)}," for one in item), "]"]
        else:
            lines.append(f"{name} = {config_text.toml_value(item)}")
        lines.append("")
    assert line_numbers("\n".join(lines)) == expected


def test_every_setting_of_the_center_has_a_meaning() -> None:
    assert [key.name for key in keys(Config) if not key.description] == []


def test_the_committed_reference_is_current() -> None:
    path = Path(__file__).parents[1] / "docs" / "configuration.md"
    assert path.read_text(encoding="utf-8") == config_text.reference(Config), (
        "run: .venv/bin/restante config reference > docs/configuration.md"
    )


def test_the_commented_file_of_a_center_can_be_uncommented(tmp_path: Path) -> None:
    text = config_text.template({}, Config)
    assert load(Config, written(tmp_path, text), {}).changed == ()
    lines = [line for line in text.splitlines() if not line.endswith(' = ""') and "_file" not in line]
    uncommented = "\n".join(line[1:] if re.match(r"#\w", line) else line for line in lines)
    loaded = load(Config, written(tmp_path, uncommented), {})
    assert loaded.config == Config()
    assert len(loaded.changed) > 50
