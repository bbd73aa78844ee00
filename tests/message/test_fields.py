"""What a header says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.compose import Draft, NamedAddress, compose
from mailrelay.message.fields import Fields, is_automated, read_date, read_fields
from mailrelay.message.header import parse_header
from mailrelay.smtp.address import Address
from tests.message.strategies import drafts


def fields(header: str) -> Fields:
    """What ``header`` says."""
    return read_fields(parse_header(header.replace("\n", "\r\n").encode()))


class FieldsTests(SynchronousTestCase):
    """read_fields."""

    def test_all(self) -> None:
        """Every field, where it is."""
        self.assertEqual(
            fields(
                "From: =?utf-8?q?J=C3=BC?= <j@x>\nTo: a@x, junk,\n b@y\nto: c@z\nCC: d@x\n"
                "Bcc: e@x\nReply-To: f@x\nSubject: =?utf-8?q?=C3=BC?= a\n b\n"
                "Message-ID: <1@x> (c)\nIn-Reply-To: your message <2@x>\n"
                "References: <3@x> word\n <4@x><5@x>\nReferences: <6@x>\n"
                "Date: Sat, 21 Nov 2026 09:08:18 +0100\n\n"
            ),
            Fields(
                from_=(NamedAddress("Jü", Address("j", "x")),),
                to=tuple(NamedAddress("", Address(*a)) for a in ("ax", "by", "cz")),
                cc=(NamedAddress("", Address("d", "x")),),
                bcc=(NamedAddress("", Address("e", "x")),),
                reply_to=(NamedAddress("", Address("f", "x")),),
                subject="ü a b",
                message_id="<1@x>",
                in_reply_to="<2@x>",
                references=("<3@x>", "<4@x>", "<5@x>", "<6@x>"),
                date=datetime(2026, 11, 21, 9, 8, 18, tzinfo=timezone(timedelta(hours=1))),
            ),
        )

    def test_nothing(self) -> None:
        """An empty header says nothing, nor does one of nonsense."""
        nothing = Fields((), (), (), (), (), "", "", "", (), None)
        self.assertEqual(fields("\n"), nothing)
        self.assertEqual(
            fields("From: x\nTo:\nMessage-ID: x\nReferences: x\nIn-Reply-To: <\nDate: x\n\n"),
            nothing,
        )

    def test_thread(self) -> None:
        """The parent comes first if it is not among the references."""
        for header, expected in (
            ("References: <a> <b>\nIn-Reply-To: <c>\n\n", ("<c>", "<a>", "<b>")),
            ("References: <a> <b>\nIn-Reply-To: <b>\n\n", ("<a>", "<b>")),
            ("In-Reply-To: <b>\n\n", ("<b>",)),
            ("\n", ()),
        ):
            self.assertEqual(fields(header).thread, expected)

    def test_text_on_a_line(self) -> None:
        """Encoded words bring no line ends and no NUL."""
        self.assertEqual(fields("Subject: =?utf-8?q?a=0D=0Ab=00?=\n\n").subject, "a  b ")

    def test_dates(self) -> None:
        """Dates that are none are None; without a zone they are UTC."""
        at = datetime(2026, 11, 21, 9, 8, 18, tzinfo=UTC)
        for text, expected in (
            ("21 Nov 2026 09:08:18 -0000", at),
            ("21 Nov 2026 09:08:18", at),
            ("Sat, 21 Nov 2026 09:08:18 GMT", at),
            ("Sat, 21 Nov 2026 09:08:18 +9999", None),
            ("Sat, 99 Nov 2026 09:08:18 +0000", None),
            ("Fri, 31 Dec 9999 23:59:59 -1200", None),  # in UTC it is of no year that there is
            ("9" * 5000, None),
            ("1 " * 100, None),
            (";", None),
            ("", None),
            (None, None),
        ):
            with self.subTest(text):
                self.assertEqual(read_date(text), expected)

    @given(st.text("0123456789 :+-,;Nov()ASat.\x00é", max_size=40))
    def test_any_date(self, text: str) -> None:
        """No text makes it raise."""
        found = read_date(text)
        self.assertTrue(found is None or found.utcoffset() is not None)

    @given(drafts())
    def test_composed(self, draft: Draft) -> None:
        """What we compose is read as it was given."""
        found = read_fields(parse_header(next(iter(compose(draft)))))
        for people, read in (
            (draft.from_, found.from_),
            (draft.reply_to, found.reply_to),
            (draft.to, found.to),
            (draft.cc, found.cc),
        ):
            self.assertEqual(list(read), list(people))
        self.assertEqual(found.subject, draft.subject)
        self.assertEqual(found.message_id, draft.message_id)
        self.assertEqual(list(found.references), list(draft.references))
        self.assertEqual(found.in_reply_to, draft.references[-1] if draft.references else "")
        self.assertEqual(found.date, datetime(2026, 11, 21, 9, 8, 18, tzinfo=UTC))


class AutomatedTests(SynchronousTestCase):
    """is_automated."""

    def test_each(self) -> None:
        """Null reverse-path, list fields, Precedence, Auto-Submitted, and reports."""
        for header, automated in {
            "Subject: x": False,
            "List-Id: <x>": True,
            "List-Id:": False,
            "List-Unsubscribe: <x>": True,
            "List-Unsubscribe-Post: x": True,
            "List-Post: <x>": False,
            "Precedence: first-class": True,
            "Precedence: ": False,
            "Auto-Submitted: auto-replied": True,
            "Auto-Submitted: NO; x": False,
            "Auto-Submitted: no (c)": False,
            "Auto-Submitted: ": False,
        }.items():
            with self.subTest(header):
                read = parse_header(header.encode() + b"\r\n\r\n")
                self.assertIs(
                    is_automated(read, "text/plain", reverse_path_is_null=False), automated
                )
        plain = parse_header(b"\r\n")
        self.assertTrue(is_automated(plain, "text/plain", reverse_path_is_null=True))
        self.assertTrue(is_automated(plain, "multipart/report", reverse_path_is_null=False))
