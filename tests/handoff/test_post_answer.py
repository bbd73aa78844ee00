"""What mailrelay-post makes of an endpoint's answer."""

from __future__ import annotations

import threading

from tests.handoff.endpoint import (
    OK,
    drips,
    status,
)
from tests.handoff.posting import TOKEN, PostTestCase


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
