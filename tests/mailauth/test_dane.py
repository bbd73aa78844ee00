"""TLSA records against chains of certificates."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256, sha512

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.dane import authenticate, is_usable, usable
from mailrelay.net.dnssec import TLSA
from mailrelay.net.peer_tls import CertificateRefused, Flaw
from mailrelay.testing.certificates import Authority

AUTHORITY, STRANGER = Authority(), Authority("somebody else")
NAME = "mx.peer.test"
ROOT = AUTHORITY.certificate
RIGHT, _ = AUTHORITY.issue([NAME])
OTHER_NAME, _ = AUTHORITY.issue(["other.test"])
EXPIRED, _ = AUTHORITY.issue([NAME], valid_for=timedelta(days=-1))
STRANGE, _ = STRANGER.issue([NAME])


def tlsa(usage: int, selector: int, matching: int, certificate: x509.Certificate) -> TLSA:
    """The record of a certificate."""
    data = (
        certificate.public_bytes(Encoding.DER)
        if selector == 0
        else certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    digests = {0: data, 1: sha256(data).digest(), 2: sha512(data).digest()}
    return TLSA(usage, selector, matching, digests[matching])


class UsableTests(SynchronousTestCase):
    """Which records count."""

    def test_kinds(self) -> None:
        """PKIX usages, unknown numbers and wrong lengths do not."""
        for record, expected in (
            (tlsa(3, 1, 1, RIGHT), True),
            (tlsa(2, 0, 2, ROOT), True),
            (tlsa(3, 0, 0, RIGHT), True),
            (tlsa(3, 1, 0, RIGHT), True),
            (TLSA(0, 0, 1, b"x" * 32), False),
            (TLSA(1, 1, 1, b"x" * 32), False),
            (TLSA(4, 1, 1, b"x" * 32), False),
            (TLSA(255, 0, 1, b"x" * 32), False),
            (TLSA(3, 2, 1, b"x" * 32), False),
            (TLSA(3, 1, 3, b"x" * 32), False),
            (TLSA(3, 1, 1, b"x" * 31), False),
            (TLSA(3, 1, 2, b"x" * 32), False),
            (TLSA(3, 0, 0, b"no certificate"), False),
            (TLSA(3, 1, 0, b""), False),
        ):
            self.assertEqual(is_usable(record), expected, str(record)[:40])

    def test_strongest_digest(self) -> None:
        """SHA-256 does not count where SHA-512 of the same kind is there (RFC 7671 section 9)."""
        weak, strong = tlsa(3, 1, 1, RIGHT), tlsa(3, 1, 2, RIGHT)
        whole, of_anchor = tlsa(3, 1, 0, RIGHT), tlsa(2, 0, 1, ROOT)
        self.assertEqual(usable([weak, strong, whole, of_anchor]), (strong, whole, of_anchor))


class AuthenticateTests(SynchronousTestCase):
    """Which chains are believed."""

    def refused(self, record: TLSA, *chain: x509.Certificate) -> Flaw:
        """What is wrong with a chain."""
        error: CertificateRefused = self.assertRaises(
            CertificateRefused, authenticate, [record], [NAME], chain
        )
        return error.flaw

    def test_end_entity(self) -> None:
        """The certificate or key itself: neither name, date nor authority count."""
        for certificate in (RIGHT, OTHER_NAME, EXPIRED, STRANGE):
            for selector in (0, 1):
                for matching in (0, 1, 2):
                    record = tlsa(3, selector, matching, certificate)
                    self.assertEqual(authenticate([record], [NAME], [certificate]), record)
        self.assertEqual(self.refused(tlsa(3, 1, 1, RIGHT), STRANGE), Flaw.INVALID)
        # Only the server's own counts, not what else it shows.
        self.assertEqual(self.refused(tlsa(3, 1, 1, ROOT), RIGHT, ROOT), Flaw.INVALID)
        self.assertEqual(self.refused(tlsa(3, 1, 1, RIGHT)), Flaw.INVALID)

    def test_trust_anchor(self) -> None:
        """What it vouches for must be for the host, and valid."""
        for selector, matching in ((0, 0), (0, 1), (1, 1), (1, 0), (1, 2)):
            record = tlsa(2, selector, matching, ROOT)
            self.assertEqual(authenticate([record], [NAME], [RIGHT, ROOT]), record)
            self.assertEqual(self.refused(record, OTHER_NAME, ROOT), Flaw.OTHER_NAME)
            self.assertEqual(self.refused(record, EXPIRED, ROOT), Flaw.EXPIRED)
            for chain in ((STRANGE, ROOT), (STRANGE, STRANGER.certificate)):
                self.assertIn(self.refused(record, *chain), (Flaw.NOT_TRUSTED, Flaw.INVALID))

    def test_anchor_is_not_shown(self) -> None:
        """It must be, but where the record has it whole (RFC 7671 section 5.2.2)."""
        whole = tlsa(2, 0, 0, ROOT)
        self.assertEqual(authenticate([whole], [NAME], [RIGHT]), whole)
        self.refused(tlsa(2, 0, 1, ROOT), RIGHT)

    def test_any_name(self) -> None:
        """One of the names is enough: the domain's as well as the host's."""
        record = tlsa(2, 0, 1, ROOT)
        names = ["mx.far.test", "other.test"]
        self.assertEqual(authenticate([record], names, [OTHER_NAME, ROOT]), record)

    def test_any_record(self) -> None:
        """One that fits is enough."""
        wrong, right = tlsa(3, 1, 1, STRANGE), tlsa(3, 1, 1, RIGHT)
        self.assertEqual(authenticate([wrong, right], [NAME], [RIGHT]), right)
