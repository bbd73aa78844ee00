"""Addresses: the grammar of RFC 5321 section 4.1.2 and RFC 6531, and what must not pass it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.address import (
    Address,
    MalformedAddress,
    literal_ip,
    normal_domain,
    parse_path,
    quote_localpart,
    unicode_domain,
)
from tests.smtp.strategies import addresses

GOOD = {
    "user@example.org": ("user", "example.org"),
    "User.Name+tag@Example.ORG": ("User.Name+tag", "example.org"),
    "!#$%&'*+/=?^_`{|}~-@example.org": ("!#$%&'*+/=?^_`{|}~-", "example.org"),
    "a%b@example.org": ("a%b", "example.org"),  # the percent hack is a localpart like any other
    "host!user@example.org": ("host!user", "example.org"),
    '"a b"@example.org': ("a b", "example.org"),
    '"a@b"@example.org': ("a@b", "example.org"),
    r'"a\"b\\c"@example.org': (r'a"b\c', "example.org"),
    r'"\u\s\e\r"@example.org': ("user", "example.org"),
    '""@example.org': ("", "example.org"),
    '".a."@example.org': (".a.", "example.org"),
    "пользователь@example.org": ("пользователь", "example.org"),
    '"あ い"@example.org': ("あ い", "example.org"),
    "u@münchen.example": ("u", "xn--mnchen-3ya.example"),
    "u@MÜNCHEN.example": ("u", "xn--mnchen-3ya.example"),
    "u@XN--MNCHEN-3YA.example": ("u", "xn--mnchen-3ya.example"),
    "u@_dmarc.example": None,  # a label begins with a letter or digit
    "u@a_b.example": ("u", "a_b.example"),
    "u@localhost": ("u", "localhost"),
    "u@[192.0.2.1]": ("u", "[192.0.2.1]"),
    "u@[IPv6:2001:DB8::0:1]": ("u", "[IPv6:2001:db8::1]"),
    "u@[ipv6:::1]": ("u", "[IPv6:::1]"),
    "x" * 64 + "@example.org": ("x" * 64, "example.org"),
}

BAD = [
    "",
    "user",
    "@example.org",
    "user@",
    "user@@example.org",
    ".user@example.org",
    "user.@example.org",
    "us..er@example.org",
    "us er@example.org",
    "user@exam ple.org",
    "user@.example.org",
    "user@example..org",
    "user@example.org.",
    "user@-example.org",
    "user@example-.org",
    "user@" + "x" * 64 + ".org",
    "user@" + ".".join(["x" * 60] * 5),
    "user@" + "x." * 130 + "org",
    "x" * 65 + "@example.org",
    "é" * 33 + "@example.org",
    "x" * 64 + "@" + ".".join(["y" * 60] * 4)[:200],
    '"unclosed@example.org',
    '"a"b@example.org',
    '"a\\"@example.org',
    '"tab\there"@example.org',
    '"line\r\nbreak"@example.org',
    "nul\0@example.org",
    "del\x7f@example.org",
    "nel\x85@example.org",
    "ls\u2028@example.org",
    "rtl\u202e@example.org",
    '"\u2029"@example.org',
    "lone\ud800@example.org",
    "user@[192.0.2.256]",
    "user@[192.0.2.1",
    "user@192.0.2.1]",
    "user@[2001:db8::1]",
    "user@[IPv6:192.0.2.1]",
    "user@[IPv6:fe80::1%eth0]",
    "user@[tag:content]",
    "user@[]",
    "user@xn--\u00e9",
    "user@xn--a-ecp.example",
    "user@exa\u2028mple.org",
    "user@ex\0ample.org",
    "a@b@c.example",
    "<user@example.org>",
    "user@example.org>",
]


class ParseTests(SynchronousTestCase):
    """Address.parse."""

    def test_good(self) -> None:
        """Each good form is read to its meaning: unquoted, domain in A-labels."""
        for text, meaning in GOOD.items():
            with self.subTest(text):
                if meaning is None:
                    self.assertRaises(MalformedAddress, Address.parse, text)
                    continue
                address = Address.parse(text)
                self.assertEqual((address.localpart, address.domain), meaning)

    def test_bad(self) -> None:
        """What is no address is refused, by the declared exception."""
        for text in BAD:
            with self.subTest(text):
                self.assertRaises(MalformedAddress, Address.parse, text)

    @given(addresses)
    def test_round_trip(self, address: Address) -> None:
        """What str writes, parse reads back; the text is within one line."""
        text = str(address)
        self.assertEqual(Address.parse(text), address)
        self.assertTrue(text.isprintable())

    @given(st.text(max_size=30))
    def test_only_declared(self, text: str) -> None:
        """Any text is an address that survives being written, or a MalformedAddress."""
        try:
            address = Address.parse(text)
        except MalformedAddress:
            return
        self.assertEqual(Address.parse(str(address)), address)

    def test_hostile_lengths(self) -> None:
        """Long inputs of every kind come to an end: no pattern backtracks (threat 27)."""
        for piece in (
            "a",
            "a.",
            '"',
            '\\"',
            "@",
            "a@",
            "<",
            "[",
            "1.",
            "-",
            "é",
            "xn--",
            ":",
            "@a,",
        ):
            for frame in ("{}", '"{}', '"{}"@x', "a@{}", "a@[{}", "@{}:a@b", "a@[IPv6:{}]"):
                with self.subTest(piece + frame):
                    text = frame.format(piece * (100_000 // len(piece)))
                    self.assertRaises(MalformedAddress, Address.parse, text)
                    self.assertRaises(MalformedAddress, parse_path, "<" + text)

    def test_shown_to_people(self) -> None:
        """People see U-labels; the wire has A-labels."""
        address = Address.parse("пётр@münchen.example")
        self.assertEqual(address.unicode, "пётр@münchen.example")
        self.assertEqual(str(address), "пётр@xn--mnchen-3ya.example")
        self.assertFalse(address.is_ascii)
        self.assertTrue(Address.parse("p@münchen.example").is_ascii)


class PathTests(SynchronousTestCase):
    """parse_path: what stands in angle brackets, and what follows it."""

    def test_null(self) -> None:
        """The null path is no address, and the parameters behind it are left."""
        self.assertEqual(parse_path("<> SIZE=1"), (None, " SIZE=1"))

    def test_source_route_is_dropped(self) -> None:
        """A source route is read and thrown away (RFC 5321 appendix C)."""
        expected = (Address("u", "example.org"), "")
        self.assertEqual(parse_path("<@a.example,@b.example:u@example.org>"), expected)
        self.assertEqual(parse_path("<@a.example:u@example.org>"), expected)

    def test_postmaster(self) -> None:
        """Only postmaster may stand without a domain (RFC 5321 section 4.1.1.3)."""
        self.assertEqual(parse_path("<PostMaster> X"), (Address("PostMaster", ""), " X"))
        self.assertRaises(MalformedAddress, parse_path, "<user>")

    def test_quoted_brackets(self) -> None:
        """A bracket in a quoted localpart does not end the path."""
        self.assertEqual(
            parse_path('<"a> SIZE=1"@example.org>rest'),
            (Address("a> SIZE=1", "example.org"), "rest"),
        )

    def test_malformed(self) -> None:
        """Broken brackets and routes are refused."""
        for text in (
            "u@example.org",
            "<u@example.org",
            "<u",
            "<",
            "",
            "< >",
            "<u@>",
            "<@a.example u@example.org>",
            "<@a.example,b.example:u@example.org>",
            "<@:u@example.org>",
            "<@a.example:>",
            "<<u@example.org>>",
            "< u@example.org>",
            "<u@example.org >",
        ):
            with self.subTest(text):
                self.assertRaises(MalformedAddress, parse_path, text)

    @given(addresses)
    def test_any_address(self, address: Address) -> None:
        """An address in brackets is found again, whatever its localpart holds."""
        if len(str(address).encode()) <= 254 and len(address.localpart.encode()) <= 64:
            self.assertEqual(parse_path(f"<{address}> TAIL"), (address, " TAIL"))


class DomainTests(SynchronousTestCase):
    """Look-up forms and literals."""

    @given(addresses)
    def test_idempotent(self, address: Address) -> None:
        """The look-up form is its own look-up form, and so is that of its U-labels."""
        self.assertEqual(normal_domain(address.domain), address.domain)
        self.assertEqual(normal_domain(unicode_domain(address.domain)), address.domain)

    def test_literal_ip(self) -> None:
        """A literal names an address; a name does not."""
        self.assertEqual(literal_ip(normal_domain("[192.0.2.1]")), "192.0.2.1")
        self.assertEqual(literal_ip(normal_domain("[IPv6:2001:db8::1]")), "2001:db8::1")
        self.assertIsNone(literal_ip("example.org"))

    def test_undecodable_label_is_shown_as_it_is(self) -> None:
        """A label that IDNA cannot read stays an A-label."""
        self.assertEqual(unicode_domain("xn--a-ecp.example"), "xn--a-ecp.example")

    def test_quotes_only_where_needed(self) -> None:
        """A dot-string stands bare, anything else is quoted and escaped."""
        self.assertEqual(quote_localpart("a.b"), "a.b")
        self.assertEqual(quote_localpart('a."b'), r'"a.\"b"')
        self.assertEqual(quote_localpart("a\\"), r'"a\\"')
