"""Whatever goes wrong with mailrelay-post is a deferral."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

from tests.handoff.endpoint import (
    OK,
    PATIENCE,
    HTTPEndpoint,
    closes,
    drips,
    resets,
    status,
)
from tests.handoff.posting import MESSAGE, PROGRAM, TOKEN, PostTestCase


class TroubleTests(PostTestCase):
    """Of the endpoint, of the call, of the machine."""

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
