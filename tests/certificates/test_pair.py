"""What is read from a certificate."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.ordering import key_pem, new_key
from mailrelay.certificates.pair import Fault, Pair, parse_pair
from mailrelay.net.tls import UnusableCertificate
from mailrelay.testing.certificates import Authority


class PairTests(SynchronousTestCase):
    """Pair and parse_pair."""

    def setUp(self) -> None:
        """One of an authority."""
        self.authority = Authority()
        certificate, key = self.authority.issue(["mx.example.org", "*.example.net"])
        self.text = certificate.public_bytes(Encoding.PEM)
        self.text += self.authority.certificate.public_bytes(Encoding.PEM)
        self.key = key_pem(key)
        self.pair = parse_pair(self.text, self.key, "here")

    def test_values(self) -> None:
        """As people are shown them."""
        pair = self.pair
        self.assertEqual(pair.names, ("mx.example.org", "*.example.net"))
        self.assertEqual((pair.issuer, pair.key_type), ("CN=test authority", "ECDSA secp256r1"))
        self.assertRegex(pair.tlsa, r"\A3 1 1 [0-9a-f]{64}\Z")
        self.assertFalse(pair.is_self_signed)
        self.assertEqual(pair.faults(time.time(), "mx.example.org"), frozenset())
        self.assertNotIn("PRIVATE", repr(pair))

    def test_faults(self) -> None:
        """Each, by itself."""
        for now, host, fault in (
            (self.pair.ends + 1, "", Fault.EXPIRED),
            (self.pair.begins - 1, "", Fault.NOT_YET),
            (time.time(), "other.example", Fault.NAME),
        ):
            self.assertEqual(self.pair.faults(now, host), {fault})
        other = Authority("other").certificate
        pair = Pair((self.pair.certificate, other), self.pair.key, "here")
        self.assertEqual(pair.faults(time.time(), ""), {Fault.CHAIN})

    def test_believed(self) -> None:
        """By the authorities of the system, which are the test's here; not by others, nor late."""
        self.assertFalse(self.pair.is_believed(time.time()))
        file = Path(os.path.abspath(self.mktemp()))
        file.write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))
        with patch.dict(os.environ, SSL_CERT_FILE=str(file)):
            self.assertTrue(self.pair.is_believed(time.time()))
            self.assertFalse(self.pair.is_believed(self.pair.ends + 5))

    def test_unusable(self) -> None:
        """Each is said with the file's name."""
        locked = new_key().private_bytes(
            Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        for certificate, key in (
            (b"", self.key),
            (self.text, b""),
            (self.text, key_pem(new_key())),
            (self.text, key_pem(ed25519.Ed25519PrivateKey.generate())),
            (self.text, locked),
            (self.text * 20, self.key),
            (self.text[:300], self.key),
            (b"\xff" * 1000, b"\0"),
        ):
            error = self.assertRaises(UnusableCertificate, parse_pair, certificate, key, "here")
            self.assertTrue(str(error).startswith("here"), str(error))

    @given(st.binary(max_size=300), st.integers(0, 1500))
    def test_anything(self, junk: bytes, at: int) -> None:
        """Whatever is in the files, it is a pair or an UnusableCertificate."""
        text = self.text[:at] + junk + self.text[at:]
        try:
            pair = parse_pair(text, self.key, "here")
        except UnusableCertificate:
            return
        self.assertIsInstance(pair.certificate, x509.Certificate)

    def test_rsa(self) -> None:
        """A certificate of one kind and a key of another do not belong together."""
        other = key_pem(rsa.generate_private_key(65537, 2048))
        self.assertRaises(UnusableCertificate, parse_pair, self.text, other, "here")
