"""DKIM: RFC 8463's samples, dkimpy on the other side, and every way a signature can be wrong."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from random import Random
from typing import Any

import dkim as oracle
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.canonical import RelaxedBody, SimpleBody, relaxed_field
from mailrelay.mailauth.dkim import Algorithm, BodyDigest, raw_fields
from mailrelay.mailauth.dkim_sign import (
    BODY,
    SigningKey,
    UnusableKey,
    key_from_pem,
    key_to_pem,
    new_key,
    sign,
)
from mailrelay.mailauth.dkim_verify import MOST_SIGNATURES, DKIMOutcome, DKIMResult, Verifier
from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from tests.mailauth.dkim_messages import FOOTBALL, FOOTBALL_KEYS
from tests.mailauth.verifying import answer_of, compute, shown, texts_of

NOW = 1528637999.0
LATER = 4e9  # than what dkimpy signs, by its own clock
MESSAGE = (
    b"From: A <a@d.test>\r\nTo: b@far.test\r\nSubject: =?utf-8?q?=C3=BC?=\r\n two  lines \r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nX-Own: x\r\n\r\nHi  there \t\r\n\r\nbye\r\n\r\n\r\n"
)
RSA = SigningKey("d.test", "r1", new_key(Algorithm.RSA))
ED25519 = SigningKey("d.test", "e1", new_key(Algorithm.ED25519))
KEYS = {f"{key.selector}._domainkey.d.test": key.record().encode() for key in (RSA, ED25519)}


def verified(
    message: bytes, records: Mapping[str, Any] = KEYS, now: float = NOW, cut: int = 7
) -> list[DKIMOutcome]:
    """What is found; ``records`` are keys, or what asking for them raises."""
    verifier = shown(message, cut, Verifier)
    return list(answer_of(verifier.outcomes(texts_of(records), now, compute)))


def results(message: bytes, records: Mapping[str, Any] = KEYS, now: float = NOW) -> list[str]:
    """The words for what is found."""
    return [outcome.result.value for outcome in verified(message, records, now)]


def signed(message: bytes, *keys: SigningKey, now: float = NOW) -> bytes:
    """``message`` with our signatures."""
    header, _, body = message.partition(b"\r\n\r\n")
    digest = BodyDigest(BODY)
    digest.update(body)
    return sign(raw_fields(header), digest.finish(), keys or (RSA, ED25519), now) + message


def oracle_finds(message: bytes, index: int = 0) -> bool:
    """Whether dkimpy believes a signature."""
    by_name = {f"{name}.".encode(): record for name, record in KEYS.items()}
    checked = oracle.DKIM(message, minkey=1024)
    return bool(checked.verify(index, dnsfunc=lambda name, **_: by_name.get(name)))


class PublishedTests(SynchronousTestCase):
    """RFC 8463, appendix A."""

    def test_both(self) -> None:
        """Both signatures of the sample are right; with one letter changed, neither is."""
        self.assertEqual(results(FOOTBALL, FOOTBALL_KEYS), ["pass", "pass"])
        changed = FOOTBALL.replace(b"dinner", b"supper")
        self.assertEqual(results(changed, FOOTBALL_KEYS), ["fail", "fail"])
        changed = FOOTBALL.replace(b"hungry", b"thirsty")
        self.assertEqual(results(changed, FOOTBALL_KEYS), ["fail", "fail"])


class SigningTests(SynchronousTestCase):
    """What we sign, others believe."""

    def test_both(self) -> None:
        """Two signatures, which we and dkimpy believe."""
        message = signed(MESSAGE)
        self.assertEqual(results(message), ["pass", "pass"])
        self.assertTrue(oracle_finds(message, 0))
        self.assertTrue(oracle_finds(message, 1))
        self.assertLess(max(map(len, message.split(b"\r\n"))), 79)

    def test_other_messages(self) -> None:
        """So it is with bodies that are empty, of lines alone, without a last CRLF, and large."""
        head = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        bodies = (b"", b"\r\n", b"\r\n\r\n", b" \r\n", b"no end", b"a\r\n" * 9999)
        for body in (*bodies, b" " * 5000 + b"\r\n\r\nx\r\n" + b"\r\n" * 9000):
            message = signed(head + body)
            self.assertEqual(results(message), ["pass", "pass"], body[:20])
            self.assertTrue(oracle_finds(message), body[:20])

    def test_nothing_can_be_added(self) -> None:
        """A second From, Subject or To breaks the signature; another X- field does not."""
        message = signed(MESSAGE)
        for added in (b"From: e@evil.test", b"Subject: buy", b"Cc: all@far.test", b"Reply-To: e@e"):
            self.assertEqual(results(added + b"\r\n" + message), ["fail", "fail"], added)
        self.assertEqual(results(b"X-More: 1\r\n" + message), ["pass", "pass"])

    def test_what_relays_do(self) -> None:
        """Folds, spaces and case of names may change on the way."""
        message = signed(MESSAGE)
        changed = message.replace(b"\r\n two  lines \r\n", b" two\r\n\tlines\r\n")
        changed = changed.replace(b"Hi  there \t\r\n", b"Hi there\r\n").replace(b"To: ", b"tO:")
        self.assertNotEqual(changed, message)
        self.assertEqual(results(changed), ["pass", "pass"])

    def test_keys(self) -> None:
        """Keys are kept as PEM; short ones, and others, are refused."""
        for key in (RSA, ED25519):
            again = SigningKey("d.test", key.selector, key_from_pem(key_to_pem(key.private)))
            self.assertEqual(again.record(), key.record())
        self.assertNotIn("PRIVATE", repr(RSA))
        short = generate_private_key(65537, 1024)
        for pem in (key_to_pem(short), b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END"):
            self.assertRaises(UnusableKey, key_from_pem, pem)


class VerifyingTests(SynchronousTestCase):
    """What others sign, and what may be wrong with it."""

    def test_dkimpy(self) -> None:
        """Every way to write header and body, as dkimpy signs."""
        for header in (b"simple", b"relaxed"):
            for body in (b"simple", b"relaxed"):
                for key, name in ((RSA, b"rsa-sha256"), (ED25519, b"ed25519-sha256")):
                    field = oracle_signed(MESSAGE, key, name, (header, body))
                    self.assertEqual(results(field + MESSAGE, now=LATER), ["pass"], field)

    def test_malformed(self) -> None:
        """A signature that cannot be checked is an error that says why."""
        message = signed(MESSAGE, RSA)
        for old, new, why in (
            (b"v=1", b"v=2", "v=2"),
            (b"a=rsa-sha256", b"a=rsa-sha1", "a=rsa-sha1"),
            (b"c=relaxed/relaxed", b"c=loose", "c=loose"),
            (b"d=d.test", b"d=", "d="),
            (b"s=r1;", b"s=r1; s=r1;", "twice"),
            (b"s=r1;", b"", "s= is missing"),
            (b"s=r1;", b"s=r1; q=web;", "q="),
            (b"s=r1;", b"s=r1; i=a@other.test;", "i="),
            (b"s=r1;", b"s=r1; i=a@xd.test;", "i="),
            (b"s=r1;", b"s=r1; x=never;", "x="),
            (b"h=from:from:", b"h=x:", "From"),
            (b"bh=", b"bh=!", "base64"),
            (b"s=r1;", b"s=r\xc3\xbc;", "ASCII"),
        ):
            [outcome] = verified(message.replace(old, new, 1))
            self.assertIs(outcome.result, DKIMResult.PERMERROR, new)
            self.assertIn(why, outcome.reason)

    def test_keys(self) -> None:
        """Keys that are missing, revoked, weak, for others, or cannot be asked for."""
        message, name = signed(MESSAGE, RSA), "r1._domainkey.d.test"
        weak = evolve(RSA, private=generate_private_key(65537, 1024)).record()
        tiny = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKv5J1Xq"
        own = KEYS[name].decode()
        for record, expected, why in (
            (NoSuchDomain(name), "permerror", "no key"),
            (LookupFailed("SERVFAIL"), "temperror", "SERVFAIL"),
            ("v=DKIM1; p=", "permerror", "revoked"),
            ("v=spf1 -all", "permerror", "no DKIM key"),
            (own.replace("k=rsa", "k=ed25519"), "permerror", "of ed25519"),
            (own.replace("k=rsa", "k=rsa; h=sha1"), "permerror", "sha256"),
            (own.replace("k=rsa", "k=rsa; s=web"), "permerror", "mail"),
            (weak, "fail", "header"),
            (tiny, "permerror", "public key"),
            (own.replace("k=rsa", "k=rsa; t=s:y; n=x"), "pass", ""),
        ):
            given = record.encode() if isinstance(record, str) else record
            [outcome] = verified(message, {name: given})
            self.assertEqual(outcome.result.value, expected, record)
            self.assertIn(why, outcome.reason)
        [outcome] = verified(message, {name: own.replace("k=rsa", "k=rsa; t=y").encode()})
        self.assertTrue(outcome.is_testing)

    def test_identity(self) -> None:
        """A strict key is for its own domain alone."""
        name = "r1._domainkey.d.test"
        strict = KEYS[name].replace(b"k=rsa", b"k=rsa; t=s")
        header = oracle_signed(MESSAGE, RSA, b"rsa-sha256", identity=b"a@sub.d.test")
        self.assertEqual(results(header + MESSAGE, now=LATER), ["pass"])
        self.assertEqual(results(header + MESSAGE, {name: strict}, LATER), ["permerror"])

    def test_times(self) -> None:
        """A signature that has expired, or is from the future, is not believed."""
        message = signed(MESSAGE, RSA, now=NOW + 7200)
        self.assertEqual(results(message, now=NOW), ["fail"])
        self.assertEqual(results(message, now=NOW + 7200), ["pass"])
        expired = message.replace(b"; t=", b"; x=1; t=", 1)
        self.assertIn("expired", verified(expired, now=NOW + 7200)[0].reason)

    def test_length(self) -> None:
        """What is signed in part is not believed; with l= of all of it, it is."""
        field = oracle_signed(MESSAGE, RSA, b"rsa-sha256", length=True)
        self.assertEqual(results(field + MESSAGE, now=LATER), ["pass"])
        self.assertEqual(results(field + MESSAGE + b"and more\r\n", now=LATER), ["policy"])

    def test_many(self) -> None:
        """Ten signatures are looked at, of a thousand."""
        found = verified(b"DKIM-Signature: x\r\n" * 1000 + MESSAGE)
        self.assertEqual(len(found), MOST_SIGNATURES)

    def test_no_signature(self) -> None:
        """A message without one has nothing to be looked at."""
        self.assertFalse(Verifier(raw_fields(MESSAGE)).has_signatures)


class CanonicalTests(SynchronousTestCase):
    """Bodies and fields as they are signed."""

    def test_cut_anywhere(self) -> None:
        """However a body is cut, it is the same."""
        random = Random(3)
        for _ in range(300):
            body = b"".join(random.choices((b" ", b"\t", b"\r\n", b"a", b"bc", b"\r\n\r\n"), k=30))
            for kind in (RelaxedBody, SimpleBody):
                whole: list[bytes] = []
                pieces: list[bytes] = []
                at_once, cut = kind(whole.append), kind(pieces.append)
                at_once.update(body)
                at = 0
                while at < len(body):
                    size = random.randint(1, 4)
                    cut.update(body[at : at + size])
                    at += size
                at_once.finish()
                cut.finish()
                self.assertEqual(b"".join(pieces), b"".join(whole), body)

    def test_memory(self) -> None:
        """A body of space and lines alone is not kept."""
        digest = BodyDigest(BODY)
        for _ in range(200):
            digest.update(b" \r\n" * 10_000)
            digest.update(b" " * 10_000)
        self.assertEqual(digest.finish(), hashlib.sha256(b"").digest())

    def test_field(self) -> None:
        """Name in lower case, one line, one space."""
        self.assertEqual(relaxed_field(b"SubJect :  a\r\n\t b \t"), b"subject:a b\r\n")


def oracle_signed(
    message: bytes,
    key: SigningKey,
    algorithm: bytes,
    canonical: tuple[bytes, bytes] = (b"relaxed", b"relaxed"),
    identity: bytes | None = None,
    length: bool = False,
) -> bytes:
    """dkimpy's signature field."""
    private = key_to_pem(key.private)
    if algorithm == b"ed25519-sha256":
        private = b64encode(key.private.private_bytes_raw())  # type: ignore[union-attr]
    made = oracle.DKIM(message, signature_algorithm=algorithm)
    return bytes(
        made.sign(
            key.selector.encode(),
            b"d.test",
            private,
            canonicalize=canonical,
            identity=identity,
            length=length,
        )
    )
