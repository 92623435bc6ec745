"""Through a real freeDiameterd as relay: who really sent a message, and look-ups at an HSS behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from component_plugin import PREFIX, must_have_components
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from restante.signaling.causes import ExperimentalResult, ResultCode

NAMESPACE = 'ip link set lo up && ip addr add 10.9.9.1/24 dev lo && exec "$0" "$@"'

#: The daemon insists on a file of Diffie-Hellman parameters, for TLS that nobody uses here; any will do.
DH = """-----BEGIN DH PARAMETERS-----
MEYCQQDrY4qqCIKfaxq9fSHcuCWnaeoEklBYhNrjc+BCAUUm59OdoVQSDA6NvEUm
i8/vCHv9QTUTnwOMUp+Xa5MrAp2vAgEC
-----END DH PARAMETERS-----
"""


def write_certificate(folder: Path) -> None:
    """A key and a certificate that signs itself."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dra.home.net")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (folder / "dh.pem").write_text(DH)


def test_the_center_behind_a_real_relay(component: Callable[[str, str], str], tmp_path: Path) -> None:
    daemon = component("freediameterd", "freeDiameterd")
    component("iproute2", "ip")
    unshare = [component("util-linux", "unshare"), "-n" if os.geteuid() == 0 else "-rn"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        if must_have_components():
            pytest.fail("no network namespace can be made here")
        pytest.skip(PREFIX + "freediameterd (and the right to make network namespaces)")
    write_certificate(tmp_path)
    script = Path(__file__).with_name("relay_scenario.py")
    command = [*unshare, "sh", "-c", NAMESPACE, sys.executable, str(script), daemon, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    log = tmp_path / "relay.log"
    assert done.returncode == 0, done.stderr + (log.read_text()[-4000:] if log.exists() else "")
    found = json.loads(done.stdout)

    assert found["results"] == {
        "genuine": ResultCode.SUCCESS,
        "forged": ExperimentalResult.SM_DELIVERY_FAILURE,
        "unknown": ExperimentalResult.SM_DELIVERY_FAILURE,
        "moved": ExperimentalResult.SM_DELIVERY_FAILURE,
        "nowhere": ResultCode.UNABLE_TO_DELIVER,
    }
    # Asserted origin, what may be believed of it, and what the relay wrote.
    assert found["origins"][0] == ["mme.home.net", "mme.home.net", ["mme.home.net"]]
    assert found["origins"][1] == ["mme.home.net", "", ["forger.home.net"]]
    assert found["flags"] == [5, 5, 5, 5]  # no look-up left a message-waiting entry behind
