"""``mailrelay message``: what lies in mailboxes, out and in again."""

from __future__ import annotations

import mailbox
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.cli.operated import Operated

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 10_000
TRICKY = b"Subject: tricky\r\n\r\nFrom here\r\n>From there\r\n\r\n8-bit: \xc3\xa9\r\nend"


class MessageTests(TestCase):
    """With two messages in a mailbox: one in a row, one in the spool."""

    timeout = 60

    async def filled(self) -> Operated:
        """A store with the messages LARGE and TRICKY, and a second account; no server."""
        operated = await Operated.start(self, reactor)
        await operated.accept("user@example.org", body=TRICKY)
        await operated.until(lambda: operated.json("message", "list"))
        await operated.accept("user@example.org", body=LARGE)
        await operated.until(lambda: len(operated.json("message", "list")) == 2)
        await operated.stop()
        file = Path(self.mktemp())
        file.write_text("long enough\n")
        operated.run("account", "add", "copy", "--password-file", str(file))
        return operated

    def raw(self, operated: Operated, id_: int) -> bytes:
        """A message as it is stored."""
        return operated.run("message", "show", "--raw", str(id_)).stdout_bytes

    async def test_list_and_show(self) -> None:
        """Messages are listed with filters and shown whole."""
        operated = await self.filled()
        first, second = operated.json("message", "list")
        self.assertEqual((first["subject"], second["subject"]), ("tricky", "large"))
        self.assertEqual((first["account"], first["mailbox"]), ("user", "Inbox"))
        self.assertEqual(operated.json("message", "list", "--account", "copy"), [])
        self.assertEqual(len(operated.json("message", "list", "--limit", "1")), 1)
        [row] = operated.json("message", "list", "--after", str(first["id"]))
        self.assertEqual(row["id"], second["id"])
        self.assertTrue(self.raw(operated, second["id"]).endswith(LARGE + b"\r\n"))
        self.assertEqual(len(self.raw(operated, second["id"])), second["size"])
        shown = operated.run("message", "show", str(first["id"])).stdout
        self.assertIn("Subject: tricky", shown)
        read = operated.json("message", "show", str(first["id"]))
        self.assertEqual(read["header"], [["Subject", "tricky"]])
        self.assertIn("From here", read["text"])
        self.assertEqual((read["size"], read["attachments"]), (first["size"], []))
        missing = operated.run("message", "show", "99", code=1)
        self.assertIn("mailrelay message list", missing.stderr)
        for line in operated.run("message", "list").stdout.splitlines():
            self.assertEqual(line, line.rstrip())
            self.assertNotIn("[", line)

    async def test_mbox_round_trip(self) -> None:
        """What is exported as mbox and imported again is the same, "From " lines too."""
        operated = await self.filled()
        target = Path(self.mktemp())
        operated.run("message", "export", "--account", "user", "--mbox", str(target))
        self.assertEqual(len(mailbox.mbox(target)), 2)
        operated.run("message", "import", "copy", str(target), "--mailbox", "Old")
        self.assert_copied(operated, "Old")

    async def test_maildir_round_trip(self) -> None:
        """What is exported as a Maildir and imported again is the same."""
        operated = await self.filled()
        target = Path(self.mktemp())
        operated.run("message", "export", "--maildir", str(target))
        self.assertEqual(len(mailbox.Maildir(target, create=False)), 2)
        operated.run("message", "import", "copy", str(target))
        self.assert_copied(operated, "Inbox")

    def assert_copied(self, operated: Operated, mailbox_: str) -> None:
        """The account copy has in ``mailbox_`` what user has, byte for byte."""
        originals = [
            self.raw(operated, row["id"])
            for row in operated.json("message", "list", "--account", "user")
        ]
        rows = operated.json("message", "list", "--account", "copy")
        self.assertEqual({row["mailbox"] for row in rows}, {mailbox_})
        copies = [self.raw(operated, row["id"]) for row in rows]
        self.assertEqual(sorted(copies), sorted(originals))
        self.assertEqual(operated.run("verify").stdout, "Everything fits together.\n")

    async def test_one_message_file(self) -> None:
        """A single message with LF line ends is imported with CRLF."""
        operated = await self.filled()
        file = Path(self.mktemp())
        file.write_bytes(b"Subject: one\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n")
        operated.run("message", "import", "copy", str(file))
        [row] = operated.json("message", "list", "--account", "copy")
        self.assertEqual((row["subject"], row["received"]), ("one", "2024-01-01T00:00:00Z"))
        self.assertTrue(self.raw(operated, row["id"]).endswith(b"\r\n\r\nhello\r\n"))

    async def test_quota_stops_an_import(self) -> None:
        """What does not fit in the quota is refused, and nothing of it is kept."""
        operated = await self.filled()
        operated.run("account", "set", "copy", "--quota", "10")
        file = Path(self.mktemp())
        file.write_bytes(b"Subject: one\n\nhello\n")
        result = operated.run("message", "import", "copy", str(file), code=1)
        self.assertIn("quota", result.stderr)
        self.assertEqual(operated.json("message", "list", "--account", "copy"), [])
        operated.run("message", "import", "nobody", str(file), code=1)
