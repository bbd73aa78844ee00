"""Authentication-Results: what is written stays in its place, and who claims our name is found."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.auth_results import (
    MethodResult,
    authentication_results,
    claiming,
    payload,
    pvalue,
)

US = "mx.example.org"
# A method, a reason in quotes, and properties: nothing else may come of any values.
RESULT = re.compile(
    r'[a-z]+=[a-z]+(?: reason="(?:[^"\\]|\\.)*")?(?: [a-z.]+=(?:[^\s;"()]+|"(?:[^"\\]|\\.)*"))*'
)


def left(head: bytes) -> bytes:
    """``head`` without what claims to be ours."""
    kept, at = b"", 0
    for start, end in claiming(head, US):
        kept, at = kept + head[at:start], end
    return kept + head[at:]


class WrittenTests(SynchronousTestCase):
    """What is written."""

    def test_field(self) -> None:
        """A method a line; none is told, too."""
        results = [
            MethodResult("spf", "pass", properties=(("smtp.mailfrom", "a@b.example"),)),
            MethodResult("dkim", "fail", 'no "x"', (("header.d", "b.example"), ("header.s", ""))),
        ]
        self.assertEqual(
            authentication_results(payload(US, results)),
            b"Authentication-Results: mx.example.org;\r\n"
            b"\tspf=pass smtp.mailfrom=a@b.example;\r\n"
            b'\tdkim=fail reason="no \\"x\\"" header.d=b.example\r\n',
        )
        self.assertEqual(payload(US, []), b"mx.example.org;\r\n\tnone")

    def test_values(self) -> None:
        """What may not stand bare is in quotes; what is no ASCII, or no character, is not told."""
        for value, written in (
            ("a@b.example", "a@b.example"),
            ("@b.example", "@b.example"),
            ("2001:db8::1", '"2001:db8::1"'),
            ("a b@c.example", '"a b@c.example"'),
            ("x; dmarc=pass", '"x; dmarc=pass"'),
            ('"\\', '"\\"\\\\"'),
            ("a\r\nX: y", '"a??X: y"'),
            ("\u00fc\u2028", '"??"'),
            ("x" * 300, "x" * 252 + "..."),
        ):
            self.assertEqual(pvalue(value), written)

    @given(st.text(max_size=300), st.text(max_size=300))
    def test_anything(self, reason: str, value: str) -> None:
        """Whatever a value is, it is one value on one line."""
        text = str(MethodResult("spf", "fail", reason, (("smtp.mailfrom", value),)))
        self.assertTrue(text.isascii() and text.isprintable(), text)
        self.assertRegex(text, rf"\A{RESULT.pattern}\Z")
        self.assertLess(len(text), 998)


class ClaimingTests(SynchronousTestCase):
    """RFC 8601 section 5."""

    def test_ours(self) -> None:
        """Our name in every form that a reader might take for it."""
        for field in (
            b"Authentication-Results: mx.example.org; dmarc=pass",
            b"authentication-results:mx.example.org",
            b"AUTHENTICATION-RESULTS \t: MX.Example.ORG; spf=pass",
            b"Authentication-Results: mx.example.org 1; spf=pass",
            b"Authentication-Results: mx.example.org/1; spf=pass",
            b"Authentication-Results: mx.example.org.; spf=pass",
            b"Authentication-Results:\r\n mx.example.org;\r\n\tspf=pass",
            b"Authentication-Results: (a (nested\\)) one) mx.example.org (x); spf=pass",
            b'Authentication-Results: "mx.example.org"; spf=pass',
            b'Authentication-Results: "mx.ex\\ample.org"; spf=pass',
            b"Authentication-Results: \xef\xbd\x8d\xef\xbd\x98.example.org; spf=pass",  # full width
            b"Authentication-Results: mx.example.org, spf=pass",
            b"Authentication-Results: mx.example.org\x00; spf=pass",
            b"Authentication-Results: ; spf=pass",
            b"Authentication-Results:",
            b"Authentication-Results: (mx.example.org; spf=pass",
            b'Authentication-Results: "mx.example.org; spf=pass',
        ):
            before, after = b"From: a@b.example\r\n", b"To: c@d.example\r\n\r\n"
            head = before + field + b"\r\n" + after
            self.assertEqual(left(head), before + after, field)
            junk = b"no field\r\n"
            self.assertEqual(left(junk + head), junk + before + after, field)

    def test_others(self) -> None:
        """Fields of others, and what only looks alike, stay."""
        for field in (
            b"Authentication-Results: mx.example.com; dmarc=pass",
            b"Authentication-Results: example.org; x=mx.example.org",
            b"Authentication-Results: mx.example.org.evil.test; spf=pass",
            b"Authentication-Results: (mx.example.org) other.test; spf=pass",
            b"X-Authentication-Results: mx.example.org; spf=pass",
            b"ARC-Authentication-Results: i=1; mx.example.org; spf=pass",
            b"Subject: x\r\n Authentication-Results: mx.example.org; spf=pass",
        ):
            head = field + b"\r\n\r\n"
            self.assertEqual(left(head), head)

    def test_body(self) -> None:
        """The body is not looked at."""
        head = b"From: a@b.example\r\n\r\nAuthentication-Results: mx.example.org; x=y\r\n"
        self.assertEqual(left(head), head)

    def test_hostile(self) -> None:
        """However deep comments nest, it takes no time."""
        for text in (b"(" * 200_000, b"(\\" * 100_000, b'"' + b"\\x" * 100_000, b"()" * 100_000):
            head = b"Authentication-Results: " + text + b"\r\n\r\n"
            self.assertEqual(left(head), b"\r\n")
