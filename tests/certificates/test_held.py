"""Which certificate is shown, and what replaces it."""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.challenges import Challenge, Challenges, proof_of
from mailrelay.certificates.files import Files, read_pair
from mailrelay.certificates.held import Certificates, Place
from mailrelay.certificates.ordering import key_pem
from mailrelay.certificates.settings import TLS_ALPN_01
from mailrelay.net.certificates import make_self_signed, write_private
from mailrelay.net.tls import UnusableCertificate
from mailrelay.testing.certificates import DAY, Authority
from tests.certificates.shaken import seen_by_client

HOST = "mx.example.org"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class FilesCase(SynchronousTestCase):
    """A folder with a certificate for HOST."""

    def setUp(self) -> None:
        """Issue it."""
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir()
        self.authority = Authority()
        self.main = self.issued("main", [HOST, "example.org"])
        self.place = Place(self.main, owners={os.geteuid()})
        self.now = time.time()
        self.certificates = Certificates(HOST, self.place, Challenges(), lambda: self.now)

    def issued(
        self, name: str, names: Sequence[str], *, valid_for: timedelta = DAY, issuer: bool = True
    ) -> Files:
        """A pair of files that hold a certificate for ``names``."""
        files = Files(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        self.authority.write(
            *(files.certificate, files.private_key), names, valid_for=valid_for, issuer=issuer
        )
        return files

    def look(self) -> None:
        """As the server does, in one thread."""
        certificates = self.certificates
        certificates.looked(
            certificates.place, certificates.look(certificates.place, certificates.seen)
        )

    def shown(self, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
        """The first name of what a client is shown that asks for ``name``."""
        seen = seen_by_client(self.certificates.options().context, name, version=version)
        return seen.names[0]


class ChoiceTests(FilesCase):
    """Clients ask for names."""

    def test_names(self) -> None:
        """The certificate that has the name, a wildcard's one label, else the host's own."""
        others = [
            self.issued("sts", ["mta-sts.example.org"]),
            self.issued("wild", ["*.example.net"]),
            self.issued("one", ["special.example.net"]),
        ]
        self.certificates.place = evolve(self.place, others=others)
        self.certificates.load()
        for version in VERSIONS:
            for asked, shown in (
                (None, HOST),
                (HOST, HOST),
                ("mta-sts.example.org", "mta-sts.example.org"),
                ("MTA-STS.Example.ORG", "mta-sts.example.org"),
                ("a.example.net", "*.example.net"),
                ("special.example.net", "special.example.net"),
                ("a.b.example.net", HOST),
                ("example.net", HOST),
                ("elsewhere.example", HOST),
            ):
                self.assertEqual(self.shown(asked, version), shown, asked)

    def test_the_host_comes_first_wherever_it_is(self) -> None:
        """Mail servers ask for no name: they see the host's, though it is not the first."""
        main = self.issued("first", ["www.example.org"])
        self.certificates.place = evolve(self.place, main=main, others=[self.main])
        self.certificates.load()
        self.assertEqual(self.shown(None), HOST)

    def test_valid_before_expired(self) -> None:
        """Of two for a name the valid one is shown, whatever their order."""
        old = self.issued("old", [HOST, "old.example"], valid_for=timedelta(days=-1))
        self.certificates.place = evolve(self.place, main=old, others=[self.main])
        self.certificates.load()
        self.assertEqual(
            seen_by_client(self.certificates.options().context, HOST).names[1], "example.org"
        )

    def test_ordered_before_files(self) -> None:
        """What ACME brought is shown in place of the file, which was there until then."""
        self.certificates.load()
        pair = read_pair(self.issued("acme", [HOST, "acme.example"]), {os.geteuid()})
        self.certificates.ordered[HOST] = pair
        self.certificates.choose()
        context = self.certificates.options().context
        self.assertEqual(seen_by_client(context, HOST).names[1], "acme.example")

    def test_directory(self) -> None:
        """As certbot has it, and key and certificate in one file; links are followed."""
        folder = self.folder / "live"
        (folder / "a.example").mkdir(parents=True)
        made = self.issued("a", ["a.example"])
        (folder / "a.example" / "fullchain.pem").symlink_to(made.certificate)
        (folder / "a.example" / "privkey.pem").symlink_to(made.private_key)
        both = self.issued("b", ["b.example"])
        text = both.certificate.read_bytes() + both.private_key.read_bytes()
        write_private(folder / "b.pem", text)
        (folder / "README").write_text("not one")
        self.certificates.place = evolve(self.place, directory=folder)
        self.certificates.load()
        self.assertEqual(
            [self.shown(f"{x}.example") for x in "abc"], ["a.example", "b.example", HOST]
        )

    def test_one_of_the_directory_is_broken(self) -> None:
        """It keeps no server from starting, and is told of."""
        folder = self.folder / "live"
        folder.mkdir()
        write_private(folder / "b.pem", b"nothing")
        self.certificates.place = evolve(self.place, directory=folder)
        self.certificates.load()
        self.assertEqual(list(self.certificates.broken), [str(folder / "b.pem")])
        self.assertEqual(self.shown(HOST), HOST)

    def test_last_resort(self) -> None:
        """While nothing else is there, the self-signed one is shown; then never."""
        made = self.folder / "self.pem", self.folder / "self-key.pem"
        make_self_signed(*made, ["self.example"], self.now)
        self.certificates.last_resort = read_pair(Files(*made), {os.geteuid()})
        self.certificates.load(Place())
        self.assertEqual(self.shown(HOST), "self.example")
        self.certificates.load(self.place)
        self.assertEqual(self.shown("self.example"), HOST)


class ReplacementTests(FilesCase):
    """A file changes while the server runs."""

    def setUp(self) -> None:
        """Use what is there."""
        super().setUp()
        self.certificates.load()

    def test_good(self) -> None:
        """From the next look on it is shown; what is as it was is not read."""
        before = self.certificates.options()
        self.look()
        self.assertIs(self.certificates.options(), before)
        self.issued("main", [HOST, "new.example"])
        self.look()
        self.assertIsNot(self.certificates.options(), before)
        seen = seen_by_client(self.certificates.options().context, HOST)
        self.assertEqual(seen.names[1], "new.example")
        self.assertEqual(self.certificates.broken, {})

    def refused(self) -> str:
        """That nothing changes, and why."""
        before = self.certificates.options()
        self.look()
        self.assertIs(self.certificates.options(), before)
        self.assertRaises(UnusableCertificate, self.certificates.load)
        self.assertIs(self.certificates.options(), before)
        [reason] = self.certificates.broken.values()
        return reason

    def test_worse(self) -> None:
        """A pair with a fault that the one before has not is refused, and says what it is."""
        for wrong, text in (
            (lambda: self.issued("main", [HOST], valid_for=timedelta(days=-1)), "it has expired"),
            (lambda: self.issued("main", ["other.example"]), "it does not name the host"),
            (self.mixed_up, "out of order"),
        ):
            wrong()
            self.assertIn(text, self.refused())
            self.assertEqual(self.shown(HOST), HOST)
        self.issued("main", [HOST])
        self.look()
        self.assertEqual(self.certificates.broken, {})

    def mixed_up(self) -> None:
        """Another authority's certificate behind it."""
        files = self.issued("main", [HOST], issuer=False)
        other = Authority("another").certificate
        with files.certificate.open("ab") as file:
            file.write(other.public_bytes(Encoding.PEM))

    def test_no_worse(self) -> None:
        """An expired one may be replaced by an expired one: it may be on its way to better."""
        self.now += 3 * 86400
        self.issued("main", [HOST, "late.example"])
        self.look()
        seen = seen_by_client(self.certificates.options().context, HOST)
        self.assertEqual(seen.names[1], "late.example")

    def test_broken(self) -> None:
        """Half-written, another's key, gone: the old one stays."""
        key = self.main.private_key.read_bytes()
        certificate = self.main.certificate.read_bytes()
        other = key_pem(self.authority.issue([HOST])[1])
        for key_bytes, certificate_bytes, text in (
            (other, certificate, "belong together"),
            (b"", certificate, "no private key"),
            (key, certificate[:200], "no certificate"),
            (
                key,
                b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
                "cannot be used",
            ),
        ):
            write_private(self.main.private_key, key_bytes)
            self.main.certificate.write_bytes(certificate_bytes)
            reason = self.refused()
            self.assertIn(text, reason)
            self.assertIn(str(self.main.certificate), reason)
        self.main.private_key.unlink()
        self.assertIn("No such file", self.refused())
        write_private(self.main.private_key, key)
        self.main.certificate.write_bytes(certificate)
        self.look()
        self.assertEqual(self.certificates.broken, {})

    def test_told_once(self) -> None:
        """What is broken is said when it is found, and when it is over."""
        told: list[LogEvent] = []
        observer: Any = told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        key = self.main.private_key.read_bytes()
        write_private(self.main.private_key, b"")
        for _ in range(3):
            self.look()
        self.assertEqual(len(told), 1)
        write_private(self.main.private_key, key)
        self.look()
        self.assertIn("can be used again", str(told[1]["log_format"]))

    def test_readable_key(self) -> None:
        """A key that others can read is refused; one of a group is not."""
        for mode, good in ((0o640, True), (0o604, False), (0o660, False), (0o400, True)):
            self.main.private_key.chmod(mode)
            if good:
                self.certificates.load()
            else:
                error = self.assertRaises(UnusableCertificate, self.certificates.load)
                self.assertIn("chmod 600", str(error))

    def test_owner(self) -> None:
        """A key is root's or the server's user's: others could change it."""
        user = 4711 if os.geteuid() == 0 else os.geteuid()
        os.chown(self.main.private_key, user, -1)
        others = evolve(self.place, owners=frozenset())
        error = self.assertRaises(UnusableCertificate, self.certificates.load, others)
        self.assertIn(f"belongs to user {user}", str(error))
        self.certificates.load(evolve(self.place, owners={user}))

    def test_place_changed_meanwhile(self) -> None:
        """What a look found at another place is thrown away."""
        looked = self.certificates.look(self.place, {})
        self.certificates.load(evolve(self.place, main=self.issued("other", ["other.example"])))
        self.certificates.looked(self.place, looked)
        self.assertEqual(self.shown(None), "other.example")


class ChallengeTests(FilesCase):
    """tls-alpn-01 (RFC 8737)."""

    def setUp(self) -> None:
        """A name is being proved."""
        super().setUp()
        self.certificates.load()
        self.challenge = Challenge(TLS_ALPN_01, "sts.example", "", "token", "token.print")
        proof = proof_of(self.challenge, self.now)
        shown = self.certificates.challenges.shown(self.challenge, proof)
        shown.__enter__()
        self.addCleanup(shown.__exit__, None, None, None)

    def test_proof(self) -> None:
        """Who speaks acme-tls/1 and asks for the name sees it, with what proves it."""
        context = self.certificates.challenged().context
        seen = seen_by_client(context, "sts.example", ["acme-tls/1"])
        self.assertEqual((seen.names, seen.protocol), (["sts.example"], "acme-tls/1"))
        oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
        found = seen.certificate.extensions.get_extension_for_oid(oid)
        self.assertTrue(found.critical)
        digest = hashlib.sha256(b"token.print").digest()
        self.assertEqual(found.value.public_bytes(), b"\x04\x20" + digest)

    def test_before_tls_1_3(self) -> None:
        """There it is not to be had, and nothing breaks."""
        context = self.certificates.challenged().context
        version = ssl.TLSVersion.TLSv1_2
        seen = seen_by_client(context, "sts.example", ["acme-tls/1"], version)
        self.assertEqual((seen.names[0], seen.protocol), (HOST, None))

    def test_others(self) -> None:
        """Nobody else does: neither by the name, nor by another, nor beside another protocol."""
        for name, protocols in (
            ("sts.example", []),
            ("sts.example", ["http/1.1"]),
            ("sts.example", ["acme-tls/1", "http/1.1"]),
            (HOST, ["acme-tls/1"]),
            (None, ["acme-tls/1"]),
        ):
            for version in VERSIONS:
                context = self.certificates.challenged().context
                seen = seen_by_client(context, name, protocols, version)
                self.assertEqual((seen.names[0], seen.protocol), (HOST, None), (name, protocols))

    def test_not_for_mail(self) -> None:
        """SMTP's context knows nothing of it."""
        context = self.certificates.options().context
        seen = seen_by_client(context, "sts.example", ["acme-tls/1"])
        self.assertEqual((seen.names[0], seen.protocol), (HOST, None))
