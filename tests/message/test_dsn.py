"""DSNs, read back with the standard library's parser."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.message.dsn import (
    MAX_RETURNED_BYTES,
    Action,
    RecipientReport,
    Report,
    compose_dsn,
)
from mailrelay.smtp.address import Address
from mailrelay.smtp.reader import has_bare
from mailrelay.smtp.reply import Reply, reply
from tests.smtp.strategies import addresses, replies

AS_IT_IS = policy.default.clone(refold_source="none")
SENDER = Address("s", "example.org")
USER = Address("u", "example.net")
ORIGINAL = b"Subject: hello\r\nMessage-ID: <o@example.org>\r\n\r\nbody\r\n"
REFUSED = reply(550, "5.1.1", "no such\nuser")


def told(**changes: Any) -> RecipientReport:
    """A recipient that failed at a host."""
    given: dict[str, Any] = {
        "recipient": USER,
        "action": Action.FAILED,
        "reply": REFUSED,
        "remote_host": "mx.example.net",
        "last_attempt_at": 5000.0,
    }
    return RecipientReport(**given | changes)


def report(*recipients: RecipientReport, **changes: Any) -> Report:
    """A report on ``recipients``."""
    given: dict[str, Any] = {
        "reporting_mta": "mail.example.org",
        "reverse_path": SENDER,
        "message_id": "<77.dsn.1@mail.example.org>",
        "boundary": "0f" * 16,
        "original_message_id": "<o@example.org>",
        "envid": None,
        "arrival_at": 1000.0,
        "now": 6000.0,
        "recipients": recipients or (told(),),
        "original": ORIGINAL,
        "original_size_bytes": len(ORIGINAL),
    }
    return Report(**given | changes)


def parts_of(dsn: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    """The message and its three parts."""
    message = message_from_bytes(dsn, policy=AS_IT_IS)
    assert isinstance(message, EmailMessage)
    return message, list(message.iter_parts())  # type: ignore[arg-type]


def blocks_of(status: Message) -> list[dict[str, str]]:
    """The per-message block and those of the recipients, from the raw part."""
    lines = status.as_bytes().split(b"\n\n", 1)[1].decode().replace("\r", "")
    return [
        dict(line.split(": ", 1) for line in block.strip().split("\n"))
        for block in lines.strip().split("\n\n")
    ]


class FieldTests(SynchronousTestCase):
    """The fields of RFC 3464."""

    def test_structure(self) -> None:
        """Text, status and the original's header, in a multipart/report to the sender."""
        message, [text, status, original] = parts_of(compose_dsn(report()))
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message["To"], "s@example.org")
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["References"], "<o@example.org>")
        self.assertEqual(message["Message-ID"], "<77.dsn.1@mail.example.org>")
        self.assertEqual(parsedate_to_datetime(message["Date"]).timestamp(), 6000)
        self.assertEqual(message.defects, [])
        types = [part.get_content_type() for part in (text, status, original)]
        self.assertEqual(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"])
        self.assertIn("mx.example.net said: 550 5.1.1 no such user", text.get_content())
        self.assertNotIn(b"body", compose_dsn(report()).split(b"rfc822-headers")[1])

    def test_per_message_fields(self) -> None:
        """Reporting-MTA, the envelope id as the sender gave it, the arrival (section 2.2)."""
        _, parts = parts_of(compose_dsn(report(envid="my id")))
        fields = blocks_of(parts[1])[0]
        self.assertEqual(
            fields,
            {
                "Reporting-MTA": "dns; mail.example.org",
                "Original-Envelope-Id": "my id",
                "Arrival-Date": "Thu, 01 Jan 1970 00:16:40 +0000",
            },
        )

    def test_per_recipient_fields(self) -> None:
        """Each recipient has its block with what is known of it (section 2.3)."""
        other = told(recipient=Address("v", "example.net"), orcpt="rfc822;old@example.net")
        _, parts = parts_of(compose_dsn(report(told(), other)))
        _, first, second = blocks_of(parts[1])
        self.assertEqual(
            first,
            {
                "Final-Recipient": "rfc822; u@example.net",
                "Action": "failed",
                "Status": "5.1.1",
                "Remote-MTA": "dns; mx.example.net",
                "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
                "Last-Attempt-Date": "Thu, 01 Jan 1970 01:23:20 +0000",
            },
        )
        self.assertEqual(second["Original-Recipient"], "rfc822;old@example.net")
        self.assertEqual(next(iter(second)), "Original-Recipient")

    def test_no_remote_host(self) -> None:
        """What no host said is no diagnostic of one."""
        _, parts = parts_of(compose_dsn(report(told(remote_host=None, last_attempt_at=None))))
        fields = blocks_of(parts[1])[1]
        self.assertEqual(list(fields), ["Final-Recipient", "Action", "Status"])

    def test_delay(self) -> None:
        """A delay says until when we try, in its field and, with the next attempt, in its text."""
        delayed = told(
            action=Action.DELAYED, reply=reply(451, "4.7.1", "later"), will_retry_until=433000.0
        )
        _, [text, status, _] = parts_of(compose_dsn(report(delayed, next_attempt_at=9000.0)))
        fields = blocks_of(status)[1]
        self.assertEqual((fields["Action"], fields["Status"]), ("delayed", "4.7.1"))
        self.assertEqual(fields["Will-Retry-Until"], "Tue, 06 Jan 1970 00:16:40 +0000")
        self.assertIn("next attempt is at Thu, 01 Jan 1970 02:30:00 +0000", text.get_content())
        self.assertIn("give up at Tue, 06 Jan 1970 00:16:40 +0000", text.get_content())

    def test_delay_of_unknown_length(self) -> None:
        """Times that are not known are not told."""
        delayed = told(action=Action.DELAYED, reply=Reply(451, "later"))
        for changes, said in (({}, False), ({"next_attempt_at": 9000.0}, True)):
            _, [text, _, _] = parts_of(compose_dsn(report(delayed, **changes)))
            self.assertEqual("next attempt" in text.get_content(), said)
            self.assertNotIn("give up", text.get_content())

    def test_final_outcome_has_no_retry(self) -> None:
        """Will-Retry-Until belongs to delays only (section 2.3.9)."""
        dsn = compose_dsn(report(told(will_retry_until=1.0)))
        self.assertNotIn(b"Will-Retry-Until", dsn)

    def test_status_fits_the_action(self) -> None:
        """A reply without a status, or with one of another class, gets the action's own."""
        for action, answer, status in (
            (Action.FAILED, Reply(550, "no"), "5.0.0"),
            (Action.FAILED, reply(451, "4.4.1", "expired"), "5.4.7"),
            (Action.DELAYED, Reply(451, "later"), "4.0.0"),
            (Action.DELIVERED, reply(250, "2.1.5", "ok"), "2.1.5"),
            (Action.RELAYED, Reply(250, "ok"), "2.0.0"),
            (Action.EXPANDED, Reply(250, "ok"), "2.0.0"),
        ):
            _, parts = parts_of(compose_dsn(report(told(action=action, reply=answer))))
            fields = blocks_of(parts[1])[1]
            self.assertEqual((fields["Action"], fields["Status"]), (action.value, status))


class ReturnedTests(SynchronousTestCase):
    """What of the original comes back."""

    def test_full(self) -> None:
        """RET=FULL returns the message."""
        _, parts = parts_of(compose_dsn(report(return_full=True)))
        self.assertEqual(parts[2].get_content_type(), "message/rfc822")
        inner = parts[2].get_payload(0)
        assert isinstance(inner, Message)
        self.assertEqual((inner["Subject"], inner.get_payload()), ("hello", "body"))

    def test_too_large(self) -> None:
        """What is too large comes back as its header, though all was asked for."""
        dsn = compose_dsn(report(return_full=True, original_size_bytes=MAX_RETURNED_BYTES + 1))
        _, parts = parts_of(dsn)
        self.assertEqual(parts[2].get_content_type(), "text/rfc822-headers")

    def test_without_last_line_end(self) -> None:
        """An original that lacks its last CRLF does not swallow the boundary."""
        message, parts = parts_of(compose_dsn(report(return_full=True, original=b"A: 1\r\n\r\nx")))
        self.assertEqual(len(parts), 3)
        self.assertEqual(message.defects, [])

    def test_eight_bit(self) -> None:
        """Eight-bit content is labelled as such."""
        original = "A: 1\r\n\r\nü\r\n".encode()
        dsn = compose_dsn(report(return_full=True, original=original))
        _, parts = parts_of(dsn)
        self.assertEqual(parts[2]["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(parts[2].get_content_type(), "message/rfc822")


class InternationalTests(SynchronousTestCase):
    """RFC 6533: addresses and headers beyond ASCII."""

    def test_recipient(self) -> None:
        """A recipient beyond ASCII makes the status global and its address utf-8."""
        _, parts = parts_of(
            compose_dsn(report(told(recipient=Address("ü", "example.net")), told()))
        )
        self.assertEqual(parts[1].get_content_type(), "message/global-delivery-status")
        raw = parts[1].as_bytes()
        self.assertIn("Final-Recipient: utf-8; ü@example.net".encode(), raw)
        self.assertIn(b"Final-Recipient: rfc822; u@example.net", raw)

    def test_original(self) -> None:
        """A header beyond ASCII is returned under a global type."""
        original = "Subject: ü\r\n\r\n".encode()
        for full, type_ in ((True, "message/global"), (False, "message/global-headers")):
            _, parts = parts_of(compose_dsn(report(original=original, return_full=full)))
            self.assertEqual(parts[2].get_content_type(), type_)

    def test_status_of_ascii_recipients_is_ascii(self) -> None:
        """A reply beyond ASCII leaves message/delivery-status 7-bit (RFC 3464 section 2.1)."""
        dsn = compose_dsn(report(told(reply=Reply(550, "größe"))))
        status = dsn.split(b"message/delivery-status")[1].split(b"--=_dsn")[0]
        self.assertTrue(status.isascii())
        self.assertIn(b"Diagnostic-Code: smtp; 550 gr??e", status)

    def test_people_read_unicode(self) -> None:
        """In the text, a domain is shown with its U-labels."""
        dsn = compose_dsn(report(told(recipient=Address("u", "xn--mnchen-3ya.example"))))
        self.assertIn("<u@münchen.example>".encode(), dsn)
        self.assertIn(b"rfc822; u@xn--mnchen-3ya.example", dsn)

    def test_foreign_message_id(self) -> None:
        """An original's id beyond ASCII is not repeated in our header."""
        dsn = compose_dsn(report(original_message_id="<ü@x>"))
        self.assertNotIn(b"References", dsn)
        self.assertNotIn(b"References", compose_dsn(report(original_message_id=None)))


class HostileTests(SynchronousTestCase):
    """Whatever peers said, the DSN is well formed."""

    @given(st.data())
    def test_always_well_formed(self, data: st.DataObject) -> None:
        """Any reply and address: canonical lines within 998 bytes, three parts, all blocks."""
        draw = data.draw
        refusals = replies([450, 550])
        recipients = [
            told(
                recipient=draw(addresses),
                reply=draw(refusals),
                orcpt=draw(st.none() | st.just("rfc822;x@y.example")),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        dsn = compose_dsn(report(*recipients, envid=draw(st.none() | st.just("e"))))
        message, parts = parts_of(dsn)
        self.assertEqual((len(parts), message.defects), (3, []))
        self.assertFalse(has_bare(dsn))
        self.assertLessEqual(max(map(len, dsn.split(b"\r\n"))), 998)
        self.assertEqual(len(blocks_of(parts[1])), 1 + len(recipients))

    def test_reply_of_many_long_lines(self) -> None:
        """A reply of 200 lines of four-byte characters stays within one line."""
        long = Reply(550, "\n".join(["\U0001f4e7" * 400] * 200))
        dsn = compose_dsn(report(told(reply=long, remote_host="x." * 120 + "example")))
        self.assertLessEqual(max(map(len, dsn.split(b"\r\n"))), 998)

    def test_header_injection(self) -> None:
        """Line ends in what came from outside add no field."""
        evil = "x\r\nBcc: victim@example.com\r\n\r\nhello"
        dsn = compose_dsn(
            report(
                told(reply=Reply(550, evil), orcpt=f"rfc822;{evil}"),
                envid=evil,
                original_message_id=evil,
            )
        )
        self.assertNotIn(b"\r\nBcc", dsn)
        self.assertNotIn(b"\nBcc", dsn)
