"""The command line's client: keys, pages, problems in words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from restante.cli.client import Client, OperatorFile, connect
from restante.cli.output import Failure
from restante.cli.site import Running


def client(handler: httpx.MockTransport) -> Client:
    return Client("http://center", "sk_1_x", transport=handler)


def answering(status: int, body: object, **headers: str) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, json=body, headers=headers))


def test_pages_follow_the_cursor_and_stop_at_the_limit() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        start = int(request.url.params.get("cursor", 0))
        size = int(request.url.params["limit"])
        items = [{"n": n} for n in range(start, min(start + size, 450))]
        end = start + len(items)
        return httpx.Response(200, json={"items": items, "next_cursor": str(end) if end < 450 else None})

    with client(httpx.MockTransport(handler)) as center:
        assert [item["n"] for item in center.pages("/things", colour="red")] == list(range(450))
        assert [item["n"] for item in center.pages("/things", limit=3)] == [0, 1, 2]
    assert seen[0].url.path == "/api/v1/things"
    assert seen[0].url.params["colour"] == "red"
    assert seen[0].headers["Authorization"] == "Bearer sk_1_x"
    assert len(seen) == 4


def test_files_go_both_ways_with_what_is_said_about_them() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    with client(httpx.MockTransport(handler)) as center:
        center.upload("/admin/cells:import", b"x", "text/csv", reason="why", source="op", dry_run=True)
        assert center.download("/admin/zones:export", format="shp") == b"{}"
        with pytest.raises(AssertionError, match="would be lost"):
            center.download("/admin/zones:export?format=shp")
    assert dict(seen[0].url.params) == {"source": "op", "dry_run": "true"}
    assert (seen[0].headers["X-Reason"], seen[0].headers["Content-Type"]) == ("why", "text/csv")
    assert dict(seen[1].url.params) == {"format": "shp"}


def test_a_problem_becomes_words_and_keeps_its_facts() -> None:
    problem = {
        "type": "/problems/invalid", "title": "The request is not valid", "status": 422, "detail": "two mistakes",
        "errors": [{"pointer": "#/system_id", "detail": "too long"}, {"pointer": "#/role", "detail": "unknown"}],
    }  # fmt: skip
    with client(answering(422, problem)) as center, pytest.raises(Failure) as caught:
        center.post("/admin/accounts", {})
    assert caught.value.text.splitlines() == [
        "The request is not valid: two mistakes", "  #/system_id too long", "  #/role unknown"
    ]  # fmt: skip
    assert caught.value.facts["problem"]["type"] == "/problems/invalid"


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "RESTANTE_API_KEY"), (403, "operator"), (412, "again"), (500, "")]
)
def test_problems_that_can_be_helped_say_how(status: int, fix: str) -> None:
    with client(answering(status, {"title": "No"})) as center, pytest.raises(Failure) as caught:
        center.get("/x")
    assert fix in caught.value.fix


def test_an_answer_that_is_not_ours() -> None:
    html = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    with client(html) as center, pytest.raises(Failure, match="is this a Restante"):
        center.get("/x")
    bad = httpx.MockTransport(lambda request: httpx.Response(502, text="<html>"))
    with client(bad) as center, pytest.raises(Failure, match="answered 502"):
        center.get("/x")


def test_nobody_there_names_the_command_that_starts_the_center() -> None:
    with Client("http://127.0.0.1:1") as center, pytest.raises(Failure) as caught:
        center.get("/x")
    assert "restante serve" in caught.value.fix


def test_a_change_names_the_version_it_was_made_for() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "acc_1"}, headers={"ETag": '"3"'})

    with client(httpx.MockTransport(handler)) as center:
        _, etag = center.versioned("/admin/accounts/acc_1")
        center.patch("/admin/accounts/acc_1", {"suspended": True}, etag=etag, dry_run=False)
        center.delete("/admin/accounts/acc_1", etag=etag)
    assert [request.headers.get("If-Match") for request in seen] == [None, '"3"', '"3"']
    assert json.loads(seen[1].content) == {"suspended": True}
    assert seen[1].headers["Content-Type"] == "application/merge-patch+json"
    assert seen[1].url.params["dry_run"] == "false"


def test_the_operator_file_is_private_and_the_configuration_names_the_center(tmp_path: Path) -> None:
    (tmp_path / "restante.toml").write_text('[http]\nhost = "0.0.0.0"\nport = 1234\nproxy_ends_tls = true\n')
    file = OperatorFile(tmp_path / "operator.json")
    file.write({"api_key": "sk_1_secret", "send_key": "sk_2_secret"})
    assert file.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        file.write({})
    config = str(tmp_path / "restante.toml")
    assert connect(config, environ={}).url == "http://127.0.0.1:1234"
    assert connect(config, environ={"RESTANTE_HTTP_PORT": "4321"}).url == "http://127.0.0.1:4321"
    assert connect(config, environ={"RESTANTE_URL": "http://other:1/"}).url == "http://other:1"
    file.path.chmod(0o644)
    with pytest.raises(Failure, match="may be read by others") as caught:
        connect(config, environ={})
    assert caught.value.fix == f"chmod 600 {file.path}"
    everything = {"RESTANTE_URL": "http://other", "RESTANTE_API_KEY": "sk"}
    assert connect(config, environ=everything).url == "http://other"


def test_a_running_center_is_found_by_its_note(tmp_path: Path) -> None:
    OperatorFile(tmp_path / "operator.json").write({"api_key": "sk"})
    config = str(tmp_path / "restante.toml")
    (tmp_path / "restante.toml").write_text("[http]\nport = 0\n")
    note = Running(pid=os.getpid(), url="http://127.0.0.1:5", smpp="127.0.0.1:6", ops="http://127.0.0.1:7")
    note.write(tmp_path)
    assert Running.read(tmp_path) == note
    assert connect(config, environ={}).url == "http://127.0.0.1:5"
    note.remove(tmp_path)
    assert Running.read(tmp_path) is None
    (tmp_path / "running.json").write_text("{}")
    assert Running.read(tmp_path) is None


def test_no_operator_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        connect(str(tmp_path / "restante.toml"), environ={})
    assert "restante init" in caught.value.fix
