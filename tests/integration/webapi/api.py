"""A client of the webapi, as an application has it: the standard library's, in a thread."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, field, frozen
from twisted.internet import reactor as the_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import MessageFilter
from mailrelay.mailbox.model import MailboxMessage
from mailrelay.testing.loopback import PASSWORD, USER, Loopback
from tests.integration.world import settled, soon, start_world, until

BASE = "/webapi/v0/"
FORM = "application/x-www-form-urlencoded"
BOUNDARY = "--------boundary--"


@frozen
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON that ends in a newline."""
        assert self.headers["content-type"] == "application/json; charset=utf-8", self
        assert self.body.endswith(b"\n"), self
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, of a call that failed."""
        assert self.status == 400, (self.status, self.body)
        assert set(self.json) == {"Code", "Message"}, self
        return str(self.json["Code"])

    @property
    def message(self) -> str:
        """The error's text."""
        return str(self.json["Message"])


@frozen
class Part:
    """A part of a multipart form."""

    name: str
    data: bytes
    filename: str | None = None
    headers: Mapping[str, str] = field(factory=dict)


def basic(login: str = USER, password: str = PASSWORD) -> dict[str, str]:
    """The header that logs in."""
    return {"Authorization": "Basic " + b64encode(f"{login}:{password}".encode()).decode()}


def multipart(parts: Sequence[Part]) -> bytes:
    """A multipart form."""
    lines = []
    for part in parts:
        named = "" if part.filename is None else f'; filename="{part.filename}"'
        disposition = f'form-data; name="{part.name}"{named}'
        lines.append(f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n".encode())
        lines += [f"{name}: {value}\r\n".encode() for name, value in part.headers.items()]
        lines += [b"\r\n", part.data, b"\r\n"]
    return b"".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


@frozen
class API:
    """The webapi of one server, as one login."""

    server: Loopback
    login: Mapping[str, str] = field(factory=basic)

    def logged_in(self, login: str, password: str) -> API:
        """The same, as somebody else."""
        return evolve(self, login=basic(login, password))

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """One request on a connection of its own; redirects are not followed."""
        port = self.server.port("http")

        def speak() -> Answered:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request(method, path, body, dict(headers or {}))
                response = connection.getresponse()
                named = {name.lower(): value for name, value in response.getheaders()}
                return Answered(response.status, named, response.read())
            finally:
                connection.close()

        answered: Answered = await deferToThread(speak)
        return answered

    async def post(
        self,
        method: str,
        body: bytes,
        content_type: str = FORM,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """A call with a body of its own making."""
        given = {"Content-Type": content_type, **self.login, **(headers or {})}
        return await self.ask("POST", BASE + method, body, given)

    async def call(self, method: str, request: object = None) -> Answered:
        """A call; ``request`` is JSON when it is a string, and made to be that otherwise."""
        text = request if isinstance(request, str) else json.dumps(request or {})
        return await self.post(method, urlencode({"request": text}).encode())

    async def upload(self, request: object, *parts: Part) -> Answered:
        """Send with a multipart form."""
        parts = (Part("request", json.dumps(request).encode()), *parts)
        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        return await self.post("Send", multipart(parts), content_type)

    async def send(self, **fields: object) -> Any:
        """A Send that must succeed: its result."""
        answered = await self.call("Send", {**LETTER, **fields})
        assert answered.status == 200, answered
        return answered.json


LETTER: dict[str, object] = {
    "To": [{"Address": USER}],
    "Subject": "hello",
    "Text": "hi\n",
}


class APICase(TestCase):
    """A test with a server of its own, whose mail all goes to its own mailboxes."""

    timeout = 120

    async def start(self, **settings: Any) -> API:
        """Start it."""
        settings = {"localserve": True, **settings}
        return API(await start_world(self, the_reactor, **settings))

    async def arrived(
        self, api: API, count: int = 1, mailbox: str = "Inbox", *, reports: bool = True
    ) -> list[Any]:
        """The first ``count`` messages of a mailbox, by id; without ``reports``, no DSNs."""
        control = api.server.control()
        found: list[tuple[str, MailboxMessage]] = []
        try:
            for _ in range(3000):
                every = await control.messages.find(MessageFilter(mailbox=mailbox))
                found = [one for one in every if reports or one[1].reverse_path]
                if len(found) >= count:
                    break
                await soon(the_reactor)
        finally:
            control.close()
        self.assertEqual(len(found), count)
        return [message for _, message in found]

    async def raw(self, api: API, id_: int) -> bytes:
        """A message's bytes, asked of the API."""
        answered = await api.call("MessageRawGet", {"MsgID": id_})
        self.assertEqual(answered.status, 200, answered)
        return answered.body

    async def sent_bytes(self, api: API, **fields: Any) -> bytes:
        """What arrives of a Send to the own mailbox, without what delivery put in front."""
        await api.send(**fields)
        recipients = sum(len(fields.get(name, ())) for name in ("To", "CC", "BCC"))
        copies = await self.arrived(api, recipients or 1, reports=False)
        return after_trace(await self.raw(api, copies[0].id))

    async def until(self, holds: Any) -> None:
        """Wait for what must come."""
        await until(the_reactor, holds)

    def control(self, api: API) -> Any:
        """The operators' side, closed when the test ends."""
        control = api.server.control()
        self.addCleanup(control.close)
        return control


def after_trace(content: bytes) -> bytes:
    """From the From field on, which a composed message begins with."""
    return content[content.index(b"\r\nFrom:") + 2 :]


__all__ = ["API", "APICase", "Answered", "Part", "settled"]
