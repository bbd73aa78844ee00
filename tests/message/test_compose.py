"""Messages that are composed, read back with the standard library's parser."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, unquote
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.compose import Draft, File, NamedAddress, Unwritable, compose
from mailrelay.smtp.address import Address
from mailrelay.smtp.reader import has_bare
from tests.message.strategies import boundaries, drafts, line_texts, pieces_of
from tests.smtp.strategies import cut

AS_IT_IS = policy.default.clone(refold_source="none")
SENDER = NamedAddress("Sender", Address("s", "example.org"))
RECIPIENT = NamedAddress("", Address("r", "example.net"))
BAD = ["\0", "\t", "\r", "\n", "\r\nX: y", "\x1f", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


def draft(**changes: Any) -> Draft:
    """A small draft."""
    given: dict[str, Any] = {
        "from_": [SENDER],
        "to": [RECIPIENT],
        "subject": "hello",
        "date": "Sat, 21 Nov 2026 09:08:18 +0000",
        "message_id": "<1@example.org>",
        "text": "text\n",
        "boundary": boundaries(),
    }
    return Draft(**given | changes)


def written(**changes: Any) -> bytes:
    """That draft as a message."""
    return b"".join(compose(draft(**changes)))


def file(data: bytes = b"data", **changes: Any) -> File:
    """A small file."""
    given: dict[str, Any] = {
        "name": "a.bin",
        "content_type": "application/x-test",
        "content_id": "",
        "read": pieces_of([data]),
        "size_bytes": len(data),
    }
    return File(**given | changes)


def parsed(content: bytes) -> EmailMessage:
    """``content`` as the standard library reads it."""
    message = message_from_bytes(content, policy=AS_IT_IS)
    assert isinstance(message, EmailMessage)
    return message


def tree(part: EmailMessage) -> Any:
    """The content types, nested as the parts are."""
    if part.is_multipart():
        return [part.get_content_subtype(), *(tree(p) for p in part.iter_parts())]  # type: ignore[arg-type]
    return part.get_content_type()


def field_lines(content: bytes, name: str) -> list[str]:
    """The lines of the fields called ``name``."""
    lines: list[str] = []
    for line in content.split(b"\r\n\r\n")[0].decode().split("\r\n"):
        if line.startswith(f"{name}:") or (lines and line[:1] in " \t"):
            lines.append(line)
        elif lines:
            break
    return lines


class HeaderTests(SynchronousTestCase):
    """The header section."""

    def test_order(self) -> None:
        """The fields stand in one order, those of the caller before the content's."""
        content = written(
            reply_to=[SENDER],
            cc=[RECIPIENT],
            references=["<a@x>", "<b@x>"],
            headers=[("X-One", "1"), ("X-Two", "2"), ("X-One", "3")],
            user_agent="mailrelay/1",
        )
        self.assertEqual(
            content.split(b"\r\n\r\n")[0].decode().split("\r\n"),
            [
                'From: "Sender" <s@example.org>',
                'Reply-To: "Sender" <s@example.org>',
                "To: <r@example.net>",
                "Cc: <r@example.net>",
                "Subject: hello",
                "Date: Sat, 21 Nov 2026 09:08:18 +0000",
                "Message-Id: <1@example.org>",
                "References: <a@x>",
                "\t<b@x>",
                "In-Reply-To: <b@x>",
                "MIME-Version: 1.0",
                "X-One: 1",
                "X-Two: 2",
                "X-One: 3",
                "User-Agent: mailrelay/1",
                "Content-Type: text/plain; charset=us-ascii",
                "Content-Transfer-Encoding: 7bit",
            ],
        )

    def test_what_is_empty_is_left_out(self) -> None:
        """No field stands without a body but the caller's own."""
        message = parsed(written(to=[], subject="", headers=[("X-Empty", "")]))
        for name in ("To", "Cc", "Reply-To", "Subject", "References", "In-Reply-To", "User-Agent"):
            self.assertIsNone(message[name], name)
        self.assertEqual(message["X-Empty"], "")

    def test_user_agent_of_the_caller(self) -> None:
        """Ours is left out where the caller names its own program."""
        for name in ("USER-agent", "X-Mailer"):
            message = parsed(written(user_agent="ours", headers=[(name, "theirs")]))
            self.assertEqual(message[name], "theirs")
            self.assertNotIn("ours", message.values())

    def test_header_comes_first_and_whole(self) -> None:
        """The first piece is the header section with the empty line."""
        first = next(iter(compose(draft(attached_files=[file()]))))
        self.assertTrue(first.endswith(b"\r\n\r\n"))
        self.assertEqual(first.count(b"\r\n\r\n"), 1)

    def test_spaces_between_encoded_words(self) -> None:
        """The space between words beyond ASCII is in one of them; plain words stay plain."""
        content = written(subject="ü ö and ä")
        self.assertEqual(
            field_lines(content, "Subject"),
            ["Subject: =?utf-8?q?=C3=BC_=C3=B6?= and =?utf-8?q?=C3=A4?="],
        )
        self.assertEqual(parsed(content)["Subject"], "ü ö and ä")

    def test_smtputf8_writes_characters(self) -> None:
        """With SMTPUTF8 the header is UTF-8, domains too."""
        address = Address.parse("ü@münchen.example")
        content = written(smtputf8=True, from_=[NamedAddress("Jürgen", address)], subject="grüß")
        self.assertEqual(field_lines(content, "From"), ['From: "Jürgen" <ü@münchen.example>'])
        self.assertEqual(field_lines(content, "Subject"), ["Subject: grüß"])
        self.assertIn(b"Content-Transfer-Encoding: 8bit", content)

    def test_folds_between_words(self) -> None:
        """Lines end by column 76, and unfolding gives the text with its spaces, not tabs."""
        subject = " ".join(f"word{n}" for n in range(100))
        lines = field_lines(written(subject=subject), "Subject")
        self.assertGreater(len(lines), 5)
        self.assertTrue(all(len(line) <= 76 for line in lines))
        self.assertEqual("".join(lines), f"Subject: {subject}")

    def test_given_fields_are_not_touched(self) -> None:
        """What the caller encoded stays as it is; what is beyond ASCII is encoded."""
        value = "=?iso-8859-1?q?=E9?= <https://example.org/?a=b>"
        content = written(headers=[("X-Given", value), ("X-Other", "é")])
        self.assertEqual(field_lines(content, "X-Given"), [f"X-Given: {value}"])
        self.assertEqual(parsed(content)["X-Other"], "é")

    @given(drafts())
    def test_lines(self, draft: Draft) -> None:
        """Lines end in CRLF, none is over 998 bytes, and only SMTPUTF8 has headers beyond ASCII."""
        [header, *body] = compose(draft)
        content = header + b"".join(body)
        self.assertFalse(has_bare(content))
        self.assertTrue(content.endswith(b"\r\n"))
        self.assertNotIn(b"\0", content)
        self.assertLessEqual(max(map(len, content.split(b"\r\n"))), 998)
        self.assertTrue(draft.smtputf8 or header.isascii())
        for line in header.split(b"\r\n")[:-2]:
            self.assertTrue(line.strip(), "a line of spaces only is no fold")
            if b"=?utf-8?q?" in line and not draft.smtputf8:
                self.assertLessEqual(len(line), 998 if b"X-Text" in line else 76 + 255)

    @given(line_texts, st.booleans())
    def test_read_back(self, subject: str, utf8: bool) -> None:
        """A subject is read as it was given."""
        message = parsed(written(subject=subject, smtputf8=utf8))
        self.assertEqual(message["Subject"] or "", subject)

    @given(st.lists(line_texts, min_size=1, max_size=3), st.booleans())
    def test_names_are_read_back(self, names: list[str], utf8: bool) -> None:
        """Display names are read as they were given."""
        people = [NamedAddress(name, SENDER.address) for name in names]
        value = "".join(field_lines(written(to=people, smtputf8=utf8), "To"))
        # Not by message["To"]: for names in several encoded words Python 3.11 is wrong.
        self.assertEqual(
            [
                (str(make_header(decode_header(name))), address)
                for name, address in getaddresses([value.removeprefix("To: ")])
            ],
            [(name, "s@example.org") for name in names],
        )

    @given(line_texts)
    def test_read_back_by_older_readers(self, subject: str) -> None:
        """So it is by what joins decoded words in the old way."""
        lines = field_lines(written(subject=subject), "Subject")
        value = "".join(lines).removeprefix("Subject:").removeprefix(" ")
        self.assertEqual(str(make_header(decode_header(value))), subject)


class BodyTests(SynchronousTestCase):
    """Texts and their encodings."""

    def test_encodings(self) -> None:
        """Lines over 76 bytes, bare CR and other controls are quoted-printable."""
        for text, charset, encoding in (
            ("a", "us-ascii", "7bit"),
            ("a\r\nb\tc\n", "us-ascii", "7bit"),
            ("x" * 76, "us-ascii", "7bit"),
            ("x" * 77, "us-ascii", "quoted-printable"),
            ("é" * 38, "utf-8", "8bit"),
            ("é" * 39, "utf-8", "quoted-printable"),
            ("a\rb", "us-ascii", "quoted-printable"),
            ("a\0b", "us-ascii", "quoted-printable"),
        ):
            with self.subTest(text=text):
                message = parsed(written(text=text))
                self.assertEqual(message.get_content_charset(), charset)
                self.assertEqual(message["Content-Transfer-Encoding"], encoding)

    def test_nesting(self) -> None:
        """Each multipart is there only where it has more than one part."""
        one = file()
        x = "application/x-test"
        for changes, expected in (
            ({}, "text/plain"),
            ({"html": "<p>"}, ["alternative", "text/plain", "text/html"]),
            ({"text": "", "html": "<p>"}, "text/html"),
            ({"alternative_files": [one]}, ["alternative", "text/plain", x]),
            ({"inline_files": [one]}, ["related", "text/plain", x]),
            ({"attached_files": [one, one]}, ["mixed", "text/plain", x, x]),
            (
                {
                    "html": "<p>",
                    "alternative_files": [one],
                    "inline_files": [one],
                    "attached_files": [one],
                },
                [
                    "mixed",
                    ["related", ["alternative", "text/plain", "text/html", x], x],
                    x,
                ],
            ),
        ):
            with self.subTest(expected):
                self.assertEqual(tree(parsed(written(**changes))), expected)

    def test_boundary_is_not_in_the_text(self) -> None:
        """A token whose boundary is in a text, however deep, is not taken."""
        content = written(text="--=_b0\n\n--=_b1--\n", html="=_b2", attached_files=[file()])
        message = parsed(content)
        self.assertEqual(message.get_boundary(), "=_b4")
        self.assertEqual(tree(message)[1], ["alternative", "text/plain", "text/html"])

    def test_boundary_is_not_deeper_in_the_text(self) -> None:
        """Nor is one taken for an outer multipart that is in a text of an inner one."""
        content = written(text="--=_b1\n", html="h", attached_files=[file()])
        message = parsed(content)
        self.assertEqual(message.get_boundary(), "=_b2")
        self.assertEqual(tree(message)[1], ["alternative", "text/plain", "text/html"])

    def test_boundaries_are_no_beginning_of_others(self) -> None:
        """Some readers compare only the beginning."""
        tokens = iter(["ab", "abc", "a", "x"])
        content = written(html="h", attached_files=[file()], boundary=lambda: next(tokens))
        self.assertEqual(parsed(content).get_boundary(), "=_x")

    def test_boundaries_that_cannot_be(self) -> None:
        """A source of tokens that makes none fit is a mistake of ours."""
        for token in ("", 'a"b', "x" * 70, "a b", "b"):
            with self.subTest(token), self.assertRaises(ValueError):
                written(text="=_b", html="h", boundary=lambda token=token: token)

    def test_related_names_its_root(self) -> None:
        """RFC 2387 wants the type of the root part."""
        message = parsed(written(html="h", inline_files=[file()]))
        self.assertEqual(message.get_param("type"), "multipart/alternative")
        message = parsed(written(inline_files=[file()]))
        self.assertEqual(message.get_param("type"), "text/plain")

    @given(drafts())
    def test_read_back(self, draft: Draft) -> None:
        """Texts and files are read as they were given."""
        leaves = [
            part for part in parsed(b"".join(compose(draft))).walk() if not part.is_multipart()
        ]
        texts = [text for text in (draft.text, draft.html) if text] or [""]
        for part, text in zip(leaves, texts, strict=False):
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            expected = text.replace("\r\n", "\n")
            expected += "" if expected.endswith("\n") else "\n"
            # As a top-level part ends with the message, so does its last line.
            self.assertEqual(payload.decode().replace("\r\n", "\n"), expected)
        files = [*draft.alternative_files, *draft.inline_files, *draft.attached_files]
        self.assertEqual(len(leaves), len(texts) + len(files))
        for part, one in zip(leaves[len(texts) :], files, strict=True):
            self.assertEqual(part.get_payload(decode=True), b"".join(one.read()))
            name = one.name.strip()
            # This reader takes quotes and angle brackets off a whole name, encoded or not.
            self.assertIn(part.get_filename(), (name, unquote(name)))
            self.assertEqual(
                part["Content-ID"] or "", {"c@d": "<c@d>"}.get(one.content_id, one.content_id)
            )


class FileTests(SynchronousTestCase):
    """Files."""

    def test_header(self) -> None:
        """Type, disposition, id and encoding; an id is put in brackets."""
        content = written(attached_files=[file(content_id="c@d")], inline_files=[file(name="")])
        self.assertIn(
            b"Content-Type: application/x-test\r\n"
            b'Content-Disposition: attachment; filename="a.bin"\r\n'
            b"Content-ID: <c@d>\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nZGF0YQ==\r\n",
            content,
        )
        self.assertIn(b'Content-Disposition: inline; filename=""\r\n', content)

    def test_names(self) -> None:
        """Quoted if simple, else as RFC 2231 has it, in sections only where a line is full."""
        for name, expected in (
            ("a b.txt", 'filename="a b.txt"'),
            ("ü.txt", "filename*=utf-8''%C3%BC.txt"),
            ('a"\\', "filename*=utf-8''a%22%5C"),
            ("=?utf-8?q?x?=", "filename*=utf-8''%3D%3Futf-8%3Fq%3Fx%3F%3D"),
            ("x" * 901, "filename*0*=utf-8''" + "x" * 60 + ";\r\n filename*1*="),
        ):
            with self.subTest(name):
                content = written(attached_files=[file(name=name)])
                self.assertIn(expected.encode(), content)
                [_, part] = parsed(content).iter_parts()
                self.assertEqual(part.get_filename(), name)

    def test_type_is_sniffed(self) -> None:
        """Without a type the first bytes decide; what they do not tell is left out."""
        png = b"\x89PNG\r\n\x1a\n" + bytes(600)
        for data, expected in (
            (png, "image/png"),
            (b"text", "text/plain; charset=utf-8"),
            (b"\x01\x02", None),
        ):
            for is_base64 in (False, True):
                with self.subTest(expected, is_base64=is_base64):
                    sent = b64encode(data) if is_base64 else data
                    one = file(sent, content_type="", is_base64=is_base64)
                    [_, part] = parsed(written(attached_files=[one])).iter_parts()
                    self.assertEqual(
                        part["Content-Type"] and str(part["Content-Type"]).replace('"', ""),
                        expected,
                    )

    def test_sniffing_reads_only_the_front(self) -> None:
        """Of an uploaded file without a type the beginning is read, piece by piece."""
        read = []

        def pieces() -> Iterator[bytes]:
            for number in range(100):
                read.append(number)
                yield b"x" * 100

        compose(draft(attached_files=[file(content_type="", read=pieces)]))
        self.assertEqual(read, list(range(6)))

    def test_files_are_read_as_they_are_written(self) -> None:
        """No more than a piece or two of a file is in memory."""
        ahead = [0]

        def pieces() -> Iterator[bytes]:
            for _ in range(100):
                ahead[0] += 1
                yield b"x" * 10_000

        most = 0
        for _ in compose(draft(attached_files=[file(read=pieces)])):
            most, ahead[0] = max(most, ahead[0]), 0
        self.assertLessEqual(most, 2)

    @given(st.binary(max_size=400).flatmap(cut), st.booleans())
    def test_lines_of_base64(self, pieces: list[bytes], is_base64: bool) -> None:
        """However it comes, a file is lines of 76 characters and one that is not longer."""
        data = b"".join(pieces)
        if is_base64:
            encoded = b64encode(data)
            pieces = [encoded[at : at + 7] + b"\r\n" for at in range(0, len(encoded), 7)]
        content = written(attached_files=[file(read=pieces_of(pieces), is_base64=is_base64)])
        body = content.split(b"base64\r\n\r\n")[1].split(b"\r\n--")[0]
        lines = body.split(b"\r\n")
        self.assertTrue(all(len(line) == 76 for line in lines[:-1]))
        self.assertLessEqual(len(lines[-1]), 76)
        self.assertEqual(b"".join(lines), b64encode(data))

    def test_what_is_no_base64(self) -> None:
        """What is given as base64 and is not cannot get out, as a boundary or anything."""
        for bad in (b"--=_b0\r\n", b"a-b", b"\xff", b"\0", "ü".encode()):
            with self.subTest(bad), self.assertRaises(Unwritable) as caught:
                written(attached_files=[file(read=pieces_of([b"YWJj", bad]), is_base64=True)])
            self.assertEqual(caught.exception.field, "AttachedFiles[0].Data")


class UnwritableTests(SynchronousTestCase):
    """What is refused, and the name of its field."""

    def refused(self, field: str, **changes: Any) -> str:
        """What is said about ``field``."""
        with self.assertRaises(Unwritable) as caught:
            compose(draft(**changes))
        self.assertEqual(caught.exception.field, field)
        self.assertTrue(str(caught.exception).startswith(f"{field}: "))
        return str(caught.exception.text)

    def test_controls(self) -> None:
        """No control character is written, wherever it is."""
        for bad in BAD:
            with self.subTest(repr(bad)):
                text = f"a{bad}b"
                named = NamedAddress(text, SENDER.address)
                for field, name in (("From", "from_"), ("ReplyTo", "reply_to"), ("To", "to")):
                    self.refused(f"{field}[1].Name", **{name: [SENDER, named]})
                self.refused("CC[0].Name", cc=[named])
                self.refused(
                    "To[0].Address", to=[NamedAddress("", Address(text, "x"))], smtputf8=True
                )
                self.refused("Subject", subject=text)
                self.refused("MessageID", message_id=f"<{text}>", smtputf8=True)
                self.refused("References[1]", references=["<a>", text], smtputf8=True)
                self.refused("Headers[1]", headers=[("A", "b"), ("C", text)])
                self.refused("Headers[0]", headers=[(text, "c")])
                self.refused("Date", date=text)
                for field, name in (
                    ("AlternativeFiles", "alternative_files"),
                    ("InlineFiles", "inline_files"),
                    ("AttachedFiles", "attached_files"),
                ):
                    self.refused(f"{field}[0].Name", **{name: [file(name=text)]})
                    self.refused(
                        f"{field}[0].ContentType", **{name: [file(content_type=f"text/{text}")]}
                    )
                    self.refused(
                        f"{field}[1].ContentID",
                        **{name: [file(), file(content_id=text)]},
                        smtputf8=True,
                    )

    def test_halves_of_characters(self) -> None:
        """A lone surrogate is no text."""
        self.refused("Text", text="\ud800")
        self.refused("HTML", html="\udfff")

    def test_header_names(self) -> None:
        """A name is a token of RFC 5322, of a length that leaves room for a body."""
        for bad in ("", "a b", "a:", "ü", "a\x7f", "x" * 77):
            with self.subTest(bad):
                self.refused("Headers[0]", headers=[(bad, "x")])

    def test_headers_that_are_ours(self) -> None:
        """What says how the message is made, or shows or feigns its way, cannot be given."""
        for name in (
            "content-TYPE",
            "Content-Transfer-Encoding",
            "Content-Disposition",
            "MIME-Version",
            "Bcc",
            "Return-Path",
            "Received",
        ):
            self.assertIn(name, self.refused("Headers[0]", headers=[(name, "x")]))

    def test_headers_that_may_be_there_once(self) -> None:
        """A second From would be another sender; large receivers refuse any of these twice."""
        for name in ("from", "To", "SUBJECT", "Date", "Message-ID"):
            self.assertIn("twice", self.refused("Headers[0]", headers=[(name, "x")]))
        self.refused("Headers[1]", headers=[("Sender", "<a@b>"), ("sender", "<a@b>")])
        self.refused("Headers[0]", headers=[("In-Reply-To", "<a>")], references=["<b>"])
        self.assertIn(b"Subject: mine\r\n", written(subject="", headers=[("Subject", "mine")]))

    def test_what_ascii_cannot_say(self) -> None:
        """Ids and localparts beyond ASCII need SMTPUTF8, and types have none."""
        self.refused("To[0].Address", to=[NamedAddress("", Address("ü", "x.example"))])
        self.refused("MessageID", message_id="<ü@x>")
        self.refused("References[0]", references=["<ü@x>"])
        self.refused("AttachedFiles[0].ContentID", attached_files=[file(content_id="ü")])
        self.refused(
            "AttachedFiles[0].ContentType",
            attached_files=[file(content_type="text/plain; name=ü")],
            smtputf8=True,
        )
        self.assertIn("<ü@x>".encode(), written(message_id="<ü@x>", smtputf8=True))

    def test_lengths(self) -> None:
        """What cannot be folded has to fit."""
        self.refused("MessageID", message_id=f"<{'x' * 900}>")
        self.assertIn(b"x" * 898, written(message_id=f"<{'x' * 898}>"))

    def test_content_types(self) -> None:
        """A file's type is a media type, and none that has parts."""
        for bad in ("foo", "text/", "text/plain x", "multipart/mixed; boundary=x", "Multipart/x"):
            with self.subTest(bad):
                self.refused(
                    "AttachedFiles[0].ContentType", attached_files=[file(content_type=bad)]
                )
