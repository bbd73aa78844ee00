"""A small application that signs people up by mail, with our own API: HTTP, JSON and nothing else.

Run it beside a localserve; docs/signup.md says how. It needs no package but Python's own.

    POST /users       {"name": ..., "email": ...}: a new user, who is sent a welcome
    GET /users        who there is, how far the welcome got, and what they replied
    POST /webhook     mailrelay tells, signed, what became of mail, and of mail that came
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TOLERANCE = 5 * 60  # seconds


class MailError(Exception):
    """mailrelay did not take a message; the text is its reason."""


class Unverified(Exception):
    """A call is not mailrelay's, or not of now."""


class Mail:
    """Sends by mailrelay's API."""

    def __init__(self, api: str, key: str) -> None:
        self._api, self._key = api, key

    def send(self, once: str, **message: object) -> dict:
        """The answer to a message; asked again with the same ``once``, it is not sent again.

        Raises: MailError.
        """
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Idempotency-Key": once,
        }
        request = Request(f"{self._api}/messages", json.dumps(message).encode(), headers)
        try:
            with urlopen(request, timeout=30) as response:
                return json.load(response)
        except HTTPError as error:
            problem = json.load(error)
            raise MailError(f"{problem['field']} {problem['detail']}".strip()) from None


def verify(secret: str, headers, body: bytes) -> dict:
    """What a call says; docs/verify-webhooks.md explains it. Raises: Unverified."""
    id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise Unverified("there is no timestamp")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise Unverified("the timestamp is not of now")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{id_}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    for given in headers.get("webhook-signature", "").split(" "):
        version, _, signature = given.partition(",")
        if version == "v1" and hmac.compare_digest(signature.encode(), expected):
            return json.loads(body)
    raise Unverified("no signature fits")


@dataclass
class User:
    """Somebody who signed up."""

    id: int
    name: str
    email: str
    welcome: str = "queued"  # then delivered, delayed, or why it was not
    message_id: str = ""
    replies: list[str] = field(default_factory=list)


class Signup:
    """The application. An event may come twice: each is noted once, by its id."""

    def __init__(self, mail: Mail, sender: str) -> None:
        self._mail, self._sender = mail, sender
        self._lock = Lock()
        self._seen: set[str] = set()  # a real one forgets them after two days
        self.users: dict[int, User] = {}

    def sign_up(self, name: str, email: str) -> User:
        """A new user, whose welcome is queued. Raises: MailError."""
        with self._lock:
            user = self.users[len(self.users) + 1] = User(len(self.users) + 1, name, email)
        # The call may come before send() returns: what it needs is in extra.
        sent = self._mail.send(
            f"welcome-{user.id}-{os.getpid()}",
            **{"from": {"address": self._sender, "name": "The shop"}},
            to=[{"address": email, "name": name}],
            subject="Welcome",
            text=f"Hello {name},\n\ngood to have you. Questions? Reply to this.\n",
            tags=["welcome"],
            extra=[{"name": "user", "value": str(user.id)}],
        )
        user.message_id = sent["message_id"]
        return user

    def told(self, id_: str, call: dict) -> None:
        """Note what a call says, unless that was done."""
        with self._lock:
            if id_ in self._seen:
                return
            if call["type"] == "message.received":
                self._received(call["data"])
            else:
                self._sent(call["data"])
            self._seen.add(id_)

    def _sent(self, data: dict) -> None:
        extra = {one["name"]: one["value"] for one in data["message"]["extra"]}
        user = self.users.get(int(extra.get("user", 0)))
        event = data["event"]
        if user is None:
            return
        if event["kind"] in ("failed", "suppressed"):
            # No more mail goes there until the address is corrected.
            user.welcome = f"{event['kind']}: {event['code']} {event['reply']}".strip()
        elif event["kind"] in ("delivered", "delayed") and "failed" not in user.welcome:
            user.welcome = event["kind"]

    def _received(self, mail: dict) -> None:
        # What a program sent is no reply, and neither is what we sent ourselves.
        if mail["is_automated"]:
            return
        named = {mail["in_reply_to"], *mail["references"]}
        for user in self.users.values():
            if user.message_id and user.message_id in named:
                user.replies.append(mail["text"].strip())


class Page(BaseHTTPRequestHandler):
    """One request."""

    application: Signup
    secret: str

    def do_GET(self) -> None:
        """The users."""
        users = [asdict(user) for user in self.application.users.values()]
        self._answer(200 if self.path == "/users" else 404, users)

    def do_POST(self) -> None:
        """A sign-up, or a call of mailrelay's."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/users":
            self._sign_up(json.loads(body))
        elif self.path == "/webhook":
            self._called(body)
        else:
            self._answer(404, {"error": "no such page"})

    def _sign_up(self, user: dict) -> None:
        try:
            self._answer(201, asdict(self.application.sign_up(user["name"], user["email"])))
        except MailError as error:
            self._answer(502, {"error": str(error)})

    def _called(self, body: bytes) -> None:
        try:
            call = verify(self.secret, self.headers, body)
        except Unverified as error:
            self._answer(401, {"error": str(error)})
            return
        self.application.told(self.headers["webhook-id"], call)
        self._answer(200, {})  # any code but 2xx, and mailrelay calls again

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve on the port that is given, until Ctrl-C."""
    mail = Mail(os.environ.get("API", "http://127.0.0.1:1080/api/v1"), os.environ["API_KEY"])
    Page.application = Signup(mail, os.environ.get("SENDER", "mailrelay@localhost"))
    Page.secret = os.environ["WEBHOOK_SECRET"]
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8025
    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    print(f"serving on http://127.0.0.1:{port}/users", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
