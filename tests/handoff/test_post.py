"""What mailrelay-post sends, and how it starts."""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from mailrelay.testing.certificates import DAY, Authority
from tests.handoff.endpoint import (
    OK,
    PATIENCE,
    drips,
)
from tests.handoff.posting import MESSAGE, PROGRAM, TOKEN, PostTestCase


class RequestTests(PostTestCase):
    """What the endpoint is sent."""

    def test_request(self) -> None:
        """POST, the token, what Postfix knows of the message, and nothing else."""
        endpoint = self.endpoint()
        named = ("--sender", "a@a.test", "--recipient", "b@b.test", "--queue-id", "4ABC")
        self.assertEqual(self.post(endpoint, *named), (0, ""))
        [request] = endpoint.requests
        self.assertEqual(request.line, b"POST /v1/email HTTP/1.1")
        key = request.one(b"Idempotency-Key")
        self.assertRegex(key, rb"\A[0-9a-f]{64}\Z")
        self.assertEqual(
            request.fields,
            [
                (b"Host", b"127.0.0.1:%d" % endpoint.port),
                (b"Authorization", b"Bearer " + TOKEN.encode()),
                (b"User-Agent", b"mailrelay-post"),
                (b"Accept", b"text/plain"),
                (b"Connection", b"close"),
                (b"Content-Type", b"message/rfc822"),
                (b"Content-Length", b"%d" % len(MESSAGE)),
                (b"Idempotency-Key", key),
                (b"X-Mailrelay-Id", b"4ABC"),
                (b"X-Mailrelay-Mail-From", b"a@a.test"),
                (b"X-Mailrelay-Rcpt-To", b"b@b.test"),
            ],
        )
        self.assertEqual(request.body, MESSAGE)

    def test_every_byte(self) -> None:
        """NUL, eight bits, bare CR and LF, dots, no line end: sent as they came."""
        endpoint = self.endpoint()
        for message in (
            bytes(range(256)) * 3,
            b".\r\n.\r\n..\r\n",
            b"From me\nTo: you\n\n\r\rbody",
            b"\0",
        ):
            self.assertEqual(self.post(endpoint, message=message)[0], 0)
            self.assertEqual(endpoint.requests[-1].body, message)

    def test_large_message_in_constant_memory(self) -> None:
        """25 MB arrive whole, and the program is no larger for it."""
        asked, answers = threading.Event(), threading.Event()
        self.addCleanup(answers.set)

        def waits(connection: object) -> None:
            asked.set()
            answers.wait(PATIENCE)
            connection.sendall(OK)  # type: ignore[attr-defined]

        peaks = []
        for size in (1000, 25_000_000):
            endpoint = self.endpoint(waits)
            asked.clear()
            answers.clear()
            message = os.urandom(1000) * (size // 1000)
            named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
            process = self.start(*named)
            assert process.stdin is not None
            process.stdin.write(message)
            process.stdin.close()
            process.stdin = None
            self.assertTrue(asked.wait(PATIENCE))
            peaks.append(_peak_kib(process.pid))
            answers.set()
            self.assertEqual(self.result(process, None)[0], 0)
            [request] = endpoint.requests
            self.assertEqual(
                hashlib.sha256(request.body).digest(), hashlib.sha256(message).digest()
            )
        self.assertLess(peaks[1] - peaks[0], 8 * 1024)

    def test_recipients(self) -> None:
        """Each has a field of its own."""
        endpoint = self.endpoint()
        named = ("--recipient", "b@b.test", "--recipient=c@c.test")
        self.assertEqual(self.post(endpoint, *named)[0], 0)
        [request] = endpoint.requests
        self.assertEqual(request.all(b"X-Mailrelay-Rcpt-To"), [b"b@b.test", b"c@c.test"])

    def test_null_sender(self) -> None:
        """It is told as empty; one that is not known is not told."""
        endpoint = self.endpoint()
        self.post(endpoint, "--sender=")
        self.post(endpoint, "--sender", "")
        self.post(endpoint)
        told = [request.all(b"X-Mailrelay-Mail-From") for request in endpoint.requests]
        self.assertEqual(told, [[b""], [b""], []])

    def test_hostile_addresses(self) -> None:
        """No address becomes another field, another option, or another address when decoded."""
        endpoint = self.endpoint()
        told: dict[str | bytes, bytes] = {
            "x\r\nX-Mailrelay-Rcpt-To: evil@a.test": b"x%0D%0AX-Mailrelay-Rcpt-To:%20evil@a.test",
            "-x@a.test": b"-x@a.test",
            "--url=http://evil.test@a.test": b"--url=http://evil.test@a.test",
            "100%0A@a.test": b"100%250A@a.test",
            '"a b"@a.test': b'"a%20b"@a.test',
            "jörg@a.test": b"j%C3%B6rg@a.test",
            b"\xff\x85@a.test": b"%FF%85@a.test",
        }
        for address, value in told.items():
            result = self.post(
                endpoint, "--sender", address, "--recipient", address, "--queue-id", address
            )
            self.assertEqual(result, (0, ""), address)
            request = endpoint.requests[-1]
            for name in (b"X-Mailrelay-Mail-From", b"X-Mailrelay-Rcpt-To", b"X-Mailrelay-Id"):
                self.assertEqual(request.all(name), [value])

    def test_idempotency_key(self) -> None:
        """The same at every try; another for any other message, recipient or queue id."""
        endpoint = self.endpoint()

        def key(*arguments: str, message: bytes = MESSAGE) -> bytes:
            self.post(endpoint, *arguments, message=message)
            return endpoint.requests[-1].one(b"Idempotency-Key")

        first = key("--queue-id", "4A", "--recipient", "b@b.test", "--recipient", "c@c.test")
        again = key("--recipient", "c@c.test", "--recipient", "b@b.test", "--queue-id", "4A")
        self.assertEqual(first, again)
        others = [
            key("--queue-id", "4A", "--recipient", "b@b.test"),
            key("--queue-id", "4A", "--recipient", "b@b.test", message=MESSAGE + b"."),
            key("--queue-id", "4B", "--recipient", "b@b.test"),
            key("--recipient", "b@b.test"),
            key("--recipient", "c@c.test"),
            key("--recipient", "c@c.test", "--sender", "a@a.test"),
        ]
        self.assertEqual(len({first, *others}), 1 + len(others))
        self.assertEqual(key("--recipient", "c@c.test"), others[4])

    def test_token_of_the_environment(self) -> None:
        """MAILRELAY_PSK will do; a file goes before it."""
        endpoint = self.endpoint()
        environment = {"MAILRELAY_PSK": "of-the-environment"}
        process = self.start("--url", endpoint.url(), environment=environment)
        self.assertEqual(self.result(process)[0], 0)
        named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
        self.assertEqual(self.result(self.start(*named, environment=environment))[0], 0)
        told = [request.one(b"Authorization") for request in endpoint.requests]
        self.assertEqual(told, [b"Bearer of-the-environment", b"Bearer " + TOKEN.encode()])

    def test_environment_is_not_followed(self) -> None:
        """A proxy of the environment is not used."""
        endpoint, proxy = self.endpoint(), self.endpoint()
        where = f"http://127.0.0.1:{proxy.port}"
        names = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy")
        named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
        process = self.start(*named, environment=dict.fromkeys(names, where))
        self.assertEqual(self.result(process)[0], 0)
        self.assertEqual((len(endpoint.requests), proxy.connections), (1, 0))


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peak


class TLSTests(PostTestCase):
    """HTTPS."""

    def authority(self, names: Sequence[str], **more: object) -> tuple[Path, ssl.SSLContext]:
        """The file of an authority, and what a server of ``names`` has from it."""
        authority = Authority()
        certificate, key = authority.issue(names, **more)  # type: ignore[arg-type]
        pem = serialization.Encoding.PEM
        ca, chain = self.folder / "ca.pem", self.folder / "chain.pem"
        ca.write_bytes(authority.certificate.public_bytes(pem))
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain.write_bytes(certificate.public_bytes(pem) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return ca, context

    def test_verified(self) -> None:
        """By the authority that was named; a large message, too."""
        ca, tls = self.authority(["127.0.0.1"])
        endpoint = self.endpoint(tls=tls)
        message = os.urandom(3_000_000)
        result = self.post(endpoint, "--ca", str(ca), "--require-receipt", message=message)
        self.assertEqual(result, (0, ""))
        self.assertEqual(endpoint.requests[0].body, message)

    def test_not_trusted(self) -> None:
        """Unknown, expired or another's certificates, and none at all, get no request."""
        ca, tls = self.authority(["127.0.0.1"])
        unknown = self.endpoint(tls=tls)
        self.assert_deferred(self.post(unknown), "4.7.5 127.0.0.1: no trusted TLS: ")
        _, tls = self.authority(["other.test"])
        other = self.endpoint(tls=tls)
        self.assert_deferred(self.post(other, "--ca", str(self.folder / "ca.pem")), "mismatch")
        _, tls = self.authority(["127.0.0.1"], valid_for=-DAY)
        expired = self.endpoint(tls=tls)
        self.assert_deferred(self.post(expired, "--ca", str(ca)), "certificate has expired")
        plain = self.endpoint(drips([b"HTTP/1.1 400 no\r\n\r\n"], threading.Event()))
        url = plain.url().replace("http:", "https:")
        self.assertEqual(unknown.requests + other.requests + expired.requests, [])
        self.assert_deferred(self.post(url, "--timeout", "5"), "4.")

    def test_half_an_answer(self) -> None:
        """A connection that ends without TLS's own farewell did not end the answer."""
        ca, tls = self.authority(["127.0.0.1"])
        endpoint = self.endpoint(b"HTTP/1.1 200 OK\r\n\r\nOK", tls=tls)
        self.assert_deferred(self.post(endpoint, "--ca", str(ca)), "4.4.2")

    def test_wrong_authority_file(self) -> None:
        """Missing, and without certificates."""
        missing = str(self.folder / "missing.pem")
        for file in (missing, str(self.token_file)):
            result = self.post("https://127.0.0.1:1/", "--ca", file)
            self.assert_deferred(result, f"4.3.5 mailrelay-post: --ca {file} has no certificates")


class StartTests(PostTestCase):
    """The program's own weight."""

    def test_imports(self) -> None:
        """Nothing of others is imported, and little of the standard library."""
        endpoint = self.endpoint()
        program = (sys.executable, "-S", "-s", "-X", "importtime", *PROGRAM[3:])
        named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
        process = self.start(*named, program=program)
        output, _ = process.communicate(MESSAGE, timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        modules = {line.rpartition("|")[2].strip() for line in output.decode().splitlines()}
        self.assertIn("mailrelay.handoff.post_answer", modules)
        known = {*sys.stdlib_module_names, "mailrelay"}
        others = {name for name in modules if name.partition(".")[0] not in known}
        self.assertEqual(others - {"imported package", "sitecustomize", "usercustomize"}, set())
        heavy = {"http.client", "email", "urllib.parse", "argparse", "typing", "encodings.idna"}
        self.assertEqual(heavy & modules, set())
        self.assertNotIn("ssl", modules)
