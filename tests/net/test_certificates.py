"""Key and certificate files."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.certificates import make_self_signed, tlsa_digest, write_private
from mailrelay.net.tls import negotiated

NOW = 1_700_000_000.0


class CertificateTests(SynchronousTestCase):
    """make_self_signed, write_private and tlsa_digest."""

    def setUp(self) -> None:
        """A certificate and its key."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.certificate, self.key = folder / "c.pem", folder / "k.pem"
        make_self_signed(self.certificate, self.key, ["mx.example.org", "127.0.0.1", "::1"], NOW)

    def loaded(self) -> x509.Certificate:
        """The certificate in its file."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def test_names_and_dates(self) -> None:
        """It is for all names and addresses, valid now and for years."""
        made = self.loaded()
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["mx.example.org"])
        self.assertEqual(
            names.get_values_for_type(x509.IPAddress), [ip_address("127.0.0.1"), ip_address("::1")]
        )
        now = datetime.fromtimestamp(NOW, UTC)
        self.assertTrue(made.not_valid_before_utc < now < made.not_valid_after_utc)
        self.assertGreater((made.not_valid_after_utc - now).days, 3000)

    def test_private(self) -> None:
        """The key is its owner's alone, whatever the umask, and replaces what was there."""
        before = os.umask(0)
        try:
            self.key.chmod(0o666)
            write_private(self.key, b"new")
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(self.key.stat().st_mode), 0o600)
        self.assertEqual(self.key.read_bytes(), b"new")
        self.assertEqual(len(list(self.key.parent.iterdir())), 2)

    def test_left_over(self) -> None:
        """A temporary file of a start that was killed is no obstacle, nor followed as a link."""
        victim = self.key.parent / "victim"
        victim.write_bytes(b"keep")
        (self.key.parent / "k.pem.new").symlink_to(victim)
        write_private(self.key, b"new")
        self.assertEqual((self.key.read_bytes(), victim.read_bytes()), (b"new", b"keep"))
        self.assertFalse(self.key.is_symlink())

    def test_tlsa(self) -> None:
        """The digest of a TLSA record is what openssl makes of the public key."""
        public = subprocess.run(
            ["openssl", "x509", "-in", self.certificate, "-noout", "-pubkey"],
            capture_output=True,
            check=True,
        )
        der = subprocess.run(
            ["openssl", "pkey", "-pubin", "-outform", "DER"],
            input=public.stdout,
            capture_output=True,
            check=True,
        )
        self.assertEqual(tlsa_digest(self.loaded()), hashlib.sha256(der.stdout).hexdigest())

    def test_not_tls(self) -> None:
        """What is no TLS connection has negotiated nothing."""
        self.assertIsNone(negotiated(StringTransport()))
        self.assertIsNone(negotiated(object()))
