"""Targets for HTTP: a whole connection, and the URLs that may be called."""

from __future__ import annotations

from random import Random

from mailrelay.net.destination import UnusableURL, is_permitted, parse_url
from tests.fuzz.generators import cut, grown
from tests.web.wire import ECHO, HELLO, Wire

REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"Content-Length: 5\r\n\r\nabcde",
    b"Content-Length: 2000\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"5\r\nabcde\r\n",
    b"A;x=y\r\n0123456789\r\n",
    b"0\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
    b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n",
    b"\r\n",
    b"EHLO a\r\n",
]

URLS = [
    *(b"http://", b"https://", b"a.example", b"127.0.0.1", b"[::1]", b"[::ffff:10.0.0.1]", b":80"),
    *(b"@", b"/", b"?", b"#", b"%", b"\\", b".", b"0x7f", b"2130706433", b"0177", b"[", b"]", b"1"),
]


def http_connection(random: Random) -> None:
    """However a connection's bytes are cut, the same is answered, and never 500."""
    data = grown(random, REQUESTS)
    whole = _answered([data])
    assert b" 500 " not in whole, data
    assert _answered(cut(random, data)) == whole, data


def _answered(pieces: list[bytes]) -> bytes:
    wire = Wire([HELLO, ECHO])
    for piece in pieces:
        wire.connection.dataReceived(piece)
    answered: bytes = wire.transport.value()
    return answered


def url(random: Random) -> None:
    """A URL that is taken reads the same again, and its literal address is what is looked at."""
    text = grown(random, URLS, 8).decode("latin-1")
    try:
        destination = parse_url(text)
    except UnusableURL:
        return
    again = f"{destination.scheme}://{destination.authority}{destination.path}"
    assert parse_url(again) == destination, text
    if destination.host.replace(".", "").isdigit() or ":" in destination.host:
        assert is_permitted(destination.host) in (True, False), text
    assert not set(destination.host) & set("@/\\#?% "), text
