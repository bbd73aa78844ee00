"""``mailrelay tls``, without a server."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.files import Files, read_pair
from mailrelay.certificates.store import ACMEStore, Standing
from mailrelay.net.certificates import write_private
from mailrelay.testing.certificates import Authority
from tests.cli.operated import run

HOST = "mx.example.org"
CONFIG = """\
hostname = "mx.example.org"
data_dir = "data"
[[listener]]
role = "https"
endpoint = "tcp:443"
[[listener]]
role = "mx"
endpoint = "tcp:25"
"""
TLS = """\
[tls]
certificate = "tls.pem"
private_key = "tls-key.pem"
"""
ACME = """\
[acme]
terms_agreed = true
"""


class TLSTests(SynchronousTestCase):
    """Each command."""

    def setUp(self) -> None:
        """A configuration beside its files."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        (self.folder / "data").mkdir(parents=True)
        self.config = self.folder / "mailrelay.toml"
        self.authority = Authority()
        self.files = Files(self.folder / "tls.pem", self.folder / "tls-key.pem")

    def run_tls(self, *arguments: str, code: int = 0) -> str:
        """What a command says."""
        result = run(self, "tls", *arguments, "--config", str(self.config), code=code)
        return result.output

    def status(self) -> Any:
        """The certificates."""
        return json.loads(self.run_tls("status", "--json"))["certificates"]

    def test_file(self) -> None:
        """For whom, until when, whence, who shows it; and whether somebody believes it."""
        self.config.write_text(CONFIG + TLS)
        self.authority.write(self.files.certificate, self.files.private_key, [HOST])
        [one] = self.status()
        self.assertEqual((one["names"], one["source"]), ([HOST], str(self.files)))
        self.assertEqual((one["believed"], one["is_default"], one["error"]), (False, True, None))
        self.assertEqual((one["issuer"], one["key_type"]), ("CN=test authority", "ECDSA secp256r1"))
        self.assertAlmostEqual(one["days_left"], 1.0, delta=0.2)
        pair = read_pair(self.files, {os.geteuid()})
        self.assertEqual(one["tlsa"], pair.tlsa)
        said = self.run_tls("status")
        for word in (HOST, pair.tlsa, "days left: renew it", "tcp:443 (https), tcp:25 (mx)"):
            self.assertIn(word, said)
        self.assertNotIn("PRIVATE", said)

    def test_faults(self) -> None:
        """What is expired is said to be; what cannot be read, too."""
        self.config.write_text(CONFIG + TLS)
        ended = timedelta(days=-2)
        self.authority.write(
            *(self.files.certificate, self.files.private_key), [HOST], valid_for=ended
        )
        [one] = self.status()
        self.assertEqual(one["faults"], ["it has expired"])
        write_private(self.files.private_key, b"")
        [one] = self.status()
        self.assertIn("no private key", one["error"])
        self.assertIn("no private key", self.run_tls("status"))

    def test_ordered(self) -> None:
        """What ACME brought, and what it could not; when each is tried again."""
        self.config.write_text(CONFIG + ACME)
        store = ACMEStore(self.folder / "data")
        store.prepare()
        store.self_signed(HOST, time.time())
        [one] = self.status()
        self.assertIn("self-signed", one["source"])
        self.authority.write(self.files.certificate, self.files.private_key, [HOST])
        store.keep(HOST, read_pair(self.files, {os.geteuid()}))
        store.keep_standings(
            {
                HOST: Standing(renew_at=1_800_000_000.0),
                "": Standing(error="nobody answers", error_at=1.0, next_at=2.0, failures=1),
                "b.example.org": Standing(error="not proved", error_at=1.0, next_at=2.0),
            }
        )
        first, authority, missing = self.status()
        self.assertEqual((first["names"], first["is_ordered"]), ([HOST], True))
        self.assertEqual((first["renew_at"], first["error"]), ("2027-01-15T08:00:00Z", None))
        self.assertEqual((authority["source"], authority["names"]), ("the authority", []))
        self.assertEqual((missing["names"], missing["error"]), (["b.example.org"], "not proved"))
        self.assertEqual(missing["tried_again_at"], "1970-01-01T00:00:02Z")
        self.assertIn("last error", self.run_tls("status"))

    def test_renew(self) -> None:
        """It is noted for the server, for a name, for all, or for the host when there is none."""
        self.config.write_text(CONFIG + ACME)
        store = ACMEStore(self.folder / "data")
        self.assertIn("is asked for", self.run_tls("renew"))
        self.assertEqual(store.asked(), {HOST})
        store.done(HOST)
        store.keep_standings({"a.example.org": Standing(), "": Standing()})
        said = json.loads(self.run_tls("renew", "--json"))
        self.assertEqual(said, {"asked": ["a.example.org"]})
        self.run_tls("renew", "B.example.org")
        self.assertEqual(store.asked(), {"a.example.org", "b.example.org"})

    def test_renew_what(self) -> None:
        """A name that is none goes nowhere near a path; without [acme] there is nothing to do."""
        self.config.write_text(CONFIG + ACME)
        for name in ("../x", "a/b", "a..b", "", ".", "x" * 300):
            if name:
                self.run_tls("renew", name, code=64)
        self.assertEqual(ACMEStore(self.folder / "data").asked(), frozenset())
        self.config.write_text(CONFIG + TLS)
        self.assertIn("nothing is ordered", self.run_tls("renew", code=78))

    def test_none(self) -> None:
        """No TLS at all."""
        self.config.write_text(CONFIG.replace('role = "https"', 'role = "http"'))
        self.assertIn("No certificates", self.run_tls("status"))


class SettingTests(SynchronousTestCase):
    """``[acme]`` as check-config reads it."""

    def problems(self, text: str, listeners: str = CONFIG) -> str:
        """What is wrong with it."""
        config = Path(self.mktemp())
        config.write_text(listeners + text)
        return run(self, "check-config", str(config), code=78).output

    def test_wrong(self) -> None:
        """Each is refused with its line and what to do."""
        for line, text in (
            ("terms_agreed = false", "acme.terms_agreed: read the authority's terms"),
            ('challenge = "dns-01"', "must be one of tls-alpn-01, http-01"),
            ('challenge = "http-01"', "needs a [[listener]] with role http"),
            ('names = ["*.example.org"]', "[tls] certificates"),
            ('names = ["a/../b"]', "is no host name"),
            ('names = ["localhost"]', "write it whole"),
            ("names = []", "must be 1 to 1000"),
            ('contact = "me"', "is no address"),
            ('directory = "http://ca.test/"', "https://"),
            ('eab_kid = "a"', "goes together with eab_key"),
            ('eab_kid = "a"\neab_key = "%%%"', "is not base64url"),
            ('eab_key_file = "missing"', "cannot be read"),
            ('ca_file = "missing"', "there is no file"),
            ("orders_per_hour = 0", "must be at least 1"),
            ("terms = true", "unknown setting"),
        ):
            agreed = "" if "terms_agreed" in line else "terms_agreed = true\n"
            said = self.problems(f"[acme]\n{agreed}{line}\n")
            self.assertIn(text, said)
            self.assertRegex(said, r":1[0-9]: acme")

    def test_needed(self) -> None:
        """TLS from the first byte needs one or the other."""
        self.assertIn("[tls] certificate and private_key, or [acme]", self.problems(""))
