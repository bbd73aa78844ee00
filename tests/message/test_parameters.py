"""Values with parameters, as senders write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.parameters import parse_parameters


class ParametersTests(SynchronousTestCase):
    """parse_parameters."""

    def test_forms(self) -> None:
        """Tokens, quoted strings, comments, sections, charsets, and what is nearly right."""
        for text, value, params in (
            ("", "", {}),
            ("Text/Plain", "text/plain", {}),
            ("text/plain (c); Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
            ("a/b;c=d (e)", "a/b", {"c": "d"}),
            ("a/b; c = d ;; e=f;", "a/b", {"c": "d", "e": "f"}),
            ('a/b; c="d;e=\\"f\\""; g=h', "a/b", {"c": 'd;e="f"', "g": "h"}),
            ('a/b; c="d" junk; g=h', "a/b", {"c": "d", "g": "h"}),
            ('a/b; c="unclosed; g=h', "a/b", {"c": "unclosed; g=h"}),
            ("a/b; c=d; c=e", "a/b", {"c": "d"}),
            ("a/b; c=my file (1).txt; d", "a/b", {"c": "my file (1).txt"}),
            ("a/b; name*=utf-8'de'%C3%BC%zz", "a/b", {"name": "ü%zz"}),
            ("a/b; name*=iso-8859-1''%FC; name=u", "a/b", {"name": "ü"}),
            ("a/b; n*1=b; n*0=a; n*2*=%63; n*4=e", "a/b", {"n": "abc"}),
            ("a/b; n*0*=utf-8''%C3; n*1*=%BC; n*2=\"%41 '\"", "a/b", {"n": "ü%41 '"}),
            ("a/b; n*1=b", "a/b", {}),
            ('a/b; n*x=b; =c; "d"=e', "a/b", {"n*x": "b"}),
            ("a/b; n*99999999999999999999=b", "a/b", {"n*99999999999999999999": "b"}),
        ):
            with self.subTest(text):
                found = parse_parameters(text)
                self.assertEqual((found.value, dict(found.params)), (value, params))

    def test_texts(self) -> None:
        """Encoded words in a plain value are decoded, in one by RFC 2231 they are not."""
        found = parse_parameters("x; a=\"=?utf-8?q?=C3=BC?=\"; b*=''=?utf-8?q?x?%3D%0D")
        self.assertEqual(found.text("a"), "ü")
        self.assertEqual(found.text("b"), "=?utf-8?q?x?= ")
        self.assertEqual(found.text("c"), "")

    @given(st.text(alphabet="a=;\"'*0%(\\) \té", max_size=60))
    def test_any_text(self, text: str) -> None:
        """No text makes it raise."""
        parse_parameters(text)

    def test_hostile_texts(self) -> None:
        """None takes long (threat 27)."""
        for piece in (
            "a",
            ";",
            '"',
            ' "',
            '\\"',
            "=",
            "a=",
            " ",
            "a*0=b;",
            "a=b;",
            "%",
            "a=(",
            "*",
        ):
            with self.subTest(piece):
                parse_parameters("a/b; c=" + piece * (200_000 // len(piece)))
                parse_parameters("a/b;" + piece * (200_000 // len(piece)))
