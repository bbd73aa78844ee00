"""A small application that signs people up by mail, with nothing but HTTP and JSON.

Run it beside a localserve; docs/webhooks.md says how. It needs no package but Python's own.

    POST /users       {"name": ..., "email": ...}: a new user, who is sent a welcome
    GET /users        who there is, how far the welcome got, and what they replied
    POST /outgoing    mailrelay tells what became of mail
    POST /incoming    mailrelay tells of mail that came
"""

import hmac
import json
import os
import sys
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


class MailError(Exception):
    """mailrelay did not take a message; the text is its reason."""


class Mail:
    """Sends by mailrelay's webapi."""

    def __init__(self, url: str, login: str, password: str) -> None:
        self._url = url
        self._authorization = "Basic " + b64encode(f"{login}:{password}".encode()).decode()

    def send(self, **message: object) -> dict:
        """What is answered to Send. Raises: MailError."""
        form = urlencode({"request": json.dumps(message)}).encode()
        request = Request(self._url + "Send", form, {"Authorization": self._authorization})
        try:
            with urlopen(request, timeout=30) as response:
                return json.load(response)
        except HTTPError as error:
            raise MailError(error.read(2000).decode(errors="replace")) from None


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
    """The application. Calls may come twice: every change here can be made twice."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._lock = Lock()
        self.users: dict[int, User] = {}

    def sign_up(self, name: str, email: str) -> User:
        """A new user, whose welcome is queued. Raises: MailError."""
        with self._lock:
            user = self.users[len(self.users) + 1] = User(len(self.users) + 1, name, email)
        # The webhook may come before send() returns: what it needs is in Extra.
        sent = self._mail.send(
            To=[{"Name": name, "Address": email}],
            Subject="Welcome",
            Text=f"Hello {name},\n\ngood to have you. Questions? Reply to this.\n",
            Extra={"user": str(user.id)},
        )
        user.message_id = sent["MessageID"]
        return user

    def outgoing(self, event: dict) -> None:
        """Note what became of a welcome."""
        user = self.users.get(int(event["Extra"].get("user", 0)))
        if user is None:
            return
        kind = event["Event"]
        if kind in ("failed", "suppressed"):
            # No more mail goes there until the address is corrected.
            user.welcome = f"{kind}: {event['SMTPCode']} {event['Error']}".strip()
        elif kind in ("delivered", "delayed"):
            user.welcome = kind

    def incoming(self, message: dict) -> None:
        """Note a reply. What a program sent is none, and neither is what we sent ourselves."""
        if message["Meta"]["Automated"]:
            return
        named = {message["InReplyTo"], *message["References"]}
        for user in self.users.values():
            if user.message_id and user.message_id in named:
                text = message["Text"].strip()
                if text not in user.replies:
                    user.replies.append(text)


class Page(BaseHTTPRequestHandler):
    """One request."""

    application: Signup
    secret: str

    def do_GET(self) -> None:
        """The users."""
        users = [asdict(user) for user in self.application.users.values()]
        self._answer(200 if self.path == "/users" else 404, users)

    def do_POST(self) -> None:
        """A sign-up, or a call of mailrelay's, which knows the secret."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/users":
            self._sign_up(body)
            return
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            self._answer(401, {"error": "not mailrelay"})
            return
        tell = {"/outgoing": self.application.outgoing, "/incoming": self.application.incoming}
        if self.path not in tell:
            self._answer(404, {"error": "no such page"})
            return
        tell[self.path](body)
        self._answer(200, {})  # any other code, and mailrelay calls again

    def _sign_up(self, body: dict) -> None:
        try:
            user = self.application.sign_up(body["name"], body["email"])
        except MailError as error:
            self._answer(502, {"error": str(error)})
        else:
            self._answer(201, asdict(user))

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve on the port that is given, until Ctrl-C."""
    webapi = os.environ.get("WEBAPI", "http://127.0.0.1:1080/webapi/v0/")
    login = os.environ.get("LOGIN", "mailrelay@localhost")
    Page.application = Signup(Mail(webapi, login, os.environ.get("PASSWORD", "mailrelay")))
    Page.secret = os.environ["WEBHOOK_SECRET"]
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8025
    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    print(f"serving on http://127.0.0.1:{port}/users", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
