"""Key and certificate files, and the server's use of them."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.certificates import make_self_signed, write_private
from mailrelay.net.tls import ServerCertificate, UnusableCertificate, negotiated

NOW = 1_700_000_000.0


class CertificateTests(SynchronousTestCase):
    """make_self_signed, write_private and ServerCertificate."""

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

    def test_load(self) -> None:
        """The files are read at first use; a renewal is used after the next load."""
        server = ServerCertificate(self.certificate, self.key)
        first = server.options()
        self.assertIs(server.options(), first)
        make_self_signed(self.certificate, self.key, ["other.example"], NOW)
        server.load()
        self.assertIsNot(server.options(), first)

    def test_bad_renewal(self) -> None:
        """What cannot be used is refused with its name, and what was loaded stays in use."""
        server = ServerCertificate(self.certificate, self.key)
        first = server.options()
        key, certificate = self.key.read_bytes(), self.certificate.read_bytes()
        make_self_signed(self.certificate, self.key, ["other.example"], NOW)
        other = self.key.read_bytes()
        for key_bytes, certificate_bytes in (
            (other, certificate),
            (b"", certificate),
            (key, b"x"),
        ):
            write_private(self.key, key_bytes)
            self.certificate.write_bytes(certificate_bytes)
            error = self.assertRaises(UnusableCertificate, server.load)
            self.assertIn(str(self.certificate), str(error))
            self.assertIs(server.options(), first)

    def test_readable_key(self) -> None:
        """A key that others can read is refused; one of a group is not."""
        server = ServerCertificate(self.certificate, self.key)
        for mode, good in ((0o640, True), (0o604, False), (0o660, False), (0o400, True)):
            self.key.chmod(mode)
            if good:
                server.load()
            else:
                error = self.assertRaises(UnusableCertificate, server.load)
                self.assertIn("chmod 600", str(error))

    def test_missing(self) -> None:
        """A key or certificate that is not there is named."""
        self.certificate.unlink()
        server = ServerCertificate(self.certificate, self.key)
        self.assertRaises(UnusableCertificate, server.load)
        self.key.unlink()
        error = self.assertRaises(UnusableCertificate, server.load)
        self.assertIn(f"{self.key}: No such file", str(error))

    def test_not_tls(self) -> None:
        """What is no TLS connection has negotiated nothing."""
        self.assertIsNone(negotiated(StringTransport()))
        self.assertIsNone(negotiated(object()))
