"""A real OsmoMSC for tests: a daemon on a loopback address of its own, with SCTP played by TCP.

In charge of: building the preload that makes it start where the kernel has no SCTP, starting and stopping it. Not in
charge of: handsets (`sgs_handset.py`), or the register that it connects to.

It is a switch without radio: only its SGs interface is used, to which an MME brings handsets. Its link to a signaling
network stays down, which does no harm.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
from pathlib import Path

from waiting import eventually

VTY, CTRL, SGS, SMPP = 4254, 4255, 29118, 2775
ESME, PASSWORD = "restante", "geheim"  #: who may bind at its SMPP port
SHIM = Path(__file__).with_name("nosctp.c")

CONFIGURATION = """
log stderr
 logging filter all 1
 logging color 0
 logging print category 1
 logging level set-all notice
 logging level sgs debug
line vty
 bind {address}
ctrl
 bind {address}
network
 network country code 001
 mobile network code 01
 short name Test
 long name Test
 encryption a5 0
 authentication optional
msc
 mncc internal
 no assign-tmsi
 {sms}
 emergency-call route-to-msisdn 112
sgs
 local-ip {address}
 local-port {sgs}
 vlr-name vlr.{label}.net
smpp
 local-tcp-ip {address} {smpp}
 policy closed
 esme {esme}
  password {password}
  default-route
  alert-notifications
  dcs-transparent
hlr
 remote-ip {register[0]}
 remote-port {register[1]}
 ipa-name {name}
"""


def build_shim(gcc: str, folder: Path) -> Path:
    """The preload, compiled; made once a folder."""
    library = folder / "nosctp.so"
    if not library.exists():
        part = folder / f"nosctp.{os.getpid()}.so"
        command = [gcc, "-shared", "-fPIC", "-O1", "-o", str(part), str(SHIM), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        part.rename(library)
    return library


def _free_address() -> str:
    while True:
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with contextlib.ExitStack() as taken:
            try:
                for port in (VTY, CTRL, SGS, SMPP):
                    taken.enter_context(socket.create_server((address, port)))
            except OSError:
                continue
            return address


class OsmoMsc:
    """One switch."""

    def __init__(
        self,
        program: str,
        gcc: str,
        folder: Path,
        name: str,
        register: tuple[str, int],
        *,
        over_gsup: bool = True,
    ) -> None:
        """`register`: address and GSUP port of whom it takes for its HLR; `gcc` builds the preload.

        `over_gsup`: messages of handsets go to the register; else to whoever is bound at its SMPP port.
        """
        self.name = name
        self._program = program
        self._gcc = gcc
        self._folder = folder
        self._register = register
        self._sms = "sms-over-gsup" if over_gsup else "no sms-over-gsup"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.sgs_port = SGS
        self.smpp_port = SMPP

    def start(self) -> OsmoMsc:
        """Start it and wait until an MME can connect."""
        self._folder.mkdir(exist_ok=True)
        shim = build_shim(self._gcc, self._folder)
        self.address = self.address or _free_address()
        configuration = self._folder / "msc.cfg"
        configuration.write_text(
            CONFIGURATION.format(
                address=self.address,
                name=self.name,
                label=self.name.lower(),
                register=self._register,
                sgs=SGS,
                smpp=SMPP,
                sms=self._sms,
                esme=ESME,
                password=PASSWORD,
            )
        )
        with (self._folder / "msc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(configuration)],
                stderr=log,
                stdout=log,
                cwd=self._folder,
                env=os.environ | {"LD_PRELOAD": str(shim)},
            )
        eventually(lambda: self._listens(SGS), f"osmo-msc on {self.address}:{SGS}")
        return self

    def _listens(self, port: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            socket.create_connection((self.address, port), 1).close()
        except OSError:
            return False
        return True

    def log(self) -> str:
        """What it said."""
        return (self._folder / "msc.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)
