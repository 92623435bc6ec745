"""A real freeDiameterd as relay, in a network namespace of its own.

In charge of: the namespace, the daemon's configuration and certificate. freeDiameterd listens on every address of the
machine, so whatever talks to it has to live in a machine of its own: a namespace with nothing but loopback.
Not in charge of: the other nodes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from component_plugin import PREFIX, must_have_components
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ADDRESS = "10.9.9.1"
RELAY = "dra.home.net"
NAMESPACE = f'ip link set lo up && ip addr add {ADDRESS}/24 dev lo && exec "$0" "$@"'

#: The daemon insists on a file of Diffie-Hellman parameters, for TLS that nobody uses here; any will do.
DH = """-----BEGIN DH PARAMETERS-----
MEYCQQDrY4qqCIKfaxq9fSHcuCWnaeoEklBYhNrjc+BCAUUm59OdoVQSDA6NvEUm
i8/vCHv9QTUTnwOMUp+Xa5MrAp2vAgEC
-----END DH PARAMETERS-----
"""

CONFIGURATION = """
Identity = "{relay}";
Realm = "home.net";
Port = 3868;
SecPort = 3869;
No_SCTP;
No_IPv6;
ListenOn = "{address}";
TLS_Cred = "{folder}/cert.pem", "{folder}/key.pem";
TLS_CA = "{folder}/cert.pem";
TLS_DH_File = "{folder}/dh.pem";
TwTimer = 6;
TcTimer = 1;
{peers}
"""
PEER = 'ConnectPeer = "{host}" {{ ConnectTo = "{address}"; Port = {port}; No_TLS; No_SCTP; No_IPv6; }};\n'


def write_certificate(folder: Path) -> None:
    """A key and a certificate that signs itself."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, RELAY)])
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


def start(program: str, folder: Path, peers: Mapping[str, int]) -> subprocess.Popen[bytes]:
    """The daemon, which connects to each peer (host to port); to be called inside the namespace."""
    listed = "".join(PEER.format(host=host, address=ADDRESS, port=port) for host, port in peers.items())
    write_certificate(folder)
    configuration = folder / "relay.conf"
    configuration.write_text(CONFIGURATION.format(relay=RELAY, address=ADDRESS, folder=folder, peers=listed))
    with (folder / "relay.log").open("wb") as log:
        return subprocess.Popen([program, "-c", str(configuration)], stdout=log, stderr=log)


def run_inside(component: Callable[[str, str], str], script: Path, folder: Path, *arguments: str) -> str:
    """Run a program of ours in a namespace of its own, with the daemon's path and a folder; what it printed."""
    daemon = component("freediameterd", "freeDiameterd")
    component("iproute2", "ip")
    unshare = [component("util-linux", "unshare"), "-n" if os.geteuid() == 0 else "-rn"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        if must_have_components():
            pytest.fail("no network namespace can be made here")
        pytest.skip(PREFIX + "freediameterd (and the right to make network namespaces)")
    command = [*unshare, "sh", "-c", NAMESPACE, sys.executable, str(script), daemon, str(folder), *arguments]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, env=environ)
    log = folder / "relay.log"
    assert done.returncode == 0, done.stderr + (log.read_text()[-4000:] if log.exists() else "")
    return done.stdout
