"""opendkim on the other side: it believes what we sign, and we what it signs."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.dkim_sign import SigningKey, key_to_pem
from tests.interop.programs import installed
from tests.mailauth.test_dkim import ED25519, KEYS, MESSAGE, RSA, results, signed

HEAD = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
BODIES = (b"", b"\r\n", b"Hi  there \t\r\n\r\nbye\r\n\r\n", b"x" * 70 + b"\r\n", b"a\r\n" * 9999)


class OpenDKIMTests(SynchronousTestCase):
    """Its test mode, which reads a message and says what it would add to it."""

    def setUp(self) -> None:
        """Write its configuration; DNS is a file."""
        self.program = installed("opendkim")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        records = "".join(f"{name} {text.decode()}\n" for name, text in KEYS.items())
        (self.folder / "records").write_text(records)

    def adds(self, message: bytes, *settings: str) -> bytes:
        """The one field that it adds, with its name."""
        (self.folder / "conf").write_text("\n".join(["Syslog no", *settings]) + "\n")
        (self.folder / "message").write_bytes(message)
        done = subprocess.run(
            [self.program, "-x", "conf", "-t", "message", "-vv"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
        [(name, value)] = re.findall(rb"(?s)hname='([^']+)' hvalue='([^']*)'", done.stdout)
        return bytes(name + b": " + value)

    def found(self, message: bytes) -> list[bytes]:
        """Its words for each signature."""
        added = self.adds(
            message, "Mode v", "AlwaysAddARHeader yes", f"TestPublicKeys {self.folder}/records"
        )
        return re.findall(rb"dkim=(\w+)", added)

    def signature(self, key: SigningKey, body: bytes, written: str) -> bytes:
        """What it adds with ``key``."""
        path = self.folder / "key"
        path.write_bytes(key_to_pem(key.private))
        field = self.adds(
            HEAD + body,
            *("Mode s", f"Domain {key.domain}", f"Selector {key.selector}", f"KeyFile {path}"),
            *("RequireSafeKeys no", f"Canonicalization {written}"),
            f"SignatureAlgorithm {key.algorithm.value}",
        )
        return field.replace(b"\n", b"\r\n") + b"\r\n"

    def test_it_believes_us(self) -> None:
        """Both kinds of keys, and several bodies; nothing that was changed."""
        now = time.time()  # it does not let us set its own
        for body in BODIES:
            message = signed(HEAD + body, now=now)
            self.assertEqual(self.found(message), [b"pass"] * 2, body[:20])
        changed = signed(HEAD + b"hello\r\n", now=now).replace(b"hello", b"hallo")
        self.assertNotIn(b"pass", self.found(changed))

    def test_we_believe_it(self) -> None:
        """So it is the other way round, however it writes what it signs."""
        # Of the header, it does not believe its own "simple" with Ed25519 (2.11.0).
        ways = [(RSA, "relaxed/relaxed"), (RSA, "simple/simple"), (ED25519, "relaxed/simple")]
        for key, written in ways:
            for body in BODIES[2:]:
                message = self.signature(key, body, written) + HEAD + body
                found = results(message, now=time.time())
                self.assertEqual(found, ["pass"], (written, body[:20]))
                found = results(message.replace(b"To: b@", b"To: c@"), now=time.time())
                self.assertEqual(found, ["fail"])
