"""MIME structures: of what we compose, of what others do, and of what is meant to hurt."""

from __future__ import annotations

from base64 import b64encode
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.compose import Draft, compose
from mailrelay.message.encodings import decoded_bytes, decoded_size, encoding_of
from mailrelay.message.structure import (
    MAX_DASHED,
    MAX_DEPTH,
    MAX_PARTS,
    MAX_TEXT_BYTES,
    OPAQUE,
    NoSuchPart,
    Part,
    decoded,
    decoded_text,
    part_at,
    read_structure,
    shown_parts,
    text_and_html,
)
from tests.message.strategies import drafts

PIECES = (
    b"Content-Type: multipart/mixed; boundary=",
    b"Content-Type: text/plain",
    b"Content-Transfer-Encoding: base64\r\n",
    b"\r\n--a\r\n",
    b"\r\n--b--\r\n",
    b"\r\n\r\n",
    b"\r\n",
    *(b"a", b"b", b"--a", b"--b", b"--", b":", b" ", b"\r", b"\n", b"=", b"\xff\0"),
)


def crlf(text: str) -> bytes:
    """``text`` as a message."""
    return text.replace("\n", "\r\n").encode()


def tree(part: Part) -> Any:
    """The content types, nested as the parts are."""
    return [part.content_type, *map(tree, part.parts)] if part.parts else part.content_type


def leaves(part: Part) -> list[Part]:
    """The parts without parts, in order."""
    found, todo = [], [part]
    while todo:
        part = todo.pop()
        todo += reversed(part.parts)
        found += [] if part.parts else [part]
    return found


def multipart(subtype: str, *parts: str, header: str = "", boundary: str = "") -> str:
    """A multipart as text, header and all; boundaries differ by what is in it."""
    boundary = boundary or f"b{sum(part.count('--b') for part in parts)}x"
    body = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return (
        f"{header}Content-Type: multipart/{subtype}; boundary={boundary}\n\n{body}--{boundary}--\n"
    )


TEXT = "Content-Type: text/plain\n\ntext"
HTML = "Content-Type: text/html\n\nhtml"
ATTACHED = "Content-Type: text/plain\nContent-Disposition: attachment\n\nattached"


class ReadTests(SynchronousTestCase):
    """read_structure, on what is well-formed or nearly so."""

    def test_leaf(self) -> None:
        """A message of one part, everything said of it."""
        content = crlf(
            "Subject: x\nContent-TYPE: Text/Plain; CHARSET=utf-8; name=n.txt\n"
            "Content-ID:  <a@b>\nContent-Disposition: Inline; filename*=utf-8''%C3%BC\n"
            "Content-Transfer-Encoding: Base64\n\nw7w=\n"
        )
        body_at = content.index(b"w7w=")
        self.assertEqual(
            read_structure(content),
            Part(
                content_type="text/plain",
                params={"charset": "utf-8", "name": "n.txt"},
                content_id="<a@b>",
                disposition="inline",
                filename="ü",
                encoding="base64",
                decoded_size=2,
                parts=(),
                header_at=0,
                body_at=body_at,
                end=len(content),
            ),
        )

    def test_nothing_said(self) -> None:
        """Without a Content-Type there is "/", with a wrong one opaque bytes."""
        for header, expected in (
            ("", "/"),
            ("Content-Type: \n", OPAQUE),
            ("Content-Type: text\n", OPAQUE),
            ("Content-Type: a/b/c\n", OPAQUE),
            ("Content-Type: a b/c\n", OPAQUE),
        ):
            part = read_structure(crlf(header + "\nbody"))
            self.assertEqual((part.content_type, part.decoded_size), (expected, 4))

    def test_filename_of_the_type(self) -> None:
        """The type's name is taken where the disposition has none, encoded words decoded."""
        part = read_structure(crlf('Content-Type: a/b; name="=?utf-8?q?=C3=BC?="\n\n'))
        self.assertEqual(part.filename, "ü")

    def test_nesting(self) -> None:
        """Parts in parts, with preamble, epilogue and padding, and their bytes."""
        inner = multipart("alternative", TEXT, HTML)
        whole = multipart("mixed", inner, ATTACHED, boundary="out")
        whole = whole.replace("\n\n--out", "\n\npreamble\n--out", 1)
        content = crlf(whole.replace("--out--", "--out-- \t") + "epilogue\n--out\nnot a part")
        part = read_structure(content)
        self.assertEqual(
            tree(part),
            ["multipart/mixed", ["multipart/alternative", "text/plain", "text/html"], "text/plain"],
        )
        self.assertEqual(
            [decoded(content, p) for p in leaves(part)], [b"text", b"html", b"attached"]
        )
        self.assertEqual((part.decoded_size, part.parts[0].decoded_size), (0, 0))
        self.assertEqual(part_at(part, [0, 1]).content_type, "text/html")
        self.assertEqual(content[part.parts[1].header_at : part.parts[1].end], crlf(ATTACHED))

    def test_paths(self) -> None:
        """A path leads to a part, or to none."""
        part = read_structure(crlf(multipart("mixed", TEXT)))
        self.assertIs(part_at(part, []), part)
        for path in ([1], [-1], [0, 0], [2**60]):
            with self.subTest(path):
                self.assertRaises(NoSuchPart, part_at, part, path)

    def test_ends_that_are_missing(self) -> None:
        """An outer delimiter ends all that is within, and so does the end."""
        inner = multipart("alternative", TEXT, HTML).removesuffix("--b0x--\n")
        content = crlf(multipart("mixed", inner, ATTACHED))
        part = read_structure(content)
        self.assertEqual([len(part.parts), len(part.parts[0].parts)], [2, 2])
        self.assertEqual(
            [decoded(content, p) for p in leaves(part)][1:], [b"html\r\n", b"attached"]
        )
        part = read_structure(content[: content.index(b"attached")])
        self.assertEqual(len(leaves(part)), 3)

    def test_delimiters_in_headers(self) -> None:
        """A header that a delimiter ends has no body; two delimiters have an empty part between."""
        content = crlf(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\nContent-Type: a/b\n--b\n\n--b--"
        )
        part = read_structure(content)
        self.assertEqual([p.content_type for p in part.parts], ["/", "a/b", "/"])
        self.assertEqual([p.decoded_size for p in part.parts], [0, 0, 0])
        self.assertTrue(all(p.header_at <= p.body_at <= p.end for p in part.parts))

    def test_empty_part_at_the_end_of_its_multipart(self) -> None:
        """A multipart does not end before the last of its parts."""
        inner = "Content-Type: multipart/mixed; boundary=a\n\n--a\n--b\n\n--b--\n"
        content = crlf(f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{inner}")
        first, second = read_structure(content).parts
        self.assertEqual(first.end, first.parts[0].end)
        self.assertLessEqual(first.end, second.header_at)

    def test_what_is_no_delimiter(self) -> None:
        """Only whole lines are, and not those of a multipart that is closed."""
        content = crlf(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bb\n --b\n--b-\nx--b\n--b--\n"
            "--b\nx"
        )
        self.assertEqual(len(read_structure(content).parts), 1)
        self.assertEqual(
            decoded(content, read_structure(content).parts[0]), crlf("--bb\n --b\n--b-\nx--b")
        )
        long = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b" + " " * 2000 + "\nx\n")
        self.assertEqual(read_structure(long).parts, ())

    def test_one_boundary_twice(self) -> None:
        """The innermost of two multiparts with one boundary has it until it is closed."""
        inner = multipart("alternative", TEXT, HTML, boundary="b")
        content = crlf(multipart("mixed", inner, ATTACHED, boundary="b"))
        part = read_structure(content)
        self.assertEqual([len(part.parts[0].parts), len(part.parts)], [2, 2])
        self.assertEqual(decoded(content, part.parts[1]), b"attached")

    def test_boundary_with_dashes(self) -> None:
        """A boundary that is another's closing delimiter is its own."""
        content = crlf(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n"
            'Content-Type: multipart/mixed; boundary="b--"\n\n--b--\n\nx\n--b----\n--b--\n'
        )
        self.assertEqual(
            tree(read_structure(content)), ["multipart/mixed", ["multipart/mixed", "/"]]
        )

    def test_multiparts_that_are_none(self) -> None:
        """Without a boundary, or encoded, it is a leaf; so is a message in a message."""
        for header in (
            "Content-Type: multipart/mixed",
            'Content-Type: multipart/mixed; boundary=" "',
            "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64",
            "Content-Type: message/rfc822; boundary=b",
        ):
            part = read_structure(crlf(header + "\n\n--b\n\nx\n--b--\n"))
            self.assertEqual(part.parts, ())
            self.assertGreater(part.decoded_size, 0)

    @given(drafts())
    def test_composed(self, draft: Draft) -> None:
        """What we compose is read as it was given, part for part."""
        content = b"".join(compose(draft))
        root = read_structure(content)
        found = leaves(root)
        texts = [text for text in (draft.text, draft.html) if text] or [""]
        for part, text in zip(found, texts, strict=False):
            expected = text.replace("\r\n", "\n")
            expected += "" if expected.endswith("\n") else "\n"
            self.assertEqual(decoded_text(content, part), expected)
            self.assertEqual(part.decoded_size, len(expected.replace("\n", "\r\n").encode()))
        files = [*draft.alternative_files, *draft.inline_files, *draft.attached_files]
        for part, file in zip(found[len(texts) :], files, strict=True):
            self.assertEqual(decoded(content, part), b"".join(file.read()))
            self.assertEqual(part.decoded_size, file.size_bytes)
            self.assertEqual(part.filename, file.name)
            self.assertEqual(part.content_id.strip("<>"), file.content_id.strip("<>"))
        text, html = text_and_html(content, root)
        if draft.html:
            self.assertEqual(html.rstrip("\n"), draft.html.replace("\r\n", "\n").rstrip("\n"))
        if draft.text:
            self.assertEqual(text.rstrip("\n"), draft.text.replace("\r\n", "\n").rstrip("\n"))


class TextTests(SynchronousTestCase):
    """text_and_html and decoded_text."""

    def texts(self, message: str) -> tuple[str, str]:
        """What is found in ``message``."""
        content = crlf(message)
        return text_and_html(content, read_structure(content))

    def test_choice(self) -> None:
        """Which parts are taken."""
        both = multipart("alternative", TEXT, HTML)
        other = "Content-Type: text/plain\n\nother"
        for message, expected in (
            (TEXT, ("text", "")),
            ("\ntext", ("text", "")),
            (HTML, ("", "html")),
            (ATTACHED, ("", "")),
            ("Content-Type: image/png\n\nx", ("", "")),
            (both, ("text", "html")),
            (multipart("alternative", HTML, TEXT, other), ("text", "html")),
            (multipart("mixed", TEXT, HTML), ("text", "")),
            (multipart("mixed", HTML, TEXT), ("", "html")),
            (multipart("mixed", ATTACHED, HTML), ("", "html")),
            (multipart("mixed", multipart("related", both), ATTACHED), ("text", "html")),
            (multipart("related", both, other), ("text", "html")),
            (multipart("mixed", both, other), ("other", "")),
            (multipart("mixed", multipart("mixed", ATTACHED), both), ("text", "html")),
            (multipart("alternative", TEXT, multipart("related", HTML)), ("text", "")),
            (multipart("mixed"), ("", "")),
        ):
            with self.subTest(message):
                self.assertEqual(self.texts(message), expected)

    def test_shown(self) -> None:
        """People are shown HTML that stands in a related beside the text, but no attachment."""
        inner = multipart("related", HTML)
        for message, expected in (
            (multipart("alternative", TEXT, inner), (True, True)),
            (multipart("mixed", multipart("alternative", TEXT, inner), ATTACHED), (True, True)),
            (multipart("mixed", TEXT, ATTACHED), (True, False)),
            (HTML, (False, True)),
        ):
            text, html = shown_parts(read_structure(message.replace("\n", "\r\n").encode()))
            self.assertEqual((text is not None, html is not None), expected, message)

    def test_named_root(self) -> None:
        """A related may name its root."""
        message = multipart("related", TEXT, "Content-Id: <r>\n" + HTML)
        self.assertEqual(self.texts(message), ("text", ""))
        message = message.replace("boundary", 'start="<r>"; boundary', 1)
        self.assertEqual(self.texts(message), ("", "html"))

    def test_text(self) -> None:
        """Charsets are decoded, line ends are LF."""
        content = b"Content-Type: text/plain; charset=latin1\r\n\r\n\xfc\r\n\r\n\r"
        self.assertEqual(decoded_text(content, read_structure(content)), "ü\n\n\r")

    def test_cut(self) -> None:
        """Text and HTML end at a mebibyte of UTF-8, within no character."""
        for body in (b"x" * 40 * MAX_TEXT_BYTES, b"x" + "é".encode() * MAX_TEXT_BYTES):
            content = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + body
            _, html = text_and_html(content, read_structure(content))
            self.assertIn(len(html.encode()), (MAX_TEXT_BYTES, MAX_TEXT_BYTES - 1))
            self.assertNotIn("\ufffd", html)
        encoded = b64encode("日".encode("utf-16") * MAX_TEXT_BYTES)
        content = (
            b"Content-Type: text/plain; charset=utf-16\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded
        )
        self.assertGreater(len(self.texts_of(content).encode()), MAX_TEXT_BYTES - 4)

    def texts_of(self, content: bytes) -> str:
        """The text of ``content``."""
        return text_and_html(content, read_structure(content))[0]


class EncodingTests(SynchronousTestCase):
    """decoded_bytes and decoded_size."""

    def test_names(self) -> None:
        """Two encodings are undone; others leave bytes as they are."""
        for text, expected in {
            None: "",
            "BASE64 ": "base64",
            "Quoted-Printable;x": "quoted-printable",
            "base64(c)": "base64",
            "7bit": "",
            "": "",
        }.items():
            self.assertEqual(encoding_of(text), expected)

    def test_broken(self) -> None:
        """What is wrong is skipped."""
        for encoding, data, expected in (
            ("base64", b"YW Jj\r\n-Z!G\xffU=\r\nYWJj", b"abcde"),
            ("base64", b"YWJjZ", b"abc"),
            ("base64", b"=YWJj", b""),
            ("base64", b"", b""),
            ("quoted-printable", b"=C3=bc=\r\nx=zz=", b"\xc3\xbcx=zz"),
            ("", b"=C3", b"=C3"),
        ):
            with self.subTest(data):
                self.assertEqual(decoded_bytes(data, encoding), expected)

    @given(
        st.binary(max_size=80) | st.text("aB3+/= \r\n!-", max_size=80).map(str.encode),
        st.sampled_from(["", "base64", "quoted-printable"]),
    )
    def test_sizes(self, data: bytes, encoding: str) -> None:
        """The size is that of what comes of it."""
        size = decoded_size(b"ab" + data + b"c=d", 2, 2 + len(data), encoding)
        self.assertEqual(size, len(decoded_bytes(data, encoding)))


class HostileTests(SynchronousTestCase):
    """What is meant to hurt (threats 10 and 27)."""

    def test_depth(self) -> None:
        """Multiparts deeper than the limit are leaves."""
        message = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
            for n in range(10_000)
        )
        part, depth = read_structure(message), 0
        while part.parts:
            [part] = part.parts
            depth += 1
        self.assertEqual((depth, part.content_type), (MAX_DEPTH, "multipart/mixed"))
        self.assertEqual(part.end, len(message))

    def test_parts(self) -> None:
        """What comes after the last part that is counted is one opaque leaf."""
        content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 5000
        part = read_structure(content)
        self.assertEqual(len(part.parts), MAX_PARTS - 1)
        self.assertEqual({p.content_type for p in part.parts[:-1]}, {"/"})
        self.assertEqual((part.parts[-1].content_type, part.parts[-1].end), (OPAQUE, len(content)))

    def test_headers(self) -> None:
        """A header too large is none, and its part opaque; so it is for all parts together."""
        for wide in (b"A: " + b"x" * 300_000, b"A: 1\r\n" * 2000):
            content = wide + b"\r\n\r\nbody"
            part = read_structure(content)
            self.assertEqual((part.content_type, part.body_at), (OPAQUE, 0))
            content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + content
            [part] = read_structure(content + b"\r\n--b--\r\n").parts
            self.assertEqual(part.content_type, OPAQUE)
        part = read_structure(
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
            + (b"--b\r\nContent-Type: a/b\r\nA: " + b"x" * 100_000 + b"\r\n\r\n\r\n") * 4
        )
        self.assertEqual([p.content_type for p in part.parts], ["a/b", "a/b", OPAQUE, OPAQUE])

    def test_dashes(self) -> None:
        """Lines that only look like delimiters end the search for them."""
        header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx"
        content = header + b"\r\n--" * (MAX_DASHED + 10) + b"\r\n--b\r\n\r\ny"
        part = read_structure(content)
        self.assertEqual(len(part.parts), 1)
        self.assertEqual(part.parts[0].end, len(content))

    def test_shapes_that_repeat(self) -> None:
        """None takes long."""
        front = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        for piece in (
            b"--b\r\n" + front,
            b"--b\r\nContent-Type: multipart/mixed; boundary=" + b"b" * 60 + b"\r\n\r\n",
            b"\r\n--b",
            b"--b--\r\n",
            b"\r\n--b" + b" " * 900,
            b"\r\n--b" + b"-" * 2000,
            b"--b\r\nA:" + b"\r\n " * 900 + b"\r\n\r\n\r\n",
            b"\r\n--",
        ):
            with self.subTest(piece[:30]):
                part = read_structure(front + piece * (3_000_000 // len(piece)))
                self.assertLessEqual(len(leaves(part)), MAX_PARTS)

    @given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
    def test_any_bytes(self, content: bytes) -> None:
        """Parts lie within their parts, in order, and everything can be asked of them."""
        todo = [read_structure(content)]
        self.assertEqual((todo[0].header_at, todo[0].end), (0, len(content)))
        text_and_html(content, todo[0])
        while todo:
            part = todo.pop()
            self.assertLessEqual(part.header_at, part.body_at)
            self.assertLessEqual(part.body_at, part.end)
            if not part.parts:
                self.assertEqual(part.decoded_size, len(decoded(content, part)))
            for first, second in pairwise(part.parts):
                self.assertLessEqual(first.end, second.header_at)
            for child in part.parts:
                self.assertLessEqual(part.body_at, child.header_at)
                self.assertLessEqual(child.end, part.end)
            todo += part.parts
