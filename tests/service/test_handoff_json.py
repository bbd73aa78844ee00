"""An application that is posted JSON, and fetches attachments before it answers."""

from __future__ import annotations

import json
import socket
from base64 import encodebytes
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.handoff.settings import HandOffSettings
from mailrelay.testing.loopback import Loopback
from mailrelay.web.settings import HTTPSettings
from tests.cli.operated import soon
from tests.handoff.endpoint import OK, HTTPEndpoint, status

FILE = b"\x00\xffa file\r\n" * 20
LARGE = b"%PDF " + bytes(range(256)) * 600
MESSAGE = (
    b"From: Joe <joe@client.test>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi there\r\n--b\r\n"
    b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--"
)


class JSONTests(TestCase):
    """On loopback."""

    timeout = 60

    async def start(self, *answers: Any) -> None:
        """A server whose ``app.test`` is posted JSON."""
        self.endpoint = HTTPEndpoint(*answers)
        self.addCleanup(self.endpoint.close)
        section = HandOffSettings(
            "app",
            self.endpoint.url(),
            domains=["app.test"],
            allowed_networks=["127.0.0.0/8"],
            body="json",
        )
        http = HTTPSettings(public_url="https://mail.test")
        self.server = await Loopback.start(
            self, reactor, roles=("mx", "http"), handoff=[section], http=http
        )
        self.port = self.server.port("http")
        self.fetched: list[tuple[int, bytes]] = []

    def fetch(self, url: str) -> tuple[int, bytes]:
        """What a link leads to; called in a thread."""
        self.assertTrue(url.startswith("https://mail.test/api/v1/files/"), url)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", urlsplit(url).path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    async def send(self, file: bytes) -> None:
        """A message with a file."""
        content = MESSAGE % encodebytes(file).replace(b"\n", b"\r\n")
        replies = await self.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<joe@client.test>",
            b"RCPT TO:<bob@app.test>",
            b"DATA",
            content + b"\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250", replies)

    def answers(self, connection: socket.socket) -> None:
        """Fetches what there is to be fetched, then takes the message."""
        told = json.loads(self.endpoint.requests[-1].body)["data"]
        for url in (told["attachments"][0]["url"], told["raw_url"]):
            self.fetched.append(self.fetch(url))
        connection.sendall(OK)

    async def test_fetched(self) -> None:
        """The text is in the JSON; file and message are where it says, until it is taken."""
        await self.start()
        self.endpoint.answer_with(self.answers)
        for file in (FILE, LARGE):
            self.fetched.clear()
            await self.send(file)
            while len(self.fetched) < 2:
                await soon(reactor)
            request = self.endpoint.requests[-1]
            self.assertEqual(request.one(b"Content-Type"), b"application/json")
            told = json.loads(request.body)
            mail = told["data"]
            self.assertEqual(
                (told["type"], mail["subject"], mail["text"].strip(), mail["envelope"]),
                (
                    "message.received",
                    "grüße",
                    "hi there",
                    {"sender": "joe@client.test", "recipient": "bob@app.test"},
                ),
            )
            [attachment] = mail["attachments"]
            self.assertEqual(
                (attachment["filename"], attachment["content_type"], attachment["size_bytes"]),
                ("a.pdf", "application/pdf", len(file)),
            )
            self.assertEqual(self.fetched[0], (200, file))
            code, raw = self.fetched[1]
            self.assertEqual((code, len(raw)), (200, mail["size_bytes"]))
            self.assertTrue(raw.startswith(b"Return-Path: <joe@client.test>"))
            while (await deferToThread(self.fetch, mail["raw_url"]))[0] != 404:
                await soon(reactor)

    async def test_while_it_waits(self) -> None:
        """What the application put off can still be fetched."""
        await self.start(status(503))
        await self.send(FILE)
        while not self.endpoint.requests:
            await soon(reactor)
        url = json.loads(self.endpoint.requests[0].body)["data"]["attachments"][0]["url"]
        self.assertEqual(await deferToThread(self.fetch, url), (200, FILE))
        broken = url[:-1] + ("A" if url[-1] != "A" else "B")
        self.assertEqual((await deferToThread(self.fetch, broken))[0], 404)
