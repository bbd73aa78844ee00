"""HTML of strangers, made harmless."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.html_mail import MOST_OWN_CHARACTERS, policy, safe_html

PIECES = st.lists(
    st.sampled_from(
        [
            *("<", ">", '"', "'", "/", " ", "=", "\x00", "<!--", "-->", "]]>", "<![CDATA["),
            *("<script>", "</script>", "<style>", "</style>", "<svg>", "<math>", "<p", "<a href="),
            *("<img src=", "onerror=", "javascript:x", "data:text/html,x", "http://e.example/"),
            *("<iframe srcdoc=", "<noscript>", "<title>", "<textarea>", "<xmp>", "<template>"),
            *("<form action=", "<base href=", "<meta http-equiv=refresh content=", "x", "&#106;"),
            *("\\", "<\\/style>"),
        ]
    ),
    max_size=30,
).map("".join)


class Acting(HTMLParser):
    """What could act, as a browser reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        if tag in ("script", "iframe", "object", "embed", "form", "input", "base", "svg", "link"):
            self.found.append(tag)
        for name, value in attrs:
            scheme = (value or "").partition(":")[0].lower()
            if name.startswith("on") or (name in ("href", "src") and scheme == "javascript"):
                self.found.append(f"{tag} {name}")
            if name == "src" and scheme in ("http", "https"):
                self.found.append(f"{tag} loads")


class SafeHTMLTests(SynchronousTestCase):
    """What is left of it."""

    def body(self, html: str, *, shows_remote: bool = False, **own: str) -> str:
        """The document's."""
        document = safe_html(html, own, shows_remote=shows_remote).document
        return document.partition("<body>")[2].removesuffix("</body></html>")

    def test_looks(self) -> None:
        """What mail is made of stays."""
        for html in (
            '<table width="100%" cellpadding="0" bgcolor="#fff"><tbody><tr><td align="center">x'
            "</td></tr></tbody></table>",
            '<p style="color:red" class="a">x <b>y</b></p>',
            "<style>p{color:red}</style><h1>x</h1>",
        ):
            self.assertEqual(self.body(html), html)

    def test_links(self) -> None:
        """They open elsewhere and tell nobody from where; what is no page of the net is none."""
        body = self.body('<a href="https://x.example/?a=1&amp;b=2">x</a>')
        self.assertIn('target="_blank"', body)
        self.assertIn("noreferrer", body)
        for bad in ("javascript:x", "data:text/html,x", "cid:x", "/mail/1", "//x", "file:///x"):
            self.assertNotIn("href", self.body(f'<a href="{bad}">x</a>'), bad)

    def test_images(self) -> None:
        """A message's own are in it; those of others are counted, and left out."""
        found = safe_html(
            '<img src="http://x.example/1"><img src="HTTPS://y">', {}, shows_remote=False
        )
        self.assertEqual((found.remote, found.document.count("src=")), (2, 0))
        self.assertIn(
            "http://x.example/1", self.body('<img src="http://x.example/1">', shows_remote=True)
        )
        self.assertIn(
            "data:image/png;base64,eA==",
            self.body('<img src="cid:a">', a="data:image/png;base64,eA=="),
        )
        for bad in ("cid:b", "data:image/svg+xml,x", "data:text/html,x", "x.png", "blob:x"):
            self.assertNotIn("src=", self.body(f'<img src="{bad}">'), bad)

    def test_pictures_of_styles_are_counted(self) -> None:
        """As images are; what is in the message already is not."""
        styles = "<style>p{background:url(http://x.example/1)}</style>"
        html = styles + '<p style="background:URL(//y.example)">x</p><p style="color:red">y</p>'
        self.assertEqual(safe_html(html, {}, shows_remote=False).remote, 2)
        own = '<p style="background:url(data:image/png;base64,eA==)">x</p>'
        self.assertEqual(safe_html(own, {}, shows_remote=False).remote, 0)

    def test_styles(self) -> None:
        """They load nothing, however it is written; pictures are left when they are asked for."""
        for css in (
            "p{background:URL( 'http://x.example/1')}",
            "p{background:\\75\\72\\6c(http://x.example/1)}",
            "p{background:ur\\l(//x.example/1)}",
            "p{content:image-set('http://x.example/1' 1x)}",
        ):
            for html in (f"<style>{css}</style>", f'<p style="{css[2:-1]}">x</p>'):
                self.assertNotRegex(self.body(html), r"(?i)(url|set)\(", html)
        for css in ("@import 'http://x/'", "@\\69mport 'http://x/'", "@FONT-FACE{src:url(/x)}"):
            for shows_remote in (False, True):
                body = self.body(f"<style>{css}</style>", shows_remote=shows_remote)
                self.assertTrue(body.startswith(("<style>@none", "<style>@ 69mport")), body)
        picture = "<style>p{background:url(http://x.example/1)}</style><p>url(x)</p>"
        self.assertEqual(self.body(picture, shows_remote=True), picture)
        self.assertTrue(self.body(picture).endswith("<p>url(x)</p>"))
        own = '<p style="background:url(data:image/png;base64,eA==)">x</p>'
        self.assertEqual(self.body(own), own)

    def test_end_of_styles(self) -> None:
        """What is taken out of them puts no end of theirs together: it would be HTML again."""
        for end in ("<\\/style>", "</sty\\le>", "<\\\\/st\\yle>"):
            body = self.body(f"<style>p{end}<link rel=preconnect href=//x.example></style>")
            self.assertEqual(body.count("</style"), 1)
            self.assertTrue(body.endswith("</style>"), body)

    def test_repeated_image(self) -> None:
        """One that is shown again and again does not make a document without end."""
        image = "data:image/png;base64," + "A" * 1_000_000
        body = self.body('<img src="cid:a">' * 100, a=image)
        self.assertEqual(body.count("<img"), 100)
        self.assertLess(len(body), MOST_OWN_CHARACTERS + 10_000)

    def test_policy(self) -> None:
        """Nothing runs, whatever was left in."""
        for shows_remote in (False, True):
            rules = policy(shows_remote=shows_remote)
            self.assertTrue(rules.startswith("default-src 'none';"))
            self.assertNotIn("script", rules)
            self.assertNotIn("same-origin", rules)
        self.assertNotIn("http", policy(shows_remote=False))

    @settings(max_examples=300, deadline=None)
    @given(PIECES)
    def test_nothing_acts(self, html: str) -> None:
        """However it is put together, twice as well as once."""
        document = safe_html(html, {}, shows_remote=False).document
        for text in (document, safe_html(document, {}, shows_remote=False).document):
            reader = Acting()
            reader.feed(text)
            self.assertEqual(reader.found, [], html)
