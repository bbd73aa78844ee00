"""Text in header fields, written and read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.charsets import text_of
from mailrelay.message.words import (
    MAX_LINE,
    Folding,
    add_phrase,
    decoded_words,
    given_field,
    text_field,
)
from tests.message.strategies import line_texts


class DecodedWordsTests(SynchronousTestCase):
    """decoded_words."""

    def test_decoded(self) -> None:
        """RFC 2047 words are decoded as far as they can be."""
        for text, decoded in {
            "plain": "plain",
            "=?utf-8?q?gr=C3=BC=C3=9Fe?=": "grüße",
            "=?utf-8?b?w7w=?= and =?iso-8859-1?q?=FC?=": "ü and ü",
            "=?nonsense?q?x?=": "=?nonsense?q?x?=",
            "=?utf-8?q?=FF?=": "\ufffd",
            "=?utf-8?b?!!!?=": None,
            "=?utf-8*de?Q?a?=": "a",
            "=?utf-8?q?a?b?=": "a?b",
            "=?UTF-8?q?=C3?= \t=?utf-8?q?=BC?=": "ü",
            "=?utf-8?q?a?= =?latin1?q?=E9?= b": "aé b",
            "=?utf-8?q?a?=b =?utf-8?b?Yw?= ": "ab c ",
            "=?utf-8?q?a_=20b?=": "a  b",
            "=?utf-7?q?+2AA-?=": "?",
            "=?idna?q?xn--a?=": "=?idna?q?xn--a?=",
            "=?utf-8?q?é?=": "=?utf-8?q?é?=",
            "=? =?utf-8?q?x?=": "=? x",
            "=?broken": "=?broken",
            "=?utf-8?b?A?=": None,
        }.items():
            with self.subTest(text):
                result = decoded_words(text)
                if decoded is not None:
                    self.assertEqual(result, decoded)

    @given(st.text(alphabet="=?utf-8qbQB_ ABC\x00é", max_size=60))
    def test_any_text(self, text: str) -> None:
        """No text makes it raise."""
        self.assertIsInstance(decoded_words(text), str)

    def test_hostile_words(self) -> None:
        """Long broken words come to an end (threat 27)."""
        for piece in ("=?", "=?utf-8?q?", "=?utf-8?b?=", "?=", "=?a?b?c?= "):
            decoded_words(piece * (20_000 // len(piece)))


class TextFieldTests(SynchronousTestCase):
    """text_field, given_field and add_phrase."""

    @given(line_texts, st.booleans())
    def test_read_back(self, text: str, utf8: bool) -> None:
        """A text is read as it was written, folds taken out."""
        field = text_field("Subject", text, utf8=utf8)
        value = field.removeprefix("Subject:").replace("\r\n", "").strip(" ")
        self.assertEqual(decoded_words(value), text)

    @given(line_texts)
    def test_phrase_read_back(self, text: str) -> None:
        """So is a display name."""
        folding = Folding("From:")
        add_phrase(folding, " ", text, utf8=False)
        value = folding.text.removeprefix("From:").replace("\r\n", "").strip(" ")
        if value.startswith('"'):
            value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        self.assertEqual(decoded_words(value), text)

    def test_lines_with_encoded_words(self) -> None:
        """They are no longer than RFC 2047 section 2 allows, also after a long name."""
        for name in ("X", "Subject", "X" * 60, "X" * 76):
            for text in ("é" * 500, "日本語 " * 50, "\U0001f600" * 30, "plain " * 20 + "é"):
                with self.subTest(name=name, text=text):
                    lines = text_field(name, text, utf8=False).split("\r\n")
                    self.assertTrue(all(len(line) <= MAX_LINE for line in lines if "=?" in line))
                    self.assertTrue(all(line.strip() for line in lines))

    def test_words_are_filled(self) -> None:
        """However little room the first line has, a line is one word and no more."""
        for name in ("X", "X" * 50, "X" * 76):
            lines = text_field(name, "é" * 500, utf8=False).split("\r\n")
            self.assertEqual([line.count("=?") for line in lines[1:]], [1] * (len(lines) - 1))

    def test_no_character_is_cut(self) -> None:
        """Each word decodes by itself."""
        for word in text_field("Subject", "é日\U0001f600" * 50, utf8=False).split()[1:]:
            self.assertNotIn("\ufffd", decoded_words(word))

    def test_given(self) -> None:
        """A given body is left as it is but for spaces at its ends."""
        for value, field in (
            ("", "X: "),
            ("   ", "X: "),
            (" a  b ", "X: a  b"),
            ("=?utf-8?q?x?=", "X: =?utf-8?q?x?="),
            ("é =?utf-8?q?x?=", "X: =?utf-8?q?=C3=A9_=3D=3Futf-8=3Fq=3Fx=3F=3D?="),
        ):
            with self.subTest(value):
                self.assertEqual(given_field("X", value, utf8=False), field)


class CharsetTests(SynchronousTestCase):
    """text_of."""

    def test_names(self) -> None:
        """Charsets by any of their names; what has none, or a false one, is guessed."""
        for data, charset, text in (
            (b"\xfc", "ISO-8859-1", "ü"),
            (b"\x80", "windows-1252", "€"),
            (b"\xe0", "iso-8859-8-i", "א"),
            (b"\x82\xa0", "Shift_JIS", "あ"),
            ("ü".encode(), "us-ascii", "ü"),
            (b"\x80", "us-ascii", "€"),
            ("ü".encode(), "x-unknown", "ü"),
            ("ü".encode(), "", "ü"),
            (b"\x81\xfc", "ü", "\ufffdü"),
            (b"eJwDAAAAAAE=", "zlib", "eJwDAAAAAAE="),
            (b"\\d", "unicode_escape", "\\d"),
            (b"+2AA-", "utf-7", "?"),
            (b"a\xff", "utf-8", "a\ufffd"),
        ):
            with self.subTest(charset=charset, data=data):
                self.assertEqual(text_of(data, charset), text)

    @given(st.binary(max_size=60), st.text(max_size=50) | st.sampled_from(["hz", "utf-16", "big5"]))
    def test_anything(self, data: bytes, charset: str) -> None:
        """Whatever bytes and name give text that UTF-8 can write."""
        text_of(data, charset).encode()
