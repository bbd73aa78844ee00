"""ARC: what we seal others believe, what they seal we believe, and every way a chain can break."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import dkim as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.arc import MOST_SETS, ChainResult
from mailrelay.mailauth.arc_seal import Sealing, can_seal, seal
from mailrelay.mailauth.arc_verify import ARCOutcome, ChainVerifier
from mailrelay.mailauth.canonical import relaxed_field
from mailrelay.mailauth.dkim import Algorithm, BodyDigest, BodyHash, raw_fields
from mailrelay.mailauth.dkim_sign import BODY, SigningKey, field_signed, key_to_pem, new_key
from mailrelay.net.resolver import LookupFailed
from tests.mailauth.verifying import answer_of, compute, shown, texts_of

NOW = 1700000000.0
MESSAGE = (
    b"Authentication-Results: mx.test; spf=pass smtp.mailfrom=a@d.test; arc=none\r\n"
    b"DKIM-Signature: v=1; d=d.test;\r\n b=none\r\n"
    b"From: A <a@d.test>\r\nTo: b@far.test\r\nSubject: a\r\n two  lines \r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\n\r\nHi  there \t\r\n\r\nbye\r\n\r\n"
)
KEYS = [SigningKey(f"s{n}.test", "arc", new_key(Algorithm.RSA)) for n in (1, 2)]
RECORDS = {f"arc._domainkey.{key.domain}": key.record().encode() for key in KEYS}


def validated(
    message: bytes, records: Mapping[str, Any] = RECORDS, now: float = NOW, cut: int = 7
) -> ARCOutcome:
    """What is found; ``records`` are keys, or what asking for them raises."""
    verifier = shown(message, cut, ChainVerifier)
    return answer_of(verifier.outcome(texts_of(records), now, compute))


def sealed(
    message: bytes, key: SigningKey = KEYS[0], found: ARCOutcome | None = None, now: float = NOW
) -> bytes:
    """``message`` with our set on top, of what we ``found``."""
    header, _, body = message.partition(b"\r\n\r\n")
    digest = BodyDigest(BODY)
    digest.update(body)
    found = found or validated(message)
    results = f"mx.test;\r\n spf=pass smtp.mailfrom=a@d.test;\r\n arc={found.result.value}"
    return seal(raw_fields(header), digest.finish(), Sealing(results, found), key, now) + message


def chain(count: int, message: bytes = MESSAGE) -> bytes:
    """``message`` after as many servers."""
    for number in range(count):
        message = sealed(message, KEYS[number % 2])
    return message


def oracle_finds(message: bytes) -> tuple[Any, str]:
    """What dkimpy finds, and why."""
    by_name = {f"{name}.".encode(): record for name, record in RECORDS.items()}
    result, _, reason = oracle.arc_verify(message, dnsfunc=lambda name, **_: by_name.get(name))
    return result, reason


def oracle_seals(message: bytes, key: SigningKey = KEYS[0], found: bytes = b"none") -> bytes:
    """``message`` with dkimpy's set on top; ``found`` is what it is to have found."""
    name = b"by." + found  # of each its own: dkimpy takes all results of one name together
    told = b"Authentication-Results: " + name + b"; arc=" + found + b"\r\n"
    fields = oracle.arc_sign(
        told + message,
        b"arc",
        key.domain.encode(),
        key_to_pem(key.private),
        name,
        timestamp=int(NOW),
    )
    return b"".join(field.rstrip(b"\r\n") + b"\r\n" for field in fields) + told + message


class SealingTests(SynchronousTestCase):
    """What we seal."""

    def test_one(self) -> None:
        """We and dkimpy believe it, and lines are short."""
        message = sealed(MESSAGE)
        outcome = validated(message)
        self.assertEqual((outcome.result, outcome.reason), (ChainResult.PASS, ""))
        self.assertEqual(list(outcome.sealers), ["s1.test"])
        self.assertEqual(oracle_finds(message), (b"pass", "success"))
        self.assertLess(max(map(len, message.split(b"\r\n"))), 79)

    def test_several(self) -> None:
        """So it is after three servers of two domains; the topmost is the last."""
        message = chain(3)
        self.assertEqual(list(validated(message).sealers), ["s1.test", "s2.test", "s1.test"])
        self.assertEqual(oracle_finds(message), (b"pass", "success"))
        self.assertIn(b" cv=pass;", message.partition(b"ARC-Message")[0])

    def test_with_others(self) -> None:
        """Ours on top of dkimpy's, and dkimpy's on top of ours."""
        message = oracle_seals(MESSAGE)
        self.assertEqual(validated(message).result, ChainResult.PASS)
        found = validated(message)
        message = sealed(message, KEYS[1], found)
        self.assertEqual(validated(message).result, ChainResult.PASS)
        self.assertEqual(oracle_finds(message), (b"pass", "success"))
        message = oracle_seals(message, KEYS[0], b"pass")
        self.assertEqual(list(validated(message).sealers), ["s1.test", "s2.test", "s1.test"])

    def test_ed25519(self) -> None:
        """A domain that has no RSA key seals with the other."""
        key = SigningKey("e.test", "arc", new_key(Algorithm.ED25519))
        message = sealed(MESSAGE, key)
        records = {"arc._domainkey.e.test": key.record().encode()}
        self.assertEqual(validated(message, records).result, ChainResult.PASS)

    def test_broken_before(self) -> None:
        """A broken chain gets one last set that says so, and covers itself alone."""
        message = chain(2).replace(b"bye", b"buy")
        found = validated(message)
        self.assertTrue(can_seal(found))
        message = sealed(message, KEYS[1], found)
        self.assertIn(b"ARC-Seal: i=3; a=rsa-sha256; cv=fail;", message)
        again = validated(message)
        self.assertEqual(again.result, ChainResult.FAIL)
        self.assertIn("cv=fail", again.reason)
        self.assertFalse(can_seal(again))
        self.assertEqual(oracle_finds(message)[0], None)  # ended, in dkimpy's words

    def test_full(self) -> None:
        """The fiftieth set is the last; a chain that could not be judged is left as it is."""
        message = chain(MOST_SETS)
        found = validated(message)
        self.assertEqual(found.result, ChainResult.PASS)
        self.assertEqual(oracle_finds(message)[0], b"pass")
        self.assertFalse(can_seal(found))
        later = validated(chain(1), {next(iter(RECORDS)): LookupFailed("no answer")})
        self.assertFalse(can_seal(later))
        self.assertTrue(later.is_temporary)


class ValidatingTests(SynchronousTestCase):
    """What we do not believe."""

    def assert_fails(self, message: bytes, why: str, **named: Any) -> None:
        """Check that a chain is broken, and what is said of it."""
        outcome = validated(message, **named)
        self.assertEqual(outcome.result, ChainResult.FAIL, why)
        self.assertIn(why, outcome.reason)
        self.assertEqual(list(outcome.sealers), [])

    def test_none(self) -> None:
        """A message without a set has no chain."""
        self.assertEqual(validated(MESSAGE).result, ChainResult.NONE)

    def test_changed(self) -> None:
        """Body, header, results, seals: each is covered."""
        message = chain(2)
        self.assert_fails(message.replace(b"bye", b"buy"), "the body is not")
        self.assert_fails(message.replace(b"two", b"ten"), "the header is not")
        self.assert_fails(b"From: e@evil.test\r\n" + message, "the header is not")
        first, _, last = message.rpartition(b"spf=pass smtp.mailfrom=a@d.test;\r\n arc=none")
        self.assert_fails(first + b"spf=fail;\r\n arc=none" + last, "the seal of set 2")

    def test_later_changes(self) -> None:
        """An older signature of the message may be broken: whoever broke it has sealed."""
        message = sealed(MESSAGE, KEYS[0])
        changed = b"ARC" + message[3:].replace(b"bye", b"[list] bye")
        again = sealed(changed, KEYS[1], validated(message))
        self.assertEqual(validated(again).result, ChainResult.PASS)
        self.assertEqual(oracle_finds(again)[0], b"pass")

    def test_structure(self) -> None:
        """Sets that lack a field, have one twice, or are not numbered from 1 on."""
        message = chain(2)
        fields = raw_fields(message)
        body = b"\r\n\r\n" + message.partition(b"\r\n\r\n")[2]

        def with_fields(kept: list[bytes]) -> bytes:
            return b"\r\n".join(kept) + body

        for number in range(6):
            left = with_fields([*fields[:number], *fields[number + 1 :]])
            self.assert_fails(left, "has no field")
            self.assertEqual(oracle_finds(left)[0], b"fail")
            self.assert_fails(with_fields([fields[number], *fields]), "has two fields")
        self.assert_fails(with_fields(fields[:3] + fields[6:]), "set 1 has no field")
        self.assert_fails(with_fields([b"ARC-Seal: x", *fields]), "of no set")
        for place in ("0", "51", "1000", "-1", "x", ""):
            self.assert_fails(message.replace(b"i=2", f"i={place}".encode()), "of no set")

    def test_tags(self) -> None:
        """What a set's fields must say, or must not."""
        message = chain(1)
        for old, new, why in (
            (b"cv=none", b"cv=pass", "says cv=pass"),
            (b"cv=none", b"cv=good", "no state of a chain"),
            (b"cv=none;", b"", "cv= is missing"),
            (b"ARC-Seal: i=1;", b"ARC-Seal: i=1; h=from;", "a seal has h="),
            (b"h=from:", b"h=arc-seal:from:", "h= signs ARC-Seal"),
            (b"h=from:from:", b"h=", "does not sign From"),
            (b"rsa-sha256", b"rsa-sha1", "no algorithm"),
            (b"d=s1.test; s=arc", b"d=s1.test", "s= is missing"),
            (b"d=s1.test", b"d=s..te st", "no domain"),
            (b" bh=", b" bh=?", "bh= is no base64"),
        ):
            self.assertIn(old, message.replace(b"\r\n\t", b" "))
            unfolded = message.replace(b"\r\n\t", b" ").replace(old, new)
            self.assert_fails(unfolded, why)

    def test_second_seal(self) -> None:
        """A chain that says cv=none again later is no chain."""
        message = sealed(sealed(MESSAGE), found=ARCOutcome(ChainResult.NONE))
        self.assert_fails(message, "has two fields")

    def test_keys(self) -> None:
        """A key that is not there, is revoked, is another's, or cannot be asked for."""
        message, [name, other] = chain(1), list(RECORDS)
        self.assert_fails(message, "no key at", records={})
        self.assert_fails(message, "revoked", records={name: b"v=DKIM1; p="})
        self.assert_fails(message, "the header is not", records={name: RECORDS[other]})
        self.assert_fails(message, "slow", records={name: LookupFailed("slow")})

    def test_one_seal_of_many(self) -> None:
        """Each seal is checked: also one in the middle whose key is gone."""
        message = chain(3)
        left = {name: record for name, record in RECORDS.items() if "s2" not in name}
        self.assert_fails(message, "no key at arc._domainkey.s2.test", records=left)

    def test_length(self) -> None:
        """A signature of a part of the body is of no use, though it is right."""

        def message(length: int) -> bytes:
            digest = BodyDigest(BodyHash("relaxed", length))
            digest.update(MESSAGE.partition(b"\r\n\r\n")[2])
            hashed = b64encode(digest.finish()).decode()
            own = "i=1; a=rsa-sha256; d=s1.test; s=arc;"
            results = b"ARC-Authentication-Results: i=1; x; none\r\n"
            lines = [f"ARC-Message-Signature: {own} c=relaxed/relaxed; l={length};"]
            lines += [f"bh={hashed}; h=from;"]
            signature = field_signed(KEYS[0], lines, b"from:A <a@d.test>\r\n")
            sealed = relaxed_field(results[:-2]) + relaxed_field(signature[:-2])
            last = field_signed(KEYS[0], [f"ARC-Seal: {own} cv=none;"], sealed)
            return last + signature + results + MESSAGE

        size = len(b"Hi there\r\n\r\nbye\r\n")
        self.assertEqual(validated(message(size)).result, ChainResult.PASS)
        self.assert_fails(message(size - 2), "the body is not")

    def test_late(self) -> None:
        """What is from the future, or has expired, is not believed."""
        self.assert_fails(chain(1), "from the future", now=NOW - 4000)

    @settings(max_examples=120, deadline=None)
    @given(st.data())
    def test_any_byte(self, data: st.DataObject) -> None:
        """One letter or digit that becomes another, anywhere in what is covered: it is broken."""
        at = data.draw(st.sampled_from(COVERED))
        other = b"7" if CHAIN[at : at + 1] != b"7" else b"8"
        changed = CHAIN[:at] + other + CHAIN[at + 1 :]
        self.assertEqual(validated(changed).result, ChainResult.FAIL, changed)


CHAIN = chain(2)
UNSIGNED = CHAIN.index(b"\r\nAuthentication-Results:"), CHAIN.index(b"\r\nDKIM-Signature:")
COVERED = [
    found.start()
    for found in re.finditer(rb"[A-Za-z0-9]", CHAIN)
    if not UNSIGNED[0] < found.start() < UNSIGNED[1]
]
