"""Whom a message is for, and whom it is from, when the caller says little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.handoff.discovery import NamedBy, Unreadable, recipients_of, sender_of
from mailrelay.message.header import parse_header
from mailrelay.smtp.address import Address
from mailrelay.web.headers import Headers

TRACE = "Received: from x by y with ESMTP id 1\r\n\tfor <%s>; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
TO = "To: A <a@ours.test>, b@far.test\r\nCc: c@ours.test, a@ours.test\r\n"


def is_ours(address: Address) -> bool:
    """One domain is."""
    return address.domain == "ours.test"


def found(
    header: str,
    *fields: tuple[str, str],
    query: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], NamedBy]:
    """Who is found, and by what."""
    parsed = parse_header(header.encode() + b"\r\n")
    recipients = recipients_of(Headers(fields), query or {}, parsed, is_ours)
    return [str(one) for one in recipients.addresses], recipients.by


class RecipientTests(SynchronousTestCase):
    """recipients_of: the first source that names somebody wins."""

    def test_request(self) -> None:
        """A header for each, percent-encoded as mailrelay-post has it; the query; once each."""
        name = "x-mailrelay-rcpt-to"
        fields = [(name, "a@ours.test"), (name, '"c%20d"@ours.test'), (name, "a@ours.test")]
        header = f"Delivered-To: d@ours.test\r\n{TO}"
        expected = ["a@ours.test", '"c d"@ours.test', "e%41@ours.test"]
        query = {"rcpt": ["e%41@ours.test"]}
        self.assertEqual(found(header, *fields), (expected[:2], NamedBy.REQUEST))
        self.assertEqual(found(header, query=query), (expected[2:], NamedBy.REQUEST))
        umlaut = found(header, (name, "%C3%BC@ours.test"))
        self.assertEqual(umlaut, (["ü@ours.test"], NamedBy.REQUEST))
        foreign = found(header, (name, "x@far.test"))
        self.assertEqual(foreign, (["x@far.test"], NamedBy.REQUEST))

    def test_unreadable_request(self) -> None:
        """What is no address is not passed over."""
        for text in ("", "a", "a@b@c", "a%0D%0A@ours.test", "%FF@ours.test", "a" * 2000, "@"):
            with self.assertRaises(Unreadable, msg=text):
                found(TO, ("x-mailrelay-rcpt-to", text))

    def test_header_of_the_mail_server(self) -> None:
        """Delivered-To, X-Original-To, Envelope-To: the topmost of each."""
        for name in ("Delivered-To", "X-Original-To", "Envelope-To"):
            header = f"{name}: d@ours.test\r\n{name}: e@ours.test\r\n{TRACE % 'f@ours.test'}{TO}"
            self.assertEqual(found(header), (["d@ours.test"], NamedBy.DELIVERED_TO))

    def test_trace(self) -> None:
        """The topmost Received, when it says for whom it was."""
        header = TRACE % "f@ours.test" + TRACE % "g@ours.test" + TO
        self.assertEqual(found(header), (["f@ours.test"], NamedBy.RECEIVED))
        header = "Received: from x by y; now\r\n" + TRACE % "g@ours.test" + TO
        self.assertEqual(found(header)[1], NamedBy.AUTHOR)

    def test_author(self) -> None:
        """To and Cc, those of ours."""
        self.assertEqual(found(TO), (["a@ours.test", "c@ours.test"], NamedBy.AUTHOR))

    def test_foreign_is_passed_over(self) -> None:
        """What another server wrote, or the author, names nobody who is not ours."""
        header = f"Delivered-To: x@far.test\r\n{TRACE % 'y@far.test'}{TO}"
        self.assertEqual(found(header), (["a@ours.test", "c@ours.test"], NamedBy.AUTHOR))
        self.assertEqual(found("Delivered-To: x@far.test\r\n"), ([], NamedBy.NOBODY))


class SenderTests(SynchronousTestCase):
    """sender_of."""

    def sender(self, header: str, *fields: tuple[str, str], query: str | None = None) -> str | None:
        """The reverse-path."""
        parsed = parse_header(header.encode() + b"\r\n")
        asked = {} if query is None else {"sender": [query]}
        found = sender_of(Headers(fields), asked, parsed)
        return None if found is None else str(found)

    def test_order(self) -> None:
        """The request, Return-Path, From; an empty one is the null one."""
        header = "Return-Path: <r@far.test>\r\nFrom: F <f@far.test>\r\n"
        name = "x-mailrelay-mail-from"
        self.assertEqual(
            self.sender(header, (name, "s@far.test"), query="q@far.test"), "s@far.test"
        )
        self.assertEqual(self.sender(header, query="q@far.test"), "q@far.test")
        self.assertEqual(self.sender(header), "r@far.test")
        self.assertEqual(self.sender("From: F <f@far.test>\r\n"), "f@far.test")
        self.assertIsNone(self.sender(header, (name, "")))
        self.assertIsNone(self.sender(header, query="<>"))
        self.assertIsNone(self.sender("Return-Path: <>\r\nFrom: f@far.test\r\n"))
        self.assertIsNone(self.sender("Subject: x\r\n"))
        with self.assertRaises(Unreadable):
            self.sender(header, (name, "nobody"))
