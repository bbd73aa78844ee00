"""MTA-STS records and policies, as they should be and as they are found."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.mailauth.mta_sts import (
    MOST_AGE,
    MalformedPolicy,
    Mode,
    Policy,
    parse_policy,
    record_id,
)

BODY = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
    b"max_age: 604800\r\n"
)


class RecordTests(SynchronousTestCase):
    """What a TXT record says."""

    def test_id(self) -> None:
        """The id, whatever other fields and records there are."""
        for records in (
            [b"v=STSv1; id=20160831085700Z;"],
            [b"v=STSv1;id=20160831085700Z"],
            [b"v=STSv1 ; id=20160831085700Z; later=yes"],
            [b"v=spf1 -all", b"v=STSv1; id=20160831085700Z; id=other;"],
        ):
            self.assertEqual(record_id(records), "20160831085700Z")

    def test_none(self) -> None:
        """No record of ours is no policy."""
        self.assertIsNone(record_id([]))
        self.assertIsNone(record_id([b"v=STSv2; id=1", b"v=STSv12; id=1", b"V=STSv1; id=1"]))

    def test_malformed(self) -> None:
        """Several, or one without a good id, are none that can be followed."""
        for records in (
            [b"v=STSv1; id=1", b"v=STSv1; id=1"],
            [b"v=STSv1;"],
            [b"v=STSv1; id="],
            [b"v=STSv1; id=a-b"],
            [b"v=STSv1; id=" + b"1" * 33],
            [b"v=STSv1; id"],
            [b"v=STSv1; id=\xff"],
        ):
            with self.subTest(records):
                self.assertRaises(MalformedPolicy, record_id, records)


class PolicyTests(SynchronousTestCase):
    """What a policy says."""

    def test_fields(self) -> None:
        """The example of RFC 8461 section 3.2, with any line ends."""
        expected = Policy(Mode.ENFORCE, ("mail.example.com", "*.example.net"), 604800)
        for body in (BODY, BODY.replace(b"\r\n", b"\n"), BODY[:-2], BODY + b"\r\nnew: thing\r\n"):
            self.assertEqual(parse_policy(body), expected)
        self.assertEqual(parse_policy(str(expected).encode()), expected)

    def test_first_counts(self) -> None:
        """Of a field that is there twice the first one counts, but for mx."""
        policy = parse_policy(BODY + b"mode: none\r\nmax_age: 1\r\n")
        self.assertEqual((policy.mode, policy.max_age), (Mode.ENFORCE, 604800))

    def test_age_is_bounded(self) -> None:
        """A year at the most."""
        body = BODY.replace(b"604800", b"9999999999")
        self.assertEqual(parse_policy(body).max_age, MOST_AGE)

    def test_mode_none(self) -> None:
        """It needs no hosts."""
        body = b"version: STSv1\nmode: none\nmax_age: 60\n"
        self.assertEqual(parse_policy(body), Policy(Mode.NONE, (), 60))

    def test_malformed(self) -> None:
        """What must not be followed."""
        for old, new in (
            (b"version: STSv1", b"version: STSv2"),
            (b"version: STSv1\r\n", b""),
            (b"enforce", b"Enforce"),
            (b"mode: enforce\r\n", b""),
            (b"604800", b"-1"),
            (b"604800", b"1e3"),
            (b"604800", b"1" * 5000),
            (b"max_age: 604800\r\n", b""),
            (b"mx: mail.example.com\r\nmx: *.example.net\r\n", b""),
            (b"mail.example.com", b"mail..example.com"),
            (b"mail.example.com", b"*"),
            (b"mail.example.com", b"a.*.example.com"),
            (b"mail.example.com", b"192.0.2.1:25"),
            (b"mail.example.com", "b\u00fccher.example".encode()),
            (b"mode:", b"<html>:"),
            (b"mode: enforce", b"mode"),
            (b"enforce", b"\xff"),
            (b"mx: mail.example.com\r\n", b"mx: mail.example.com\r\n" * 200),
        ):
            with self.subTest(f"{old!r} {new[:20]!r}"):
                self.assertRaises(MalformedPolicy, parse_policy, BODY.replace(old, new))

    def test_hosts(self) -> None:
        """A wildcard is one label, and never the domain itself (RFC 8461 section 4.1)."""
        policy = parse_policy(BODY)
        for host, fits in (
            ("mail.example.com", True),
            ("MAIL.Example.COM.", True),
            ("mail.example.com.evil.test", False),
            ("a.mail.example.com", False),
            ("example.com", False),
            ("mx.example.net", True),
            ("a.mx.example.net", False),
            ("example.net", False),
            (".example.net", False),
            ("", False),
        ):
            self.assertEqual(policy.fits(host), fits, host)
