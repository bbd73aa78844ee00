"""What the acme library is asked to say, by an authority on a port of this machine.

Orders as such are tried with pebble; this one does what pebble cannot.
"""

from __future__ import annotations

import json
import threading
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.certificates.authority import MOST_TOKEN, Authority, renewal_id
from mailrelay.certificates.ordering import ACMEFailed, new_key
from mailrelay.certificates.settings import HTTP_01, ACMESettings

Answer = tuple[int, Mapping[str, str], bytes]
Posted = list[tuple[str, Any]]


class _Asked(BaseHTTPRequestHandler):
    """Answers as ``server.answers`` has it for the path; notes what was posted."""

    server: Any

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length:
            payload = json.loads(self.rfile.read(length))["payload"]
            decoded = urlsafe_b64decode(payload + "==")
            self.server.posted.append((self.path, json.loads(decoded or b"null")))
        answers = self.server.answers.get(self.path, [(404, {}, b"{}")])
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {"Replay-Nonce": "bm9uY2U", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class AuthorityTests(SynchronousTestCase):
    """Authority."""

    server: Any

    def setUp(self) -> None:
        """Start the server, with a directory and an account."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Asked)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.posted: Posted = []
        self.server.posted = self.posted
        places = ("newNonce", "newAccount", "newOrder", "renewalInfo")
        self.answers: dict[str, list[Answer]] = {
            "/directory": [ok({name: f"{self.base}/{name}" for name in places})],
            "/newNonce": [(200, {}, b"")],
            "/newAccount": [(201, {"Location": f"{self.base}/account/1"}, b"{}")],
            "/newOrder": [self.order()],
        }
        self.server.answers = self.answers
        settings = ACMESettings(directory=f"{self.base}/directory", challenge=HTTP_01)
        self.authority = Authority(settings, new_key(), None)
        self.certificate = certificate()

    def order(self) -> Answer:
        """A new one."""
        body = {"status": "pending", "finalize": f"{self.base}/f", "authorizations": []}
        return ok(body, 201, Location=f"{self.base}/order/1")

    def failure(self, work: Any, *arguments: object) -> ACMEFailed:
        """Why it fails."""
        failed: ACMEFailed = self.assertRaises(ACMEFailed, work, *arguments)
        return failed

    def test_account(self) -> None:
        """It is made once, with the terms agreed to; an account that is there is used."""
        self.assertEqual(self.authority.account().uri, f"{self.base}/account/1")
        [(_, body)] = self.posted
        self.assertEqual(body, {"termsOfServiceAgreed": True})
        self.authority.account()
        self.assertEqual(len(self.posted), 1)
        other = Authority(self.authority._settings, new_key(), None)
        self.answers["/newAccount"] = [(200, {"Location": f"{self.base}/account/7"}, b"{}")]
        self.assertEqual(other.account().uri, f"{self.base}/account/7")

    def test_binding_is_wanted(self) -> None:
        """The setting that is missing is named."""
        directory = json.loads(self.answers["/directory"][0][2])
        meta = {"externalAccountRequired": True}
        self.answers["/directory"] = [ok({**directory, "meta": meta})]
        self.assertIn("set [acme] eab_kid", str(self.failure(self.authority.account)))

    def test_renewal_information(self) -> None:
        """Window and Retry-After (RFC 9773 section 4.2)."""
        place = f"/renewalInfo/{renewal_id(self.certificate)}"
        window = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00+00:00"}
        self.answers[place] = [ok({"suggestedWindow": window}, 200, **{"Retry-After": "21600"})]
        found = self.authority.suggestion(self.certificate)
        assert found is not None
        backwards = {"start": window["end"], "end": window["start"]}
        start = datetime(2026, 1, 2, 4, tzinfo=UTC).timestamp()
        self.assertEqual((found.start, found.end), (start, start + 86400))
        self.assertEqual(found.retry_after, 21600)
        for wrong in (
            b"x",
            b"[]",
            b"{}",
            b'{"suggestedWindow": 5}',
            b'{"suggestedWindow": {"start": "now", "end": "later"}}',
            b'{"suggestedWindow": {"start": "2026-01-02T04:00:00", "end": "2026-01-03T04:00:00"}}',
            json.dumps({"suggestedWindow": backwards}).encode(),
            b'{"suggestedWindow": {"start": "9999-12-31T23:59:59-23:00", "end": ""}}',
        ):
            self.answers[place] = [(200, {"Content-Type": "application/json"}, wrong)]
            self.failure(self.authority.suggestion, self.certificate)

    def test_no_renewal_information(self) -> None:
        """Of an authority that has none, or of a certificate that names no issuer's key."""
        self.assertIsNone(self.authority.suggestion(certificate(is_named=False)))
        directory = json.loads(self.answers["/directory"][0][2])
        del directory["renewalInfo"]
        self.answers["/directory"] = [ok(directory)]
        other = Authority(self.authority._settings, new_key(), None)
        self.assertIsNone(other.suggestion(self.certificate))

    def test_identifier(self) -> None:
        """The example of RFC 9773 section 4.1."""
        key = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
        made = certificate(serial=0x87654321, identifier=key)
        self.assertEqual(renewal_id(made), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")

    def test_replaces(self) -> None:
        """An order says what it replaces; where that is refused it is made without."""
        self.authority.account()
        self.authority.order("a.example", "what.before")
        self.assertEqual(self.posted[-1][1]["replaces"], "what.before")
        self.answers["/newOrder"] = [problem(409, "alreadyReplaced"), self.order()]
        order = self.authority.order("a.example", "what.before")
        self.assertNotIn("replaces", self.posted[-1][1])
        self.assertEqual(order.url, f"{self.base}/order/1")

    def test_limited(self) -> None:
        """What the authority says is told, and when it wants us again."""
        self.authority.account()
        self.answers["/newOrder"] = [problem(429, "rateLimited", **{"Retry-After": "7200"})]
        failed = self.failure(self.authority.order, "a.example", None)
        self.assertTrue(failed.is_limited)
        self.assertEqual((failed.retry_after, str(failed)), (7200.0, "rateLimited: because"))

    def test_account_is_gone(self) -> None:
        """It is told apart, so that another is made."""
        self.authority.account()
        self.answers["/newOrder"] = [problem(400, "accountDoesNotExist")]
        self.assertTrue(self.failure(self.authority.order, "a.example", None).is_account_gone)

    def test_nonsense(self) -> None:
        """Whatever an authority answers, it is ACMEFailed, in one short line."""
        for status, body in (
            (200, b""),
            (200, b"\xff\xfe"),
            (200, b"[" * 5000),
            (500, b"<html>" * 1000),
            (201, b"[]"),
            (201, b'{"authorizations": 5, "finalize": []}'),
            (400, b'{"type": 5, "detail": {"a": "\\r\\n\\u0000"}}'),
            (302, b""),
        ):
            self.authority.account()
            self.answers["/newOrder"] = [(status, {"Content-Type": "application/json"}, body)]
            failed = self.failure(self.authority.order, "a.example", None)
            self.assertLessEqual(len(str(failed)), 300)
            self.assertTrue(str(failed).isprintable(), repr(str(failed)))

    def test_redirects(self) -> None:
        """None is followed."""
        elsewhere = self.answers.pop("/directory")
        self.answers["/elsewhere"] = elsewhere
        self.answers["/directory"] = [(302, {"Location": f"{self.base}/elsewhere"}, b"")]
        self.assertIn("TooManyRedirects", str(self.failure(self.authority.account)))
        self.assertEqual(self.posted, [])

    def test_challenge(self) -> None:
        """That which is set, of what is offered; a token is bounded."""
        self.authority.account()
        place = f"{self.base}/authorization"
        self.answers["/newOrder"] = [
            ok(
                {"status": "pending", "finalize": "f", "authorizations": [place]},
                201,
                Location="o",
            )
        ]
        order = self.authority.order("a.example", None)
        offered = {"type": "http-01", "status": "pending", "url": "u", "token": ""}
        for token, works in (("Ly8vLy8vLy8vLy8vLy8vLw", True), ("a" * (MOST_TOKEN + 4), False)):
            others = [{**offered, "token": token}, {"type": "new-01", "url": "u"}]
            self.answers["/authorization"] = [authorization("pending", others)]
            if works:
                found = self.authority.challenge(order, "a.example")
                assert found is not None
                self.assertEqual((found.token, found.url), (token, "u"))
                self.assertTrue(found.authorization.startswith(f"{token}."))
            else:
                self.failure(self.authority.challenge, order, "a.example")
        self.answers["/authorization"] = [authorization("pending", [{"type": "new-01"}])]
        failed = self.failure(self.authority.challenge, order, "a.example")
        self.assertIn("does not offer http-01", str(failed))
        self.answers["/authorization"] = [authorization("valid", [])]
        self.assertIsNone(self.authority.challenge(order, "a.example"))
        self.assertTrue(self.authority.is_proved(order))

    def test_nobody(self) -> None:
        """A port where nobody listens."""
        settings = ACMESettings(directory="https://127.0.0.1:1/directory")
        other = Authority(settings, new_key(), None)
        self.assertIn("ConnectionError", str(self.failure(other.account)))


def ok(body: object, status: int = 200, **headers: Any) -> Answer:
    """JSON."""
    told = {"Content-Type": "application/json", **headers}
    return status, told, json.dumps(body).encode()


def problem(status: int, code: str, **headers: Any) -> Answer:
    """A refusal."""
    body = {"type": f"urn:ietf:params:acme:error:{code}", "detail": "because"}
    told = {"Content-Type": "application/problem+json", **headers}
    return status, told, json.dumps(body).encode()


def authorization(status: str, offered: list[dict[str, str]]) -> Answer:
    """Of a name."""
    identifier = {"type": "dns", "value": "a.example"}
    return ok({"status": status, "identifier": identifier, "challenges": offered})


def certificate(
    *, serial: int = 5, identifier: bytes = b"key", is_named: bool = True
) -> x509.Certificate:
    """One whose issuer's key has an identifier, or not."""
    key, now = new_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now)
    )
    if is_named:
        named = x509.AuthorityKeyIdentifier(identifier, None, None)
        builder = builder.add_extension(named, critical=False)
    return builder.sign(key, hashes.SHA256())
