"""Debian's pebble, a certificate authority for tests, in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from ssl import create_default_context

from attrs import define, field

from mailrelay.testing.certificates import Authority
from mailrelay.testing.ports import free_port

PROGRAM = shutil.which("pebble")
PATIENCE = 30.0

EAB_KID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@define
class Pebble:
    """Looks for challenges at the ports that it is told, and asks one name server."""

    folder: Path
    http_port: int
    tls_port: int
    dns_port: int
    is_binding: bool = False
    port: int = field(factory=free_port)
    management: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def directory(self) -> str:
        """Its URL."""
        return f"https://localhost:{self.port}/dir"

    @property
    def ca_file(self) -> Path:
        """Who signed its own certificate."""
        return self.folder / "ca.pem"

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it listens.  Blocks."""
        assert PROGRAM is not None
        # It refuses some nonces to try its clients: two in a row put an order off for minutes.
        own = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        settings = {**os.environ, **own, **(environment or {})}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(PROGRAM, "-config", str(self.folder / "pebble.json"), "-strict"),
                    *("-dnsserver", f"127.0.0.1:{self.dns_port}"),
                ],
                env=settings,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for port in (self.port, self.management):
            self._wait_for(port)

    def prepare(self) -> None:
        """Write its files."""
        self.folder.mkdir()
        authority = Authority("pebble's own")
        certificate, key = self.folder / "pebble.pem", self.folder / "pebble-key.pem"
        authority.write(certificate, key, ["localhost", "127.0.0.1"])
        self.ca_file.write_bytes(authority.pem)
        self.configure()

    def configure(self) -> None:
        """Write its configuration; it is read at its next start."""
        certificate, key = self.folder / "pebble.pem", self.folder / "pebble-key.pem"
        keys = {EAB_KID: EAB_KEY} if self.is_binding else {}
        configuration = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.is_binding,
            "externalAccountMACKeys": keys,
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": configuration}))

    def _wait_for(self, port: int) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)
            else:
                return

    def root(self) -> bytes:
        """Whom to believe, to believe the certificates that it makes.  Blocks."""
        context = create_default_context(cafile=self.ca_file)
        place = f"https://localhost:{self.management}/roots/0"
        with urllib.request.urlopen(place, context=context, timeout=PATIENCE) as answer:
            found: bytes = answer.read()
        return found

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
