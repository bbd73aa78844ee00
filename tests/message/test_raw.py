"""Finished messages in base64."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message import raw
from mailrelay.message.draft import Unwritable
from mailrelay.message.header import MAX_HEADER_BYTES, MAX_HEADER_LINES
from mailrelay.message.raw import raw_message

PLAIN = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"


def read(text: str) -> bytes:
    """The message that ``text`` is."""
    return b"".join(raw_message(text))


def encoded(data: bytes) -> str:
    """As an application hands it in."""
    return b64encode(data).decode()


class RawTests(SynchronousTestCase):
    """raw_message."""

    def assert_refused(self, text: str, said: str) -> None:
        """It is refused, by what is wrong with it."""
        error = self.assertRaises(Unwritable, read, text)
        self.assertEqual(error.field, "raw")
        self.assertIn(said, error.text)

    def test_kept_as_it_is(self) -> None:
        """Bytes are not touched: eight bits, odd folds, dots, a body without a header."""
        for data in (
            PLAIN,
            PLAIN.replace(b"hello", b"h\xe9llo\r\n.\r\n..\r\nBcc: x"),
            b"\r\nBcc: in the body\r\n",
            b"no header at all\r\nBcc: x\r\n",
            b"Subject: \r\n\tx\r\n y\r\n",
            b"From: a@example.org",
        ):
            self.assertEqual(read(encoded(data)), data)

    def test_base64(self) -> None:
        """White space is none of it; what is not base64 is told so."""
        text = encoded(PLAIN)
        self.assertEqual(read("\r\n ".join(text)), PLAIN)
        for bad in ("!", "ab", "abc", "abcde", "ab==cdef", "a===", "====", text[:-3], "\u00e4bc="):
            self.assert_refused(bad, "base64")
        self.assert_refused("", "empty")

    def test_lines(self) -> None:
        """A CR or an LF alone is told with its place; so is NUL."""
        for data, said in (
            (b"Subject: x\n\nhello\n", "byte 10 is a bare LF"),
            (b"a: b\r\n\r\nx\ry\r\n", "byte 9 is a bare CR"),
            (b"a: b\r\n\r\nx\r", "byte 9 is a bare CR"),
            (b"\r", "byte 0 is a bare CR"),
            (b"a: b\r\r\n", "byte 4 is a bare CR"),
            (b"a: b\r\n\r\n\0", "NUL: byte 8"),
        ):
            self.assert_refused(encoded(data), said)

    def test_cut_anywhere(self) -> None:
        """How it is read in pieces decides nothing."""
        bad = b"a: b\r\n\r\n" + b"x\r\n" * 9 + b"x\ry\r\n"
        copy = PLAIN.replace(b"Subject", b"Bcc: z@example.net\r\n y\r\nSubject")
        for size in range(1, 40):
            self.patch(raw, "BLOCK_CHARACTERS", size)
            self.assertEqual(read(encoded(copy)), PLAIN)
            self.assert_refused(encoded(bad), "byte 36 is a bare CR")
            self.assert_refused("YQ==" + encoded(PLAIN), "base64")

    def test_blind_copies(self) -> None:
        """Fields that name blind recipients go, with their folds, in any case."""
        fields = b"BCC: x\r\nResent-Bcc : y,\r\n\tz\r\nX-Bcc: kept\r\nbcc:\r\n"
        self.assertEqual(read(encoded(fields + PLAIN)), b"X-Bcc: kept\r\n" + PLAIN)
        for last in (b"Bcc: x@example.net", b"Bcc: x@example.net,\r\n y@example.net"):
            self.assertEqual(read(encoded(b"Subject: x\r\n" + last)), b"Subject: x\r\n")

    def test_headers_that_are_too_large(self) -> None:
        """They pass, to be refused where every header is judged."""
        for data in (
            b"Bcc: x\r\n" + b"X: y\r\n" * (MAX_HEADER_LINES + 1) + b"\r\n",
            b"Bcc: " + b"x" * (MAX_HEADER_BYTES + 10) + b"\r\n\r\n" + b"y" * 500_000,
        ):
            self.assertEqual(read(encoded(data)), data)

    @given(st.binary(max_size=60))
    def test_any(self, data: bytes) -> None:
        """Nothing else leaves than what is right, or the one error."""
        try:
            made = read(encoded(data))
        except Unwritable:
            return
        left = made.replace(b"\r\n", b"")
        self.assertFalse(any(byte in left for byte in b"\0\r\n"))
