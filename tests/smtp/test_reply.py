"""Replies: ours to the wire, a peer's from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.reply import (
    EnhancedStatus,
    MalformedReply,
    Reply,
    ReplyLine,
    assemble,
    parse_single,
    printable,
    reply,
)
from tests.smtp.strategies import replies


def read(wire: bytes) -> Reply:
    """The reply that ``wire`` is."""
    return assemble([ReplyLine.parse(line) for line in wire.removesuffix(b"\r\n").split(b"\r\n")])


class ReplyTests(SynchronousTestCase):
    """Values that cannot disagree with themselves, and their wire form."""

    def test_wire(self) -> None:
        """Every line has code and status, the last one a space (RFC 2034 section 4)."""
        self.assertEqual(
            reply(550, "5.1.1", "no\nsuch user").to_wire(),
            b"550-5.1.1 no\r\n550 5.1.1 such user\r\n",
        )
        self.assertEqual(Reply(354, "go ahead").to_wire(), b"354 go ahead\r\n")

    @given(replies())
    def test_round_trip(self, sent: Reply) -> None:
        """What we write is read back as it was, written twice or once."""
        self.assertEqual(read(sent.to_wire()), sent)
        self.assertEqual(sent.to_wire(), sent.to_wire())

    @given(st.text(max_size=50))
    def test_text_never_breaks_a_line(self, text: str) -> None:
        """Whatever the text, each line of the wire form begins with the code and has no control."""
        wire = Reply(250, text).to_wire()
        lines = wire.decode().removesuffix("\r\n").split("\r\n")
        self.assertEqual(len(lines), text.count("\n") + 1)
        self.assertTrue(all(line[:3] == "250" and line.isprintable() for line in lines))

    def test_kinds(self) -> None:
        """Positive, transient and permanent exclude each other; 354 is none of them."""
        kinds = {
            code: (
                Reply(code, "").is_positive,
                Reply(code, "").is_transient,
                Reply(code, "").is_permanent,
            )
            for code in (250, 354, 450, 550)
        }
        self.assertEqual(
            kinds,
            {
                250: (True, False, False),
                354: (False, False, False),
                450: (False, True, False),
                550: (False, False, True),
            },
        )

    def test_code_and_status_agree(self) -> None:
        """A status of another class, and a code outside 200 to 599, cannot be built."""
        for code, status in ((250, EnhancedStatus(5, 0, 0)), (354, EnhancedStatus(2, 0, 0))):
            self.assertRaises(ValueError, Reply, code, "", status)
        for code in (199, 600, -1):
            self.assertRaises(ValueError, Reply, code, "")

    def test_string(self) -> None:
        """For people, status and text follow the code."""
        self.assertEqual(str(reply(550, "5.1.1", "no")), "550 5.1.1 no")
        self.assertEqual(str(Reply(421, "bye")), "421 bye")

    def test_status(self) -> None:
        """A status is read only when the text is one, in ASCII, and nothing else."""
        self.assertEqual(EnhancedStatus.parse("5.1.10"), EnhancedStatus(5, 1, 10))
        for text in ("", "5.1", "3.1.1", "5.1.1000", "5.1.1 ", "05.1.1", "5.\u0661.1", "5.1.1\n"):
            self.assertIsNone(EnhancedStatus.parse(text), text)

    def test_status_bounds(self) -> None:
        """A status out of RFC 3463's bounds cannot be built."""
        for parts in ((3, 0, 0), (5, 1000, 0), (5, 0, 1000), (5, -1, 0)):
            self.assertRaises(ValueError, EnhancedStatus, *parts)


class PeerTests(SynchronousTestCase):
    """What a peer sends is not trusted."""

    def test_lines(self) -> None:
        """The three forms of RFC 5321 section 4.2.1."""
        self.assertEqual(ReplyLine.parse(b"250"), ReplyLine(250, "", more=False))
        self.assertEqual(ReplyLine.parse(b"250 ok"), ReplyLine(250, "ok", more=False))
        self.assertEqual(ReplyLine.parse(b"250-ok"), ReplyLine(250, "ok", more=True))
        self.assertEqual(ReplyLine.parse(b"250-"), ReplyLine(250, "", more=True))

    def test_malformed(self) -> None:
        """Signs, short or long codes, other codes and control characters are no reply."""
        for line in (
            b"",
            b"+25 ok",
            b"-25",
            b"25 ok",
            b"2500 ok",
            b"150 ok",
            b"650 ok",
            b"abc",
            b" 250 ok",
            b"250_ok",
            b"250 o\0k",
            b"250 o\rk",
            b"HTTP/1.1 200 OK",
            "٢٥٠ ok".encode(),
        ):
            with self.subTest(line):
                self.assertRaises(MalformedReply, ReplyLine.parse, line)

    def test_the_error_is_bounded(self) -> None:
        """A hostile line is quoted within a bound and without its control characters."""
        error = self.assertRaises(MalformedReply, ReplyLine.parse, b"\x1b[31m" * 50_000)
        self.assertLess(len(str(error)), 300)
        self.assertTrue(str(error).isprintable())

    def test_undecodable_text(self) -> None:
        """Bytes beyond UTF-8 and escapes become harmless characters."""
        self.assertEqual(ReplyLine.parse(b"550 \xff\x1b[2J").text, "\ufffd?[2J")

    def test_single(self) -> None:
        """A reply of one line is whole at once; one of several is not."""
        self.assertEqual(parse_single(b"250 2.0.0 ok"), reply(250, "2.0.0", "ok"))
        self.assertIsNone(parse_single(b"250-2.0.0 ok"))
        self.assertRaises(MalformedReply, parse_single, b"ok")

    def test_codes_differ(self) -> None:
        """A reply whose lines have different codes is refused."""
        self.assertRaises(MalformedReply, read, b"250-a\r\n550 b\r\n")

    def test_status_of_the_first_line(self) -> None:
        """The status is taken off each line; one of another class is text."""
        self.assertEqual(read(b"550-5.1.1 a\r\n550 5.1.1 b\r\n"), reply(550, "5.1.1", "a\nb"))
        self.assertEqual(read(b"550-a\r\n550 5.7.1 b\r\n"), reply(550, "5.7.1", "a\nb"))
        self.assertEqual(read(b"550 2.0.0 odd\r\n"), Reply(550, "2.0.0 odd"))
        self.assertEqual(read(b"354 3.0.0 go\r\n"), Reply(354, "3.0.0 go"))


class PrintableTests(SynchronousTestCase):
    """printable: safe within one line."""

    @given(st.text(), st.integers(3, 100))
    def test_bounded_and_printable(self, text: str, limit: int) -> None:
        """The result has no control character and is within the limit."""
        safe = printable(text, limit)
        self.assertTrue(safe.isprintable())
        self.assertLessEqual(len(safe), limit)

    def test_what_is_printable_stays(self) -> None:
        """Nothing is changed without need; what is cut says so."""
        self.assertEqual(printable("größe ok"), "größe ok")
        self.assertEqual(printable("abcdefgh", 6), "abc...")
