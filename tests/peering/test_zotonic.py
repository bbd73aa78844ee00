"""Zotonic's protocol: what is read of a peer's literal bytes, and what is written."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.peering.zotonic import (
    Malformed,
    Report,
    ReportType,
    block_body,
    error_body,
    is_secret,
    queued_body,
    read_block_request,
    read_relay_request,
    read_report,
    relay_body,
    report_body,
    scrubbed,
    status_text,
    with_secret,
)
from mailrelay.smtp.reply import reply
from tests.peering import zotonic_peer as peer


class ReadingTests(SynchronousTestCase):
    """Requests of a site."""

    def test_message(self) -> None:
        """All four fields, the message as the text that it is."""
        read = read_relay_request(peer.RELAY)
        self.assertEqual(read.message_nr, peer.NR)
        self.assertEqual(read.recipient, "Rita Receiver <rita@remote.test>")
        self.assertEqual(read.webhook_url, "https://site.test/api/model/email_relay/post/status")
        self.assertTrue(read.email.startswith("Subject: Gr\u00fc\u00dfe\r\nFrom: ".encode()))
        self.assertTrue(read.email.endswith(b"\r\n\r\nHello =3D world\r\n"))

    def test_least(self) -> None:
        """Number and URL may be missing, and null is missing too."""
        for body in (
            b'{"recipient":"a@b.test","email":"x"}',
            b'{"recipient":"a@b.test","email":"x","message_nr":null,"webhook_url":""}',
        ):
            read = read_relay_request(body)
            self.assertEqual((read.message_nr, read.webhook_url), ("", ""))

    def test_malformed(self) -> None:
        """What is wrong is named."""
        for body, field in (
            (b"", "the body"),
            (b"s=1&recipient=x", "the body"),
            (b"[1]", "the body"),
            (b"[" * 5000, "the body"),
            (b'{"recipient":"\xff"}', "the body"),
            (b'{"recipient":"a@b.test","email":"\\ud800"}', "the body"),
            (b'{"recipient":"a@b.test"}', "email"),
            (b'{"recipient":"a@b.test","email":""}', "email"),
            (b'{"recipient":"a@b.test","email":{"a":1}}', "email"),
            (b'{"email":"x"}', "recipient"),
            (b'{"recipient":"","email":"x"}', "recipient"),
            (b'{"recipient":"a@b.test\\r\\nX: y","email":"x"}', "recipient"),
            (b'{"recipient":"a@b.test\\u0000","email":"x"}', "recipient"),
            (b'{"recipient":["a@b.test"],"email":"x"}', "recipient"),
            (b'{"recipient":"' + b"a" * 1001 + b'","email":"x"}', "recipient"),
            (b'{"recipient":"a@b","email":"x","message_nr":"a\\nb"}', "message_nr"),
            (b'{"recipient":"a@b","email":"x","message_nr":"' + b"a" * 101 + b'"}', "message_nr"),
            (b'{"recipient":"a@b","email":"x","message_nr":7}', "message_nr"),
            (b'{"recipient":"a@b","email":"x","webhook_url":"h\\u2028"}', "webhook_url"),
        ):
            with self.assertRaises(Malformed, msg=body[:60]) as caught:
                read_relay_request(body)
            self.assertEqual(caught.exception.field, field, body[:60])

    def test_block(self) -> None:
        """Blocked, and not."""
        self.assertTrue(read_block_request(peer.BLOCK).is_blocked)
        self.assertFalse(read_block_request(peer.UNBLOCK).is_blocked)
        for body, field in (
            (b'{"recipient":"a@b.test"}', "is_blocked"),
            (b'{"recipient":"a@b.test","is_blocked":"false"}', "is_blocked"),
            (b'{"is_blocked":true}', "recipient"),
        ):
            with self.assertRaises(Malformed) as caught:
                read_block_request(body)
            self.assertEqual(caught.exception.field, field)

    def test_reports(self) -> None:
        """The types of the table; what is unknown is a temporary failure."""
        for type_, meant in (
            (b"sent", ReportType.RELAYED),
            (b"relayed", ReportType.RELAYED),
            (b"received", ReportType.RELAYED),
            (b"temporary_failure", ReportType.TEMPORARY_FAILURE),
            (b"permanent_failure", ReportType.PERMANENT_FAILURE),
            (b"eaten", ReportType.TEMPORARY_FAILURE),
        ):
            read = read_report(peer.report(type_, b"7@here.test"))
            self.assertEqual((read.type, read.message_nr, read.status), (meant, "7@here.test", ""))
        read = read_report(peer.report(b"permanent_failure", b"7@here.test", b"550 no\\r\\nX: y"))
        self.assertEqual(read.status, "550 no??X: y")

    def test_malformed_reports(self) -> None:
        """What is wrong is named."""
        for body, field in (
            (b'{"type":"other","report":{}}', "type"),
            (b'{"type":"delivery_report"}', "report"),
            (b'{"type":"delivery_report","report":{"message_nr":"1@a","recipient":"x"}}', "type"),
            (b'{"type":"delivery_report","report":{"type":"sent","recipient":"x"}}', "message_nr"),
            (b'{"type":"delivery_report","report":{"type":"sent","message_nr":"1"}}', "recipient"),
        ):
            with self.assertRaises(Malformed) as caught:
                read_report(body)
            self.assertEqual(caught.exception.field, field)


class WritingTests(SynchronousTestCase):
    """What a site reads, as the tables have it."""

    def test_request(self) -> None:
        """The four fields, the message as text."""
        body = relay_body(
            "7@here.test", "a@b.test", "Subject: \u00fc\r\n\r\n", "https://here.test/x"
        )
        self.assertEqual(
            json.loads(body),
            {
                "message_nr": "7@here.test",
                "recipient": "a@b.test",
                "email": "Subject: \u00fc\r\n\r\n",
                "webhook_url": "https://here.test/x",
            },
        )
        self.assertEqual(
            block_body("a@b.test", is_blocked=False), peer.UNBLOCK.replace(b"rita@remote", b"a@b")
        )

    def test_answers(self) -> None:
        """The receipt begins as theirs does."""
        for is_again, word in ((False, ""), (True, "already ")):
            told = json.loads(queued_body(7, "a@b.test", is_again=is_again))
            self.assertEqual(told["status"], "ok")
            self.assertEqual(told["result"]["receipt"], f"200 [RELAY] Message {word}queued as 7")
            self.assertEqual(
                (told["result"]["to"], told["result"]["message_nr"]), ("a@b.test", "7")
            )
        self.assertEqual(error_body("eacces"), peer.EACCES)

    def test_report(self) -> None:
        """Type, number, recipient, and a status only when there is one."""
        failed = Report(ReportType.PERMANENT_FAILURE, peer.NR, "rita@remote.test", "550 5.1.1 no")
        self.assertEqual(
            json.loads(report_body(failed)),
            json.loads(peer.report(b"permanent_failure", peer.NR.encode(), b"550 5.1.1 no")),
        )
        relayed = Report(ReportType.RELAYED, peer.NR, "rita@remote.test")
        self.assertEqual(
            json.loads(report_body(relayed)), json.loads(peer.report(b"relayed", peer.NR.encode()))
        )

    def test_status(self) -> None:
        """The reply's code comes first, by which a site knows an unknown mailbox; one line."""
        told = status_text(reply(550, "5.1.1", "no such\nuser\x07here"))
        self.assertEqual(told, "550 5.1.1 no such user?here")
        self.assertLessEqual(len(status_text(reply(550, "5.1.1", "x" * 9000))), 500)


class SecretTests(SynchronousTestCase):
    """The secret in the query."""

    def test_in_query(self) -> None:
        """It is encoded; the URL may have a query already."""
        url = "https://site.test/x"
        self.assertEqual(with_secret(url, peer.SECRET), f"{url}?s={peer.SECRET_IN_QUERY}")
        self.assertEqual(with_secret(f"{url}?a=b", b"k"), f"{url}?a=b&s=k")

    def test_compared(self) -> None:
        """One value, and that; an empty secret opens nothing."""
        self.assertTrue(is_secret([peer.SECRET.decode()], peer.SECRET))
        for given in ([], [""], ["open"], [peer.SECRET.decode()] * 2, ["\u00fc"]):
            self.assertFalse(is_secret(given, peer.SECRET), given)
        self.assertFalse(is_secret([""], b""))

    def test_scrubbed(self) -> None:
        """However it is written, it is not told."""
        for text in (
            peer.SECRET.decode(),
            f"POST /x?s={peer.SECRET_IN_QUERY} failed",
            "?s=other&b",
        ):
            told = scrubbed(f"it was {text}", [peer.SECRET, b""])
            self.assertNotIn("sesame", told)
            self.assertNotIn("other", told)
