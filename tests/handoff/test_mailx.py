"""What a pipeline around mailx does: a script with curl, and a header that says whom it is for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.internet.threads import deferToThread

from mailrelay.control.mailbox import MessageFilter
from mailrelay.handoff.endpoints import Compat
from mailrelay.testing.loopback import USER
from tests.handoff.handing import TOKEN, HandingCase, Place

SCRIPT = """\
status=$(curl -s -o answer -w '%{http_code}' -X POST \
    -H "Authorization: Bearer $PSK" --data-binary @- "$API/v1/email")
case "$status" in 2??) exit 0 ;; esac
exit 75
"""
MESSAGE = b"""\
From a@sender.test  Sat Nov 21 12:00:00 2026
Return-Path: <bounce@sender.test>
From: a@sender.test
To: Team <%s>, else@far.test
Cc: other@example.org
Message-ID: <1@sender.test>
Subject: a+b=c&d

form=field&x=%%41
"""


class MailxTests(HandingCase):
    """The endpoint in mailx mode."""

    async def run_script(self, place: Place, content: bytes, token: str = TOKEN) -> tuple[int, str]:
        """Its exit code, and what it was answered."""
        folder = Path(self.mktemp())
        folder.mkdir()
        done = await deferToThread(
            subprocess.run,
            ["sh", "-c", SCRIPT],
            input=content,
            timeout=60,
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PSK": token,
                "API": f"http://127.0.0.1:{place.server.port('http')}",
            },
        )
        return done.returncode, (folder / "answer").read_text()

    async def test_delivered(self) -> None:
        """Each of To and Cc that is ours has one copy, whatever curl calls the body."""
        place = await self.place(compat=Compat.MAILX)
        await place.alias("team@example.org", USER)
        content = MESSAGE % b"team@example.org"
        self.assertEqual(await self.run_script(place, content), (0, "OK"))
        kept = await place.kept()
        expected = [("other", "Inbox", "a+b=c&d"), ("user", "Inbox", "a+b=c&d")]
        self.assertEqual(kept, expected)
        self.assertEqual(place.outside.lines, [])
        found = await place.control.messages.find(MessageFilter())
        kept_bytes = await place.control.messages.content(found[0][1].id)
        plain = content.partition(b"\n")[2].replace(b"\n", b"\r\n")
        self.assertTrue(kept_bytes.endswith(plain), kept_bytes)
        self.assertTrue(kept_bytes.startswith(b"Return-Path: <bounce@sender.test>\r\n"))

    async def test_each_delivery_names_all(self) -> None:
        """Postfix hands each recipient's copy in, and each names all: who has it is passed over."""
        place = await self.place(compat=Compat.MAILX)
        content = MESSAGE % USER.encode()
        for number in range(3):
            copy = b"X-Copy: %d\n" % number + content.partition(b"\n")[2]
            self.assertEqual(await self.run_script(place, copy), (0, "OK"))
        self.assertEqual(len(await place.kept()), 2)
        other = content.replace(b"<1@", b"<2@")
        self.assertEqual(await self.run_script(place, other), (0, "OK"))
        self.assertEqual(len(await place.kept()), 4)

    async def test_dropped_and_put_aside(self) -> None:
        """0 for nobody's mail, and for what no server can read; 75 for a wrong key."""
        place = await self.place(compat=Compat.MAILX)
        for content in (b"To: gone@example.org\n\nhi\n", b"To: else@far.test\n\nhi\n", b"\0"):
            self.assertEqual(await self.run_script(place, content), (0, "OK"))
        mailboxes = [mailbox for _, mailbox, _ in await place.kept()]
        self.assertEqual(mailboxes, ["Quarantine", "Quarantine"])
        code, _ = await self.run_script(place, b"To: gone@example.org\n\nhi\n", "wrong")
        self.assertEqual(code, 75)
