"""mailrelay-post, run as the program that it is, against an endpoint on loopback."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from mailrelay.testing.certificates import DAY, Authority
from tests.handoff.endpoint import (
    OK,
    PATIENCE,
    Answer,
    HTTPEndpoint,
    closes,
    drips,
    resets,
    status,
)

ROOT = Path(mailrelay.__file__).parent.parent
TOKEN = "a-pre-shared-key-of-the-endpoint"
MESSAGE = b"Subject: hello\r\n\r\n.a dot\r\n..two\r\nend\r\n"
# Without site-packages nothing but the standard library can be imported.
PROGRAM = (sys.executable, "-S", "-s", "-m", "mailrelay.handoff.post")


class PostTestCase(SynchronousTestCase):
    """Runs the program."""

    def setUp(self) -> None:
        """A token file."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.token_file = self.folder / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.token_file.chmod(0o640)

    def endpoint(self, *answers: Answer, **more: object) -> HTTPEndpoint:
        """One that is there until the test ends."""
        endpoint = HTTPEndpoint(*answers, **more)  # type: ignore[arg-type]
        self.addCleanup(endpoint.close)
        return endpoint

    def start(
        self,
        *arguments: str | bytes,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> subprocess.Popen[bytes]:
        """The program, with a pipe as its input."""
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def result(
        self, process: subprocess.Popen[bytes], message: bytes | None = MESSAGE
    ) -> tuple[int, str]:
        """Exit code and output, which is fit for pipe(8) and does not tell the token."""
        output, _ = process.communicate(message, timeout=PATIENCE)
        text = output.decode("ascii")
        self.assertNotIn(TOKEN, text)
        self.assertLessEqual(len(text), 201)
        if process.returncode == 0:
            self.assertEqual(text, "")
        else:
            first = "4" if process.returncode == 75 else "5"
            self.assertRegex(text, rf"\A{first}\.\d\.\d [ -~]+\n\Z")
        return process.returncode, text

    def post(
        self, endpoint: HTTPEndpoint | str, *more: str | bytes, message: bytes = MESSAGE
    ) -> tuple[int, str]:
        """What comes of a message."""
        url = endpoint if isinstance(endpoint, str) else endpoint.url()
        named = ("--url", url, "--token-file", str(self.token_file))
        return self.result(self.start(*named, *more), message)

    def assert_deferred(self, result: tuple[int, str], text: str) -> None:
        """A deferral that says so."""
        self.assertEqual(result[0], 75, result)
        self.assertIn(text, result[1])


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


class AnswerTests(PostTestCase):
    """What the caller is told."""

    def test_statuses(self) -> None:
        """2xx is delivered; all else is deferred."""
        endpoint = self.endpoint()
        for code in (200, 201, 202, 204, 299):
            endpoint.answer_with(status(code))
            self.assertEqual(self.post(endpoint), (0, ""), code)
        deferred = [101, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 407, 408]
        deferred += [409, 410, 411, 413, 415, 418, 422, 425, 429, 451, 500, 501, 502, 503, 504]
        for code in [*deferred, 599]:
            endpoint.answer_with(status(code))
            self.assert_deferred(self.post(endpoint), f"127.0.0.1: answered {code}")
        for code in (413, 422):
            endpoint.answer_with(status(code))
            self.assert_deferred(self.post(endpoint, "--permanent=400,410"), f"answered {code}")

    def test_permanent_statuses(self) -> None:
        """Those that were named are returned, with a code that fits; by 67 if nobody is there."""
        endpoint = self.endpoint()
        for code, body, ended, line in (
            (400, b"", 69, "5.6.0 message refused (400)"),
            (410, b"", 67, "5.1.6 message refused (410)"),
            (413, b"<h1>5.1.1</h1>", 69, "5.3.4 message refused (413)"),
            (415, b"4.1.1 later", 69, "5.6.1 message refused (415)"),
            (422, b"{}", 69, "5.6.0 message refused (422)"),
            (400, b"5.7.1 not from you", 69, "5.7.1 not from you"),
            (410, b"5.2.1 closed", 69, "5.2.1 closed"),
            (413, b"5.1.1 no such alias\r\nmore", 67, "5.1.1 no such alias"),
        ):
            endpoint.answer_with(status(code, body))
            result = self.post(endpoint, "--permanent", "400,410,413,415,422")
            self.assertEqual(result, (ended, f"{line}\n"))

    def test_native_422(self) -> None:
        """It returns a message without ``--permanent`` if it says so itself, and no other does."""
        endpoint = self.endpoint()
        for body, ended, line in (
            (b"5.1.1 no such alias", 67, "5.1.1 no such alias"),
            (b"  5.7.1 not from you\n", 69, "5.7.1 not from you"),
            (b"5.1.1", 67, "5.1.1 message refused"),
            (b"5.1.1 " + TOKEN.encode(), 67, "5.1.1 ***"),
            (b"5.1.1 a\x1b[2Jb\0\xff\xe2\x80\xa8c\r5.1.2", 67, "5.1.1 a?[2Jb????(c?5.1.2"),
        ):
            endpoint.answer_with(status(422, body))
            ended_with, said = self.post(endpoint)
            if b"\x1b" in body:  # every byte that is not printable is one question mark
                self.assertRegex(said, r"\A5\.1\.1 a\?\[2Jb\?+c\?5\.1\.2\n\Z")
                continue
            self.assertEqual((ended_with, said), (ended, f"{line}\n"))
        for code, body in (
            (400, b"5.1.1 no"),
            (503, b"5.1.1 no"),
            (422, b"5.1 no"),
            (422, b"5.1.1.1 no"),
            (422, b"5.x.1 no"),
            (422, b"5.1.1000 no"),
            (422, b"2.1.1 no"),
            (422, b'{"detail": "5.1.1"}'),
        ):
            endpoint.answer_with(status(code, body))
            self.assert_deferred(self.post(endpoint), f"answered {code}")

    def test_deferral_of_the_endpoint(self) -> None:
        """Its own enhanced status code and text are passed on, without the token."""
        body = b"4.2.2 mailbox full, Bearer " + TOKEN.encode() + b" is fine\n" + b"x" * 300
        result = self.post(self.endpoint(status(503, body)))
        self.assertEqual(result, (75, "4.2.2 127.0.0.1: mailbox full, Bearer *** is fine\n"))
        result = self.post(self.endpoint(status(503, b"4.2.2 " + b"x" * 500)))
        self.assertEqual((result[0], len(result[1])), (75, 201))

    def test_receipt(self) -> None:
        """Asked for one, it takes a 2xx for delivered when its body is OK, and no other."""
        endpoint = self.endpoint()
        for body in (b"OK", b" OK\r\n"):
            endpoint.answer_with(status(200, body))
            self.assertEqual(self.post(endpoint, "--require-receipt"), (0, ""))
        for body in (b"", b"<html>OK</html>", b"NOT OK", b"OK" + b" " * 70_000 + b"not"):
            endpoint.answer_with(status(200, body))
            self.assertEqual(self.post(endpoint)[0], 0)
            if len(body) < 1000:
                self.assert_deferred(self.post(endpoint, "--require-receipt"), "no receipt")

    def test_redirect(self) -> None:
        """Nothing is sent where it leads."""
        other = self.endpoint()
        for code in (301, 302, 303, 307, 308):
            answer = b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
            endpoint = self.endpoint(answer % (code, other.url().encode()))
            self.assert_deferred(self.post(endpoint), "redirects are not followed")
        self.assertEqual(other.connections, 0)

    def test_whole_answers(self) -> None:
        """Chunked, after others that are not final, ended by the connection, of HTTP/1.0."""
        for answer in (
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nO\r\n01\r\nK\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + OK,
            b"HTTP/1.0 200 OK\r\n\r\nOK",
            b"HTTP/1.1 200 OK\ncontent-length:2\nX: folded\n too\n\nOK",
        ):
            result = self.post(self.endpoint(answer), "--require-receipt")
            self.assertEqual(result, (0, ""), answer)

    def test_half_answers(self) -> None:
        """A 2xx that was cut short, or that two could read differently, is a deferral."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for answer in (
            b"",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nOK",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nOK",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nOK",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 20_000 + b"\r\n",
            chunked,
            chunked + b"5\r\nOK",
            chunked + b"2\r\nOK\r\n",
            chunked + b"2\r\nOK\r\n0\r\n",
            chunked + b"2\r\nOK!\r\n0\r\n\r\n",
            chunked + b"-2\r\nOK\r\n0\r\n\r\n",
            chunked + b"0x2\r\nOK\r\n0\r\n\r\n",
            chunked + b"\r\n\r\n",
        ):
            result = self.post(self.endpoint(answer))
            self.assert_deferred(result, "127.0.0.1: the answer")

    def test_garbage(self) -> None:
        """What is not HTTP is not believed, not even to its end."""
        for line in (
            b"220 mail.a.test ESMTP\r\n",
            b"HTTP/2 200 OK\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 20 OK\r\n",
            b"HTTP/1.1  200 OK\r\n",
            b"\0" * 1000 + b"\n",
            b"\r\n",
        ):
            endpoint = self.endpoint(drips([line], threading.Event()))
            self.assert_deferred(self.post(endpoint), "the answer is not HTTP")
            endpoint.close()

    def test_huge_answers(self) -> None:
        """No more than 64 KiB of a body are read, framed either way."""
        waits = threading.Event()
        self.addCleanup(waits.set)
        piece = b"y" * 80_000
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ):
            self.assertEqual(self.post(self.endpoint(drips([head, piece], waits))), (0, ""))


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peak


class TroubleTests(PostTestCase):
    """Whatever goes wrong is a deferral."""

    def test_no_answer(self) -> None:
        """The time is over for the answer, however it drips, and for the message."""
        waits = threading.Event()
        self.addCleanup(waits.set)
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK"):
            endpoint = self.endpoint(drips([answer], waits))
            self.assert_deferred(self.post(endpoint, "--timeout", "1"), "no answer in time")
        named = ("--token-file", str(self.token_file), "--timeout=1")
        process = self.start("--url", self.endpoint().url(), *named)
        self.assertEqual(process.wait(PATIENCE), 75)
        full = self.endpoint(drips([], waits), reads=0)
        result = self.post(full, "--timeout", "1", message=b"x" * 20_000_000)
        self.assert_deferred(result, "no answer in time")

    def test_connection_ends(self) -> None:
        """Closed or cut, before or within the message: also when 2xx was answered to its half."""
        large = b"x" * 20_000_000
        self.assert_deferred(self.post(self.endpoint(closes)), "the answer was cut short")
        self.assert_deferred(self.post(self.endpoint(resets)), "4.4.2")
        for answer in (closes, resets, OK):
            endpoint = self.endpoint(answer, reads=1000)
            self.assert_deferred(self.post(endpoint, message=large), "4.4.2")

    def test_refused_at_once(self) -> None:
        """A message that is too large is known to be before all of it was sent."""

        def refuses(connection: socket.socket) -> None:
            connection.sendall(status(413))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass

        endpoint = self.endpoint(refuses, reads=1000)
        result = self.post(endpoint, "--permanent=413", message=b"x" * 20_000_000)
        self.assertEqual(result, (69, "5.3.4 message refused (413)\n"))

    def test_nobody_there(self) -> None:
        """Refused, and without an address."""
        endpoint = self.endpoint()
        endpoint.close()
        self.assert_deferred(self.post(endpoint), "4.4.1 127.0.0.1 port")
        self.assert_deferred(self.post("https://nobody.invalid/"), "4.4.3 nobody.invalid: ")
        self.assert_deferred(self.post(f"https://{'a' * 90}..test/"), "4.4.3 aaa")

    def test_signals(self) -> None:
        """Told to stop while it waits, it defers."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            endpoint = self.endpoint()
            endpoint.answer_with(endpoint.silence)
            named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
            process = self.start(*named)
            assert process.stdin is not None
            process.stdin.write(MESSAGE)
            process.stdin.close()
            process.stdin = None
            self.until_asked(endpoint)
            process.send_signal(number)
            self.assert_deferred(self.result(process, None), f"stopped by signal {int(number)}")

    def until_asked(self, endpoint: HTTPEndpoint) -> None:
        """Wait for its first request."""
        end = time.monotonic() + PATIENCE
        while not endpoint.requests:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_usage(self) -> None:
        """A call that it does not understand, and one for help: ending with 0 would be delivery."""
        for arguments, text in (
            ((), "--url is not like"),
            (("--help",), "unknown option --help"),
            (("--version",), "unknown option --version"),
            (("--urls", "x"), "unknown option --urls"),
            (("--url",), "--url needs a value"),
            (("--recipient", "a@a.test", "b@b.test"), "more than one recipient"),
            (("--token", TOKEN), "unknown option --token"),
            (("--recipient="), "--recipient needs a value"),
            (("--timeout", "0"), "--timeout: 0 is not of 1 to 300"),
            (("--timeout", "301"), "--timeout: 301 is not of 1 to 300"),
            (("--timeout", "1e2"), "--timeout: 1e2 is not"),
            (("--timeout", "9" * 5000), "--timeout: 999"),
            (("--permanent", "401"), "--permanent: 401 is not of 400, 410, 413, 415, 422"),
            (("--permanent", "400,"), "--permanent"),
            (("--require-receipt=no",), "unknown option --require-receipt"),
        ):
            given = (arguments,) if isinstance(arguments, str) else arguments
            self.assert_deferred(self.result(self.start(*given)), text)

    def test_urls(self) -> None:
        """What is not HTTPS, or HTTP of this machine, is not asked; the URL is not repeated."""
        for url in (
            "",
            "ftp://a.test/",
            "a.test/",
            "https:///x",
            "https://",
            "https://user:pass@a.test/",
            "https://a.test:0/",
            "https://a.test:65536/",
            "https://a.test:x/",
            "https://a.test/a b",
            "https://a.test/\r\nX: y",
            "https://a.test/#here",
            "https://[::1/",
            "https://[::1]1/",
            "https://[a.test]/",
            "https://a.test\\@b.test/",
            "https://ä.test/",
        ):
            result = self.post(url)
            self.assert_deferred(result, "4.3.5 mailrelay-post: ")
            self.assertNotIn("pass", result[1])
        for url in ("http://192.0.2.1/", "http://[2001:db8::1]:80/"):
            self.assert_deferred(self.post(url), "--url must begin with https")

    def test_loopback_by_name(self) -> None:
        """``http://localhost`` is this machine."""
        endpoint = self.endpoint()
        result = self.post(f"HTTP://localhost:{endpoint.port}?rcpt=a")
        self.assertEqual(result, (0, ""))
        self.assertEqual(endpoint.requests[0].line, b"POST /?rcpt=a HTTP/1.1")

    def test_name_of_two_machines(self) -> None:
        """In clear to a name only if all its addresses are this machine's."""
        endpoint = self.endpoint()
        for other, ended in (("127.0.0.2", 0), ("192.0.2.1", 75)):
            code = (
                "import socket\nfrom mailrelay.handoff import post\n"
                "known = [(2, 1, 6, '', (host, {})) for host in ('127.0.0.1', '{}')]\n"
                "socket.getaddrinfo = lambda *where, **how: known\npost.main()\n"
            )
            program = (sys.executable, "-S", "-s", "-c", code.format(endpoint.port, other))
            named = ("--url", "http://a.test/", "--token-file", str(self.token_file))
            self.assertEqual(self.result(self.start(*named, program=program))[0], ended)
        self.assertEqual(endpoint.connections, 1)

    def test_token_files(self) -> None:
        """Missing, empty, of several lines, too long, open to others, no file."""
        endpoint = self.endpoint()
        for content, mode, text in (
            ("", 0o600, "is not one word"),
            ("one\ntwo\n", 0o600, "is not one word"),
            ("x" * 5000, 0o600, "is not one word"),
            ("schlüssel", 0o600, "is not one word"),
            (TOKEN, 0o644, "is open to other users: chmod 640"),
            (TOKEN, 0o660, "is open to other users"),
        ):
            self.token_file.write_text(content)
            self.token_file.chmod(mode)
            self.assert_deferred(self.post(endpoint), text)
        self.token_file.unlink()
        self.assert_deferred(self.post(endpoint), "cannot be read: No such file")
        os.mkfifo(self.token_file, 0o600)
        self.assert_deferred(self.post(endpoint), "is not one word")
        self.assert_deferred(
            self.result(self.start("--url", endpoint.url())), "no token: give --token-file"
        )
        self.assertEqual(endpoint.connections, 0)

    def test_input(self) -> None:
        """Nothing on standard input, a closed one; and a closed output."""
        endpoint = self.endpoint()
        self.assert_deferred(self.post(endpoint, message=b""), "no message on standard input")
        for how, text in (
            ("<&-", "cannot take the message in"),
            ("</dev/null", "no message"),
        ):
            script = f'exec "$@" {how}'
            program = ("sh", "-c", script, "sh", *PROGRAM)
            named = ("--url", endpoint.url(), "--token-file", str(self.token_file))
            self.assert_deferred(self.result(self.start(*named, program=program), None), text)
        program = ("sh", "-c", 'exec "$@" >&- 2>&-', "sh", *PROGRAM)
        self.assertEqual(self.start("--help", program=program).wait(PATIENCE), 75)
        self.assertEqual(endpoint.connections, 0)

    def test_no_memory_and_mistakes(self) -> None:
        """An exception that nobody expected, MemoryError too, in either thread."""
        for broken in ("read_message", "request_head", "Endpoint", "parse_call"):
            for error in ("MemoryError", "KeyError('x\\n')", "SystemExit(0)", "KeyboardInterrupt"):
                code = (
                    "import sys\nfrom mailrelay.handoff import post\n"
                    f"def broken(*arguments):\n    raise {error}\n"
                    f"post.{broken} = broken\npost.main()\n"
                )
                program = (sys.executable, "-S", "-s", "-c", code)
                named = ("--url", "https://a.test/", "--token-file", str(self.token_file))
                result = self.result(self.start(*named, program=program))
                self.assert_deferred(result, "mailrelay-post: " + error.partition("(")[0])

    def test_no_room_for_the_message(self) -> None:
        """A large message that no temporary file can hold is deferred."""
        named = ("--url", self.endpoint().url(), "--token-file", str(self.token_file))
        limited = ("sh", "-c", 'ulimit -f 1000; trap "" XFSZ; exec "$@"', "sh", *PROGRAM)
        process = self.start(*named, program=limited)
        result = self.result(process, b"x" * 5_000_000)
        self.assert_deferred(result, "4.3.1 cannot take the message in: File too large")


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
