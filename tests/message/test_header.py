"""Headers, read without touching the bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.header import (
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    HeaderTooLarge,
    addresses_in,
    header_end,
    parse_header,
    unfolded,
)
from mailrelay.smtp.address import Address


class ParseHeaderTests(SynchronousTestCase):
    """parse_header."""

    def test_fields(self) -> None:
        """Names are lower case, folds are kept raw and unfolded on demand, order stays."""
        content = b"Subject: a\r\n b\r\nTO : x@y\r\nReceived: 1\r\nreceived: 2\r\n\r\nbody: no\r\n"
        header = parse_header(content)
        self.assertEqual(header.fields[0], ("subject", b" a\r\n b"))
        self.assertEqual(
            [name for name, _ in header.fields], ["subject", "to", "received", "received"]
        )
        self.assertEqual(header.first("subject"), "a b")
        self.assertEqual(list(header.all("received")), ["1", "2"])
        self.assertEqual((header.count("received"), header.count("cc")), (2, 0))
        self.assertIsNone(header.first("cc"))
        self.assertEqual(list(header.all("cc")), [])
        self.assertEqual(content[header.size_bytes :], b"\r\nbody: no\r\n")

    def test_what_is_no_field_ends_it(self) -> None:
        """The first line that is no field begins the body, as mail programs read it."""
        for bad in (
            b"no colon",
            b"sp ace: x",
            b": empty",
            "ü: x".encode(),
            b"\0: x",
            b" fold first",
        ):
            with self.subTest(bad):
                leading = b"" if bad.startswith(b" ") else b"A: 1\r\n"
                header = parse_header(leading + bad + b"\r\nB: 2\r\n\r\n")
                self.assertEqual(header.count("b"), 0)
                self.assertEqual(header.size_bytes, len(leading))

    def test_nothing_but_a_field(self) -> None:
        """A message that ends in its header, without a line end even, is read."""
        header = parse_header(b"A: 1")
        self.assertEqual((header.first("a"), header.size_bytes), ("1", 4))

    def test_end(self) -> None:
        """The body begins after the empty line; without one there is none."""
        for content, end in {
            b"": 0,
            b"\r\nbody": 2,
            b"A: 1\r\n\r\nbody": 8,
            b"A: 1\r\n": 6,
            b"A: 1\n\nbody": 10,
        }.items():
            with self.subTest(content):
                self.assertEqual(header_end(content), end)

    def test_limits(self) -> None:
        """A header at the limits is read, one over them is refused (threat 10)."""
        parse_header(b"A: 1\r\n" * (MAX_HEADER_LINES - 2) + b"\r\n")
        lines = b"A: 1\r\n" * (MAX_HEADER_LINES + 1) + b"\r\n"
        self.assertRaises(HeaderTooLarge, parse_header, lines)
        wide = b"A: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n"
        self.assertRaises(HeaderTooLarge, parse_header, wide)
        self.assertEqual(parse_header(b"A: 1\r\n\r\n" + b"x" * MAX_HEADER_BYTES).count("a"), 1)

    def test_folds_without_end(self) -> None:
        """A field of a thousand folds, and lines of 200 kB, are read (threat 27)."""
        folded = parse_header(b"A:" + b"\r\n " * (MAX_HEADER_LINES - 10) + b"\r\n\r\n")
        self.assertEqual(folded.count("a"), 1)
        for line in (b" " * 200_000, b"x" * 200_000, b"x " * 100_000, b":" * 200_000):
            parse_header(line + b"\r\n\r\n")
            parse_header(b"A: 1\r\n" + line + b"\r\n\r\n")

    @given(st.binary(max_size=200))
    def test_any_bytes(self, content: bytes) -> None:
        """Any bytes are a header of some size within the content."""
        header = parse_header(content)
        self.assertLessEqual(header.size_bytes, len(content))
        for name, body in header.fields:
            self.assertEqual(name, name.lower())
            self.assertNotIn("\n", unfolded(body).replace("\n", "") if b"\n" in body else "")


class AutomaticTests(SynchronousTestCase):
    """Header.is_automatic: what nobody may answer."""

    def test_each(self) -> None:
        """Auto-Submitted, Precedence and list fields, by their values (RFC 3834 section 2)."""
        for field, automatic in {
            b"Auto-Submitted: auto-replied": True,
            b"Auto-Submitted: auto-generated; x=y": True,
            b"Auto-Submitted: NO": False,
            b"Auto-Submitted: no; comment": False,
            b"Precedence: Bulk": True,
            b"Precedence: list": True,
            b"Precedence: junk": True,
            b"Precedence: first-class": False,
            b"List-Id: <x.y>": True,
            b"List-Unsubscribe: <mailto:x@y>": True,
            b"List-Post: NO": True,
            b"Subject: list-id: x": False,
        }.items():
            with self.subTest(field):
                self.assertEqual(parse_header(field + b"\r\n\r\n").is_automatic, automatic)


class AddressesTests(SynchronousTestCase):
    """addresses_in."""

    def test_addresses(self) -> None:
        """The addresses are found among names and comments; what is none is left out."""
        self.assertEqual(
            addresses_in('A <a@example.org>, "b, c" <b@example.org>, junk, (x) c@EXAMPLE.org'),
            [Address(name, "example.org") for name in "abc"],
        )
        self.assertEqual(addresses_in(""), [])

    @given(st.text(alphabet='<>@"(),:;\\ab. é', max_size=60))
    def test_any_addresses(self, text: str) -> None:
        """No text makes it raise."""
        self.assertIsInstance(addresses_in(text), list)
