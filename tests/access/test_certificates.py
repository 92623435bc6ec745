"""Certificates of peers and of our own doors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from authority import Authority
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError
from waiting import soon_true

from restante.access.accounts import Account, AccountModel
from restante.access.certificates import Certificates, PeerCertificate, check_certificate_rule, satisfies


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sha256:" + "ab" * 32, "sha256:" + "ab" * 32),
        (" SHA256:" + ":".join(["AB"] * 32), "sha256:" + "ab" * 32),
        ("CN=shop,O=Shop Ltd", "CN=shop,O=Shop Ltd"),
        (r"CN=a\,b", r"CN=a\,b"),
    ],
)
def test_a_rule_has_one_spelling(given: str, kept: str) -> None:
    assert check_certificate_rule(given) == kept
    assert AccountModel(system_id="shop", certificates=(given,)).certificates == (kept,)


@pytest.mark.parametrize(
    "given", ["", " ", "shop", "sha256:", "sha256:" + "ab" * 31, "sha256:" + "xy" * 32, "CN"]
)
def test_what_names_no_certificate_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="certificates"):
        AccountModel(system_id="shop", certificates=(given,))


def test_a_certificate_satisfies_by_subject_or_fingerprint(tmp_path: Path) -> None:
    files = Authority(tmp_path).sign("shop")
    shown = PeerCertificate.of(
        x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_bytes(Encoding.DER)
    )
    assert shown.subject == "CN=shop,O=Test Ltd"
    by_print = check_certificate_rule("sha256:" + files.fingerprint)
    assert satisfies(shown, (by_print,))
    assert satisfies(shown, ("CN=other", "CN=shop,O=Test Ltd"))
    assert not satisfies(shown, ("CN=shop", "sha256:" + "00" * 32))
    assert satisfies(None, ())
    assert not satisfies(None, ("CN=shop",))
    with pytest.raises(ValueError):
        PeerCertificate.of(b"no certificate")


def test_who_demands_a_certificate_demands_tls() -> None:
    assert Account(1, AccountModel(system_id="shop", certificates=("CN=shop",))).require_tls
    assert not Account(1, AccountModel(system_id="shop")).require_tls


def test_files_are_read_again_when_they_change_and_at_no_other_time(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.sign("first", "server")
    read: list[str] = []
    trouble: list[OSError] = []

    def reload() -> None:
        read.append("again")
        if trouble:
            raise trouble[0]

    async def run() -> None:
        found = Certificates()
        found.add("smpp", (files.certificate, files.key), reload)
        watching = asyncio.create_task(found.watch(0.01))
        (state,) = found.states()
        assert (state.subject, state.problem, read) == ("CN=first,O=Test Ltd", "", [])
        authority.sign("second", "server")
        await soon_true(lambda: read)
        await soon_true(lambda: found.states()[0].subject == "CN=second,O=Test Ltd")
        trouble.append(OSError(2, "No such file", "server.key"))
        files.key.unlink()
        await soon_true(lambda: found.states()[0].problem == "server.key: No such file")
        trouble.clear()
        authority.sign("third", "server")
        await soon_true(lambda: found.states()[0].problem == "")
        files.certificate.write_bytes(b"nonsense")
        await soon_true(lambda: found.states()[0].problem.startswith("not a certificate"))
        watching.cancel()
        (state,) = found.reload()
        assert (state.subject, state.not_after) == ("", 0)

    asyncio.run(run())
