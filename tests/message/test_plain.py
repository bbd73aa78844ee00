"""Text made of HTML."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.plain import plain_text

PIECES = (
    *("<!--", "-->", "<a ", "</a>", "<a href=", "http:x", "'", '"', ">", "<ul>", "<li>", "</li>"),
    *("<ol>", "</ol>", "<pre>", "</pre>", "<script>", "</script", "<td>", "&#", "&amp;", " ", "\n"),
    *("<p>", "x", "<br>", "</", "<!", "<?", "/", "=", "&#9999999999;"),
)


class PlainTextTests(SynchronousTestCase):
    """What becomes of elements."""

    def assert_text(self, source: str, expected: str) -> None:
        """``source`` is read as ``expected``, and a line end."""
        self.assertEqual(plain_text(source), expected + "\n", source)

    def test_paragraphs(self) -> None:
        """Lines between paragraphs, none within; spaces of the source do not count."""
        self.assert_text(
            "<h1>Hi</h1>\n<p>one\n two</p><p>three<br>four<div>five</div>", _PARAGRAPHS
        )

    def test_links(self) -> None:
        """A link has its address, unless that is what it says, or is none to follow."""
        for source, expected in (
            (
                '<a href="https://a.example/?x=1&amp;y">here</a>.',
                "here <https://a.example/?x=1&y>.",
            ),
            ("<a class=x title='a>b' href='https://a.example'>here", "here <https://a.example>"),
            ("<a href=https://a.example>https://a.example</a>", "https://a.example"),
            ("<a href=mailto:a@b.example>a@b.example</a>", "a@b.example"),
            ("<a href='javascript:x()'>here</a>", "here"),
            ("<a href='#top'>here</a>", "here"),
            ("<a title='href=http:x'>here</a>", "here"),
            ("<a href='https://a.example'></a>there", "there"),
        ):
            self.assert_text(source, expected)

    def test_lists(self) -> None:
        """Items have marks or numbers, inner lists are indented."""
        self.assert_text(
            "x<ul><li>a<li>b<ol><li>c</li><li>d</li></ol></ul>y",
            "x\n\n* a\n* b\n  1. c\n  2. d\n\ny",
        )

    def test_tables(self) -> None:
        """A row is a line."""
        self.assert_text("<table><tr><td>a<td>b</tr><tr><td>c</td></tr></table>", "a b\nc")

    def test_pre(self) -> None:
        """Preformatted text is as it was."""
        self.assert_text("a<pre>b\n  c</pre>d", "a\n\nb\n  c\n\nd")

    def test_what_is_not_seen(self) -> None:
        """Scripts, styles, comments and titles are left out, whatever is in them."""
        self.assert_text(
            "<title>t</title><style>a>b{}</style>a<script>if (a</p>b) '<b>'</SCRIPT>b<!-- <p> -->c",
            "abc",
        )

    def test_characters(self) -> None:
        """References are read; what is no markup is text."""
        self.assert_text("&lt;p&gt; &eacute;&#233; 1 < 2 a&nbsp;b <3", "<p> éé 1 < 2 a b <3")
        self.assert_text("<img alt='a &amp; b' src=x>", "a & b")
        self.assertEqual(plain_text(""), "")
        self.assertEqual(len(plain_text("&#" + "9" * 10_000)), 10_003)

    def test_hostile(self) -> None:
        """Time grows with the length: what is repeated without end costs no more than text."""
        for piece in PIECES:
            source = (piece * 200_000)[:200_000]
            began = process_time()
            plain_text(source)
            self.assertLess(process_time() - began, 20.0, piece)

    @given(st.lists(st.sampled_from(PIECES)))
    def test_anything(self, pieces: list[str]) -> None:
        """Nothing makes it fail, and no tag that is whole is left."""
        source = "".join(pieces)
        self.assertLess(len(plain_text(source)), 30 * len(source) + 30)


_PARAGRAPHS = "Hi\n\none two\n\nthree\nfour\nfive"
