"""xtext (RFC 3461 section 4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.xtext import MalformedXtext, decode_xtext, encode_xtext


class XtextTests(SynchronousTestCase):
    """Encoding and decoding."""

    @given(st.text(st.characters(max_codepoint=0xFF)))
    def test_round_trip(self, text: str) -> None:
        """What is encoded is decoded as it was, and needs no other quoting on the wire."""
        encoded = encode_xtext(text)
        self.assertEqual(decode_xtext(encoded), text)
        self.assertTrue(all("!" <= c <= "~" and c != "=" for c in encoded))

    def test_examples(self) -> None:
        """Plus, equals and space are written in hexadecimal."""
        self.assertEqual(encode_xtext("a+b=c d"), "a+2Bb+3Dc+20d")
        self.assertEqual(decode_xtext("a+2Bb"), "a+b")

    def test_malformed(self) -> None:
        """Lower-case hexadecimal, a bare plus, and what xtext may not hold are refused."""
        for text in ("+2b", "+", "+2", "a=b", "a b", "é", "a\n", "+GG", "\0"):
            with self.subTest(text):
                self.assertRaises(MalformedXtext, decode_xtext, text)

    def test_long(self) -> None:
        """100 kB come to an end, good or bad (threat 27)."""
        self.assertEqual(len(decode_xtext("+41" * 30_000)), 30_000)
        self.assertRaises(MalformedXtext, decode_xtext, "+41" * 30_000 + "+")
