"""Where requests begin and end, whatever their bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.web.framing import (
    CHUNK_LINE_BYTES,
    TRAILER_BYTES,
    ChunkedBody,
    FixedBody,
    Head,
    Malformed,
    take_head,
)
from mailrelay.web.settings import HTTPSettings

SETTINGS = HTTPSettings()


def head_of(*lines: str, request_line: str = "POST /a?b HTTP/1.1") -> Head:
    """A header with one Host and ``lines``.  Raises: Malformed."""
    text = "\r\n".join([request_line, "Host: a", *lines, "", ""])
    buffer = bytearray(text.encode("latin-1") + b"rest")
    head = take_head(buffer, SETTINGS)
    assert head is not None and buffer == b"rest", buffer
    return head


class HeadTests(SynchronousTestCase):
    """Headers."""

    def refused(self, data: bytes, status: int = 400) -> None:
        """``data`` is no header, as far as it came."""
        error = self.assertRaises(Malformed, take_head, bytearray(data), SETTINGS)
        self.assertEqual(error.status, status, data)

    def test_parts(self) -> None:
        """Method, target and fields are found; names are case-insensitive."""
        head = head_of("Content-LENGTH:  5\t", "X-A: 1", "x-a:2")
        self.assertEqual((head.method, head.target, head.length), ("POST", "/a?b", 5))
        self.assertEqual(head.headers.all("x-a"), ["1", "2"])
        self.assertEqual(head.headers.get("x-a"), "1, 2")
        self.assertIsNone(head.headers.get("x-b"))

    def test_pieces(self) -> None:
        """However the bytes are cut, the header is taken when its last byte is there."""
        data = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for cut in range(len(data)):
            buffer = bytearray(data[:cut])
            self.assertIsNone(take_head(buffer, SETTINGS), cut)
            buffer += data[cut:]
            self.assertIsNotNone(take_head(buffer, SETTINGS), cut)
            self.assertEqual(buffer, b"")

    def test_request_lines(self) -> None:
        """Anything but a method, a path and a version we speak is refused."""
        for line in (
            *("GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1"),
            *("G(T / HTTP/1.1", "GET a HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\xe9 HTTP/1.1"),
            *("CONNECT a:25 HTTP/1.1", "GET * HTTP/1.1", "GET / http/1.1", "GET / FTP/1.1", ""),
            "GET http://a HTTP/1.1",
        ):
            self.refused(f"{line}\r\nHost: a\r\n\r\n".encode("latin-1"))
        for version in ("0.9", "1.2", "2.0"):
            self.refused(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode(), 505)

    def test_absolute_target(self) -> None:
        """RFC 9112 section 3.2.2: it must be taken; the path is what counts."""
        self.assertEqual(head_of(request_line="GET HTTP://b:1/c?d HTTP/1.1").target, "/c?d")
        self.assertEqual(head_of(request_line="GET /http://b/ HTTP/1.1").target, "/http://b/")
        self.assertEqual(head_of(request_line="OPTIONS * HTTP/1.1").target, "*")

    def test_mail_client(self) -> None:
        """SMTP is refused at its first line, TLS and other noise no later than too much of it."""
        self.refused(b"EHLO client.example.org\r\n")
        self.refused(b"GET / HTTP/1.1\nHost: a\n\n")
        self.refused(b"\x16\x03\x01\x02\x00\n")
        self.refused(b"x" * (SETTINGS.header_bytes + 1), 431)

    def test_fields(self) -> None:
        """No folding, no space before the colon, no control characters, one Host."""
        for line in (
            *(" folded", "\tfolded", "a : b", ": b", "a", "a\x00: b", "a: b\x00c", "a: b\x0bc"),
            *("a: b\nc: d", "a: b\rc: d", "a\xe9: b", "Host: b"),
        ):
            with self.assertRaises(Malformed, msg=repr(line)):
                head_of(line)
        self.refused(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(head_of("a: \xe9\t\x80").headers.get("a"), "\xe9\t\x80")

    def test_old_http(self) -> None:
        """HTTP/1.0 needs no Host; its connections are for one request."""
        head = take_head(bytearray(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), SETTINGS)
        assert head is not None
        self.assertFalse(head.is_persistent)
        self.assertTrue(head_of().is_persistent)
        self.assertFalse(head_of("Connection: a, Close").is_persistent)

    def test_bounds(self) -> None:
        """Fields in number and in bytes."""
        head_of(*["a: b"] * (SETTINGS.header_fields - 1))
        fields = b"a: b\r\n" * SETTINGS.header_fields
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", 431)
        long = b"a: " + b"b" * SETTINGS.header_bytes
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + long + b"\r\n\r\n", 431)

    def test_lengths(self) -> None:
        """Threat 26: the length of a body is said once, in one way, or not at all."""
        good = {
            (): 0,
            ("Content-Length: 0",): 0,
            ("Content-Length: 007",): 7,
            ("Transfer-Encoding: chunked",): None,
            ("transfer-encoding: CHUNKED",): None,
        }
        for lines, length in good.items():
            self.assertEqual(head_of(*lines).length, length)
        for bad in (
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Content-Length: 5"),
            ("Transfer-Encoding: chunked", "Content-Length: x"),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 5", "content-length: 5"),
            ("Content-Length: 5, 5",),
            ("Content-Length:",),
            ("Content-Length: +5",),
            ("Content-Length: -5",),
            ("Content-Length: 0x5",),
            ("Content-Length: 5 5",),
            ("Content-Length: 5.0",),
            ("Content-Length: \xb2",),
            ("Content-Length: " + "9" * 5000,),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
            ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: chunked, identity",),
            ("Transfer-Encoding: identity",),
            ("Transfer-Encoding:",),
            ("Transfer-Encoding: xchunked",),
            ("Transfer-Encoding: \x0bchunked",),
            ("Transfer-Encoding: chunked;a=b",),
            ("Transfer-Encoding : chunked",),
            ("Transfer-Encoding\t: chunked", "Content-Length: 5"),
        ):
            with self.assertRaises(Malformed, msg=bad):
                head_of(*bad)
        with self.assertRaises(Malformed):
            head_of("Transfer-Encoding: chunked", request_line="POST / HTTP/1.0")


class ChunkTests(SynchronousTestCase):
    """Bodies in chunks."""

    def refused(self, data: bytes) -> None:
        """``data`` is no body."""
        with self.assertRaises(Malformed, msg=data):
            ChunkedBody().take(bytearray(data))

    @given(
        chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
        cuts=st.lists(st.integers(1, 20), min_size=1, max_size=9),
    )
    def test_cut_anywhere(self, chunks: list[bytes], cuts: list[int]) -> None:
        """However the bytes are cut, the body is the same, and what follows it is left."""
        pieces = [b"%X;x=y\r\n%s\r\n" % (len(data), data) for data in chunks]
        wire = b"".join(pieces) + b"0\r\nTrailer: a\r\n\r\nGET /"
        decoder, buffer, body = ChunkedBody(), bytearray(), b""
        at = 0
        while at < len(wire):
            size = cuts[at % len(cuts)]
            buffer += wire[at : at + size]
            at += size
            body += decoder.take(buffer)
        self.assertTrue(decoder.is_done)
        self.assertEqual((body, bytes(buffer)), (b"".join(chunks), b"GET /"))

    def test_malformed(self) -> None:
        """Sizes are hexadecimal, lines end in CRLF, and a chunk is as long as it says."""
        for data in (
            *(
                b"x\r\n",
                b"\r\n",
                b"-1\r\n",
                b"+1\r\n",
                b"0x1\r\n",
                b"1 1\r\n",
                b" 1\r\n",
                b"1_1\r\n",
            ),
            *(b"1\n", b"1\ra\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"1;\x00\r\n", b"123456789\r\n"),
            *(b"0\r\nbad\r\n", b"0\r\n folded: a\r\n", b"0\r\na: b\n", b"\n"),
            b"1;" + b"a" * CHUNK_LINE_BYTES,
            b"0\r\n" + b"a: b\r\n" * TRAILER_BYTES,
        ):
            self.refused(data)

    def test_declared(self) -> None:
        """A body of declared length takes that much."""
        buffer, decoder = bytearray(b"ab"), FixedBody(3)
        self.assertEqual(decoder.take(buffer), b"ab")
        buffer += b"cd"
        self.assertEqual((decoder.take(buffer), bytes(buffer)), (b"c", b"d"))
        self.assertTrue(decoder.is_done)

    @given(st.binary(max_size=300))
    def test_only_declared_exceptions(self, noise: bytes) -> None:
        """Whatever comes, nothing but Malformed is raised."""
        for take in (lambda b: take_head(b, SETTINGS), ChunkedBody().take):
            for start in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"1;"):
                try:
                    take(bytearray(start + noise))
                except Malformed as error:
                    self.assertIn(error.status, (400, 431, 505))
