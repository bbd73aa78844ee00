"""``mailrelay report``: reports come by mail, and are shown."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated
from tests.reporting.samples import OFFICE, TLS, WEBMAIL, letter, packed, zipped

FEEDBACK = b"""\
From: <fbl@webmail.example>\r
Message-ID: <1@webmail.example>\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r
\r
--b\r
Content-Type: text/plain\r
\r
An abuse report.\r
--b\r
Content-Type: message/feedback-report\r
\r
Feedback-Type: abuse\r
User-Agent: SomeLoop/1.0\r
Original-Mail-From: <user@example.org>\r
\r
--b\r
Content-Type: message/rfc822\r
\r
Message-ID: <2@example.org>\r
\r
offer\r
--b--"""


async def listed(operated: Operated, count: int, *command: str) -> list[dict[str, Any]]:
    """What a command lists, once there is so much."""

    def found() -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = operated.json(*command)
        return rows if len(rows) >= count else None

    rows: list[dict[str, Any]] = await operated.until(found)
    return rows


class ReportTests(TestCase):
    """Each command."""

    timeout = 120

    async def start(self, *mails: tuple[str, bytes]) -> Operated:
        """A server that got ``mails``."""
        operated = await Operated.start(self, reactor)
        for to, body in mails:
            await operated.accept(to, body=body.removesuffix(b"\r\n"))
        return operated

    async def found(self, operated: Operated, count: int) -> list[dict[str, Any]]:
        """What is listed, once there are so many."""
        return await listed(operated, count, "report", "list")

    async def test_shown(self) -> None:
        """Three kinds, in a list, one by one, and summed up."""
        office = zipped(OFFICE)
        operated = await self.start(
            ("dmarc-reports@example.org", letter(packed(WEBMAIL))),
            ("DMARC-Reports@example.org", letter(office, "application/zip")),
            ("tls-reports@example.org", letter(packed(TLS), "application/tlsrpt+gzip", "tlsrpt")),
            ("user@example.org", FEEDBACK),
        )
        rows = await self.found(operated, 4)
        by = {row["organization"]: row for row in rows if row["kind"] == "dmarc"}
        webmail = by["webmail.example"]
        self.assertEqual(
            (webmail["passed"], webmail["failed"], webmail["verified"]), (42, 3, False)
        )
        self.assertEqual((webmail["source"], webmail["domain"]), ("webmail.example", "example.org"))
        said = operated.run("report", "show", str(webmail["id"])).stdout
        for text in ("p=quarantine", "192.0.2.10", "2001:db8::25", "arc=pass", "r20260101"):
            self.assertIn(text, said)
        whole = operated.json("report", "show", str(webmail["id"]))
        self.assertEqual(len(whole["report"]["rows"]), 2)
        kinds = {row["kind"]: str(row["id"]) for row in rows}
        said = operated.run("report", "show", kinds["tls"]).stdout
        for text in ("sts", "certificate-expired", "454 4.7.0"):
            self.assertIn(text, said)
        said = operated.run("report", "show", kinds["feedback"]).stdout
        for text in ("abuse", "SomeLoop/1.0", "user@example.org", "<2@example.org>"):
            self.assertIn(text, said)
        self.assertIn("Office Example", operated.run("report", "list", "--kind", "dmarc").stdout)
        for option in (("--domain", "example.net"), ("--verified",), ("--since", "2999-01-01")):
            self.assertIn("No reports", operated.run("report", "list", *option).stdout)
        self.assertEqual(len(operated.json("report", "list", "--limit", "1")), 1)
        operated.run("report", "show", "999999", code=1)
        kept = await listed(operated, 4, "message", "list", "--account", "user")
        self.assertEqual(sorted(one["mailbox"] for one in kept), ["Inbox", *["Reports"] * 3])
        self.summed_up(operated)

    def summed_up(self, operated: Operated) -> None:
        """Who sends in the domain's name, the most first."""
        found = operated.json("report", "summary", "example.org")
        told = {name: found[name] for name in ("messages", "aligned", "tls_sessions", "tls_failed")}
        self.assertEqual(told, {"messages": 46, "aligned": 42, "tls_sessions": 61, "tls_failed": 3})
        first, second, third = found["sources"]
        self.assertEqual(
            (first["source"], first["messages"], first["aligned"]), ("192.0.2.10", 42, 42)
        )
        self.assertEqual(
            (second["source"], second["told_by"]), ("2001:db8::25", ["webmail.example"])
        )
        self.assertEqual(
            (third["source"], third["dispositions"]), ("203.0.113.9", ["quarantine 1"])
        )
        self.assertEqual(found["tls_failures"][0]["why"], "certificate-expired")
        said = operated.run("report", "summary", "EXAMPLE.org").stdout
        for text in ("192.0.2.10", "none 42", "starttls-not-supported"):
            self.assertIn(text, said)
        said = operated.run("report", "summary", "example.net").stdout
        self.assertIn("No mail in its name was reported.", said)
        operated.run("report", "summary", "not a domain", code=1)
        self.assertIn("No reports", operated.run("report", "sent").stdout)

    async def test_other_mail(self) -> None:
        """What brings no report, or one of a domain that is not ours, is mail like any other."""
        foreign = WEBMAIL.replace(b">example.org<", b">a.test<")
        operated = await self.start(
            ("dmarc-reports@example.org", b"Subject: hello\r\n\r\nhi"),
            (
                "dmarc-reports@example.org",
                letter(packed(foreign)),
            ),
            ("dmarc-reports@example.org", letter(packed(WEBMAIL)[:300])),
            ("user@example.org", letter(packed(WEBMAIL))),
        )
        kept = await listed(operated, 4, "message", "list", "--account", "user")
        self.assertEqual({one["mailbox"] for one in kept}, {"Inbox"})
        self.assertIn("No reports", operated.run("report", "list").stdout)
        metrics = operated.server.server.metrics.text().decode()
        self.assertIn('mailrelay_reports_total{kind="dmarc",result="unreadable"} 2.0', metrics)
        self.assertIn('mailrelay_reports_total{kind="dmarc",result="foreign"} 1.0', metrics)
