"""Reports of others: as we, Postfix, Exim and large providers write them, and as nobody should."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.dsn import Action, RecipientReport, compose_dsn
from mailrelay.message.report import (
    MAX_AGENT_CHARACTERS,
    MAX_BLOCKS,
    MAX_REPORTED,
    DeliveryReport,
    FeedbackReport,
    ReportedRecipient,
    code_of,
    read_report,
)
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import reply
from tests.message.test_dsn import SENDER, report, told

POSTFIX = """\
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: s@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4B1C2.1763716098/mx.example.net"

This is a MIME-encapsulated message.

--4B1C2.1763716098/mx.example.net
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.example.net.

--4B1C2.1763716098/mx.example.net
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
X-Postfix-Queue-ID: 4B1C2
X-Postfix-Sender: rfc822; s@example.org
Original-Envelope-Id: QQ314159
Arrival-Date: Sat, 21 Nov 2026 09:08:17 +0000 (UTC)

Final-Recipient: rfc822; u@example.com
Original-Recipient: rfc822;U@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.example.com
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach
    does not exist. Please try 550-5.1.1 double-checking the address. 550 5.1.1
    https://support.example.com/

--4B1C2.1763716098/mx.example.net
Content-Description: Undelivered Message
Content-Type: message/rfc822

Received: by mx.example.net
Message-ID: <o@example.org>
Subject: x

body

--4B1C2.1763716098/mx.example.net--
"""

EXIM = """\
X-Failed-Recipients: u@example.com, v@example.com
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example.net>
To: s@example.org
References: <o@example.org>
Content-Type: multipart/report; report-type=delivery-status; boundary=1763716098-eximdsn-1
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender

--1763716098-eximdsn-1
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

--1763716098-eximdsn-1
Content-type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Action: failed
Final-Recipient: rfc822;u@example.com
Status: 5.0.0
Remote-MTA: dns; mail.example.com
Diagnostic-Code: smtp; 552 mailbox full

Action: delayed
Final-Recipient: rfc822;v@example.com
Status: 4.0.0

--1763716098-eximdsn-1
Content-type: text/rfc822-headers

Return-path: <s@example.org>
Message-Id: <o@example.org>

--1763716098-eximdsn-1--
"""

COMPLAINT = """\
From: <abuse@example.net>
Subject: FW: spam
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report.

--b
Content-Type: message/feedback-report

Feedback-Type: abuse (complaint)
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <s@example.org>
Original-Rcpt-To: <u@example.net>
Original-Rcpt-To: v@example.net
Arrival-Date: Sat, 21 Nov 2026 09:08:18 +0000
Source-IP: 192.0.2.1

--b
Content-Type: message/rfc822

Message-ID: <o@example.org>

body
--b--
"""


def crlf(text: str) -> bytes:
    """``text`` as a message."""
    return text.replace("\n", "\r\n").encode()


def dsn(*blocks: str, type_: str = "message/delivery-status", third: str = "") -> bytes:
    """A DSN of these blocks of fields."""
    body = "\n\n".join(blocks)
    return crlf(
        "Content-Type: multipart/report; boundary=b\n\n--b\n\ntext\n"
        f"--b\nContent-Type: {type_}\n\n{body}\n{third}--b--\n"
    )


def read_dsn(content: bytes) -> DeliveryReport:
    """The DSN that ``content`` is."""
    found = read_report(content)
    assert isinstance(found, DeliveryReport)
    return found


def recipient(diagnostic: str, status: str = "") -> ReportedRecipient:
    """The one whose block has these fields."""
    fields = f"Action: failed\nStatus: {status}\nDiagnostic-Code: {diagnostic}"
    [found] = read_dsn(dsn("Reporting-MTA: dns; x", fields)).recipients
    return found


class DeliveryReportTests(SynchronousTestCase):
    """DSNs."""

    def test_postfix(self) -> None:
        """One of Postfix, with the reply of a large provider in several lines."""
        found = read_dsn(crlf(POSTFIX))
        self.assertEqual(found.reporting_mta, "mx.example.net")
        self.assertEqual(found.envid, "QQ314159")
        self.assertEqual(found.original_message_id, "<o@example.org>")
        [one] = found.recipients
        self.assertEqual(one.final, Address("u", "example.com"))
        self.assertEqual(one.original, Address("U", "example.net"))
        self.assertEqual((one.action, one.status), ("failed", "5.1.1"))
        self.assertEqual(one.remote_mta, "mail.example.com")
        self.assertEqual(one.diagnostic_type, "smtp")
        self.assertIn("550 5.1.1    https://support.example.com/", one.diagnostic)
        self.assertEqual(code_of(one), (550, "5.1.1"))

    def test_exim(self) -> None:
        """One of Exim, of two recipients, whose replies have no enhanced status."""
        found = read_dsn(crlf(EXIM))
        self.assertEqual(found.original_message_id, "<o@example.org>")
        self.assertEqual(
            [(str(one.final), one.action, code_of(one)) for one in found.recipients],
            [
                ("u@example.com", "failed", (552, "5.0.0")),
                ("v@example.com", "delayed", (400, "4.0.0")),
            ],
        )
        self.assertEqual(found.envid, "")

    def test_ours(self) -> None:
        """Our own are read as they were made, beyond ASCII too."""
        for address in (Address("u", "example.net"), Address("ü", "xn--mnchen-3ya.example")):
            for full in (False, True):
                for action, said in (
                    (Action.FAILED, reply(550, "5.1.1", "no such\nuser")),
                    (Action.DELAYED, reply(451, "4.7.1", "later")),
                    (Action.DELIVERED, reply(250, "2.0.0", "ok")),
                    (Action.RELAYED, reply(250, "2.0.0", "ok")),
                ):
                    block = told(
                        recipient=address, action=action, reply=said, orcpt="utf-8;\\x{FC}@x"
                    )
                    found = read_dsn(compose_dsn(report(block, envid="e", return_full=full)))
                    self.assertEqual((found.reporting_mta, found.envid), ("mail.example.org", "e"))
                    self.assertEqual(found.original_message_id, "<o@example.org>")
                    [one] = found.recipients
                    self.assertEqual((one.final, one.original), (address, Address("ü", "x")))
                    self.assertEqual(one.action, action.value)
                    self.assertEqual(code_of(one), (said.code, str(said.status)))

    def test_encoded(self) -> None:
        """Fields in base64, lines ended by LF within, are read."""
        encoded = b64encode(b"Reporting-MTA: dns; x\n\nAction: FAILED (y)\nStatus: 5.1.1 (z)\n")
        content = crlf(
            "Content-Type: multipart/report; boundary=b\n\n--b\n\ntext\n--b\n"
            "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: base64\n\n"
            f"{encoded.decode()}\n--b--\n"
        )
        [one] = read_dsn(content).recipients
        self.assertEqual((one.action, one.status), ("failed", "5.1.1"))

    def test_what_is_no_dsn(self) -> None:
        """Neither type nor order are guessed at."""
        good = dsn("Reporting-MTA: dns; x", "Action: failed")
        self.assertIsNotNone(read_report(good))
        for old, new in (
            (b"multipart/report", b"multipart/mixed"),
            (b"message/delivery-status", b"text/plain"),
            (b"--b\r\n\r\ntext\r\n", b""),
        ):
            self.assertIsNone(read_report(good.replace(old, new)))
        self.assertIsNone(read_report(b""))

    def test_what_is_missing(self) -> None:
        """Absent and malformed fields are empty."""
        found = read_dsn(dsn(""))
        self.assertEqual(found, DeliveryReport("", "", (), ""))
        found = read_dsn(dsn("Final-Recipient: junk\nAction:\nStatus: x"))
        self.assertEqual(found.recipients, (ReportedRecipient(None, None, "", "x", "", "", ""),))

    def test_returned_message(self) -> None:
        """Its Message-ID is read from any of the forms in which it is returned."""
        for type_ in (
            "message/rfc822",
            "message/global",
            "text/rfc822-headers",
            "message/global-headers",
        ):
            third = f"--b\nContent-Type: {type_}\n\nMessage-ID: <a@b>\n\nx\n"
            self.assertEqual(read_dsn(dsn("A: b", third=third)).original_message_id, "<a@b>")
        third = third.replace("message/global-headers", "text/plain")
        self.assertEqual(read_dsn(dsn("A: b", third=third)).original_message_id, "")
        for wide in ("A: " + "x" * 300_000, "A: 1\n" * 2000):
            third = f"--b\nContent-Type: message/rfc822\n\n{wide}\nMessage-ID: <a@b>\n\n"
            self.assertEqual(read_dsn(dsn("A: b", third=third)).original_message_id, "")

    def test_addresses(self) -> None:
        """Code points are read in utf-8 addresses; what is none stays, and is no address."""
        for text, expected in (
            ("utf-8; \\x{FC}@x", Address("ü", "x")),
            ("rfc822; <a@x>", Address("a", "x")),
            ("a@x", Address("a", "x")),
            ("utf-8; \\x{D800}@x", None),
            ("utf-8; \\x{FFFFFF}@x", None),
        ):
            with self.subTest(text):
                [one] = read_dsn(dsn("A: b", f"Final-Recipient: {text}")).recipients
                self.assertEqual(one.final, expected)

    def test_bounds(self) -> None:
        """Of blocks without end some are read, and wide ones none."""
        found = read_dsn(dsn(*["Action: failed"] * 3000))
        self.assertEqual(len(found.recipients), MAX_BLOCKS)
        found = read_dsn(dsn("A: b", "Action: failed\nB: " + "x" * 300_000, "Action: delayed"))
        self.assertEqual([one.action for one in found.recipients], ["delayed"])


class CodeTests(SynchronousTestCase):
    """code_of."""

    def test_each(self) -> None:
        """The reply counts before the status, in one line or in many."""
        for diagnostic, status, expected in (
            ("smtp; 550 5.1.1 no such user", "5.0.0", (550, "5.1.1")),
            ("SMTP;550-5.1.1 no 550 5.1.1 such", "", (550, "5.1.1")),
            ("smtp; 550 #5.1.0 Address rejected", "", (550, "5.1.0")),
            ("smtp; 554 rejected", "5.7.1", (554, "5.7.1")),
            ("smtp; 554-rejected", "4.7.1", (554, "")),
            ("smtp; 421 5.7.1 odd", "4.3.2", (421, "4.3.2")),
            ("smtp; 550", "", (550, "")),
            ("smtp; 250 2.1.5 ok", "2.0.0", (250, "2.1.5")),
            ("smtp; 5501 x", "5.1.2", (500, "5.1.2")),
            ("smtp; 999 x", "4.1.2", (400, "4.1.2")),
            ("smtp; 550 5.1.1234 x", "", (550, "")),
            ("smtp; 550 5.1.1.1 x", "", (550, "")),
            ("x-unix; 550 5.1.1", "5.2.2", (500, "5.2.2")),
            ("550 5.1.1", "5.2.2", (500, "5.2.2")),
            ("", "4.2.2 (full)", (400, "4.2.2")),
            ("", "2.0.0", (0, "")),
            ("", "5.1", (0, "")),
            ("", "", (0, "")),
            (f"smtp; {'5' * 5000}", "9" * 5000, (0, "")),
        ):
            with self.subTest(diagnostic=diagnostic, status=status):
                self.assertEqual(code_of(recipient(diagnostic, status)), expected)

    @given(st.text("smtp;0123456789.- #", max_size=20), st.text("0123456789. ", max_size=10))
    def test_any_text(self, diagnostic: str, status: str) -> None:
        """No code is outside 200 to 599, and its enhanced status agrees."""
        code, enhanced = code_of(recipient(diagnostic, status))
        self.assertTrue(code == 0 or 200 <= code <= 599)
        self.assertTrue(not enhanced or enhanced[0] == str(code)[0])


class FeedbackReportTests(SynchronousTestCase):
    """Feedback reports."""

    def test_complaint(self) -> None:
        """Every field."""
        self.assertEqual(
            read_report(crlf(COMPLAINT)),
            FeedbackReport(
                feedback_type="abuse",
                mail_from=SENDER,
                recipients=(Address("u", "example.net"), Address("v", "example.net")),
                arrival_date=datetime(2026, 11, 21, 9, 8, 18, tzinfo=UTC),
                original_message_id="<o@example.org>",
                user_agent="SomeGenerator/1.0",
            ),
        )

    def test_what_names_the_message(self) -> None:
        """Its ENVID, and the return path that its receiver noted; no more than is bounded."""
        fields = "Feedback-Type: ABUSE\nOriginal-Envelope-Id: QQ1\nUser-Agent: " + "\x1bx" * 300
        fields += "\nOriginal-Rcpt-To: u@example.net" * 150
        third = "--b\nContent-Type: text/rfc822-headers\n\nReturn-Path: <s+id@example.org>\n\n"
        content = dsn(fields, type_="message/feedback-report", third=third)
        found = read_report(content)
        assert isinstance(found, FeedbackReport)
        self.assertEqual((found.feedback_type, found.envid), ("abuse", "QQ1"))
        self.assertEqual(found.return_path, Address("s+id", "example.org"))
        self.assertEqual(len(found.recipients), MAX_REPORTED)
        self.assertEqual(len(found.user_agent), MAX_AGENT_CHARACTERS)
        self.assertTrue(found.user_agent.isprintable())

    def test_what_is_missing(self) -> None:
        """Absent and malformed fields are empty; the older name of the date is read."""
        content = dsn("", type_="message/feedback-report")
        self.assertEqual(read_report(content), FeedbackReport("", None, (), None, ""))
        content = dsn(
            "Received-Date: Sat, 21 Nov 2026 09:08:18 +0000\nOriginal-Rcpt-To: x",
            type_="message/feedback-report",
        )
        found = read_report(content)
        assert isinstance(found, FeedbackReport)
        self.assertEqual(found.recipients, ())
        self.assertIsNotNone(found.arrival_date)


class RoundTripTests(SynchronousTestCase):
    """Many recipients at once."""

    def test_in_order(self) -> None:
        """Blocks are read in their order."""
        blocks = [
            RecipientReport(
                Address(f"u{n}", "example.net"),
                Action.FAILED,
                reply(550, f"5.1.{n}", "x"),
                None,
                "h",
            )
            for n in range(50)
        ]
        found = read_dsn(compose_dsn(report(*blocks)))
        self.assertEqual(
            [code_of(one) for one in found.recipients], [(550, f"5.1.{n}") for n in range(50)]
        )
