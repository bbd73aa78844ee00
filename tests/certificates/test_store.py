"""What ACME keeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.store import ACMEStore, Standing

AS_ANOTHER = """
import sys
from pathlib import Path
from mailrelay.certificates.store import ACMEStore
from mailrelay.net.privileges import acting_as
with acting_as(12345, 12346):
    store = ACMEStore(Path(sys.argv[1]))
    store.prepare()
    store.account("https://ca.test/")
    store.self_signed("mx.example.org", 1.0)
    store.keep_standings({})
"""

WITHOUT = """
import sys
import mailrelay.cli.main, mailrelay.service.server, mailrelay.tap
print(sorted({"acme", "josepy", "requests"} & sys.modules.keys()))
"""


class StoreTests(SynchronousTestCase):
    """ACMEStore."""

    def setUp(self) -> None:
        """An empty one."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.store = ACMEStore(self.folder)
        self.store.prepare()

    def test_standings(self) -> None:
        """They are kept; what cannot be read is begun anew."""
        self.assertEqual(self.store.standings(), {})
        standing = Standing(renew_at=5.0, failures=2, error="no", error_at=3.0)
        self.store.keep_standings({"a.example": standing, "": Standing()})
        self.assertEqual(self.store.standings(), {"a.example": standing, "": Standing()})
        for junk in (b"", b"{", b'{"a": 5}', b"\xff"):
            (self.folder / "acme" / "standings.json").write_bytes(junk)
            self.assertEqual(self.store.standings(), {})

    def test_account(self) -> None:
        """One of each authority, whose key stays."""
        key, uri = self.store.account("https://a.test/")
        self.assertIsNone(uri)
        self.store.keep_account("https://a.test/", key, "https://a.test/1")
        again, uri = self.store.account("https://a.test/")
        self.assertEqual(
            (again.private_numbers(), uri), (key.private_numbers(), "https://a.test/1")
        )
        other, _ = self.store.account("https://b.test/")
        self.assertNotEqual(other.private_numbers(), key.private_numbers())

    def test_broken_certificate(self) -> None:
        """It is left out, and ordered anew."""
        (self.folder / "acme/certificates/a.example.pem").write_bytes(b"half")
        self.assertEqual(dict(self.store.pairs()), {})

    def test_whose_it_is(self) -> None:
        """Of the user who the server became; nobody else gets in."""
        user = 12345 if os.geteuid() == 0 else os.geteuid()
        self.folder = Path(tempfile.mkdtemp())  # others cannot get to where mktemp is
        self.addCleanup(shutil.rmtree, self.folder)
        if os.geteuid() == 0:
            os.chown(self.folder, user, 12346)
        subprocess.run([sys.executable, "-c", AS_ANOTHER, str(self.folder)], check=True)
        for path in (self.folder / "acme").rglob("*"):
            self.assertEqual(path.stat().st_uid, user, path)
        self.assertEqual((self.folder / "acme").stat().st_mode & 0o777, 0o700)


class StartTests(SynchronousTestCase):
    """Whoever does without ACME."""

    def test_the_library_is_not_imported(self) -> None:
        """Neither by the server nor by commands."""
        run = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, check=True)
        self.assertEqual(run.stdout, b"[]\n")
