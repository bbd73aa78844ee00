"""A received message, as our API and signed calls tell it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.policy.file_links import PATH, PURPOSE, File, FileLinks, MalformedPath, path_of
from mailrelay.policy.links import Links
from mailrelay.webhooks.received import Kept, ReceivedMail, received_mail

LINKS = FileLinks(Links(b"secret", PURPOSE), "https://m.example.org", 100.0)
NOW = 1000.0


def told(content: bytes, most_text_bytes: int = 100, **kept: Any) -> ReceivedMail:
    """``content``, as it is told."""
    plain = Kept(7, 2, "Inbox", [], 50.0, len(content), "a@x.example", "b@y.example", None)
    return received_mail(content, evolve(plain, **kept), LINKS, NOW, most_text_bytes)


class ReceivedMailTests(SynchronousTestCase):
    """received_mail."""

    def test_truncated(self) -> None:
        """Where text, HTML or bytes are missing, and nowhere else."""
        for content, text, is_truncated in (
            (b"\r\n" + b"x" * 100, "x" * 100, False),
            (b"\r\n" + b"x" * 101, "x" * 100, True),
            (b"\r\n" + "ü".encode() * 50, "ü" * 50, False),
            (b"\r\n" + b"x" + "ü".encode() * 50, "x" + "ü" * 49, True),
        ):
            found = told(content)
            self.assertEqual((found.text, found.is_truncated), (text, is_truncated))
        self.assertTrue(told(b"\r\nx", size_bytes=4).is_truncated)

    def test_attachment_alone(self) -> None:
        """A message that is a file has it at the empty path."""
        [one] = told(b"Content-Type: application/pdf; name=x.pdf\r\n\r\nx").attachments
        self.assertEqual((one.path, one.filename), ("", "x.pdf"))
        token = one.url.removeprefix("https://m.example.org" + PATH)
        self.assertEqual(LINKS.read(token, NOW + 99.0), File(2, 7, []))
        self.assertIsNone(LINKS.read(token, NOW + 100.0))

    def test_two_parts_alike(self) -> None:
        """Of two equal texts the first is the text, and the second is not lost."""
        part = b"--b\r\nContent-Type: text/plain\r\n\r\nsame\r\n"
        found = told(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part + part + b"--b--")
        self.assertEqual(found.text, "same")
        self.assertEqual([one.path for one in found.attachments], ["1"])

    def test_automated(self) -> None:
        """A bounce and a list are; a copy of what was sent has no envelope, and is not."""
        for content, sender, recipient, is_automated in (
            (b"\r\n", "", "b@y.example", True),
            (b"List-Id: <x>\r\n\r\n", "a@x.example", "b@y.example", True),
            (b"\r\n", "a@x.example", "b@y.example", False),
            (b"\r\n", "", "", False),
        ):
            found = told(content, sender=sender, recipient=recipient)
            self.assertIs(found.is_automated, is_automated)

    def test_header_too_large(self) -> None:
        """It is told as none."""
        found = told(b"X: y\r\n" * 1001 + b"\r\nx")
        self.assertEqual((found.headers, found.subject), ([], ""))


class PathTests(SynchronousTestCase):
    """path_of."""

    def test_paths(self) -> None:
        """Positions with dots between them."""
        for text, path in (("", []), ("0", [0]), ("0.12.3", [0, 12, 3])):
            self.assertEqual(path_of(text), path)
        for wrong in (".", "0.", "-1", "a", "1e3", "0.00000", "\u0661"):
            self.assertRaises(MalformedPath, path_of, wrong)
