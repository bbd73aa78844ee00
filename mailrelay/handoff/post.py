"""``mailrelay-post``: hands standard input to an HTTPS endpoint, for pipe(8) of Postfix.

- It ends with 0 only after the endpoint's whole 2xx answer to the whole message.
- Everything else that happens to it is a deferral, which ends it with 75: pipe(8) bounces what ends
  with most other codes.  So it has no ``--help`` that ends with 0, and no error that ends with 1.
- Only an endpoint's own word makes a bounce (69, or 67 where there is no such recipient): 422 with
  a line like ``5.1.1 no such alias``, or a status that ``--permanent`` names.
- It prints no more than one line, ``4.x.x text`` or ``5.x.x text``, and never the token.
- It ends within ``--timeout`` seconds, whatever hangs: alarm and signals are the main thread's, and
  a second one does the work.

Standard library only, so that a mail host needs nothing else of mailrelay.  What is imported up
here is what a deferral needs; all else is imported where a failure can still be told.
"""

from __future__ import annotations

import os
import signal
import sys

from mailrelay.handoff.post_call import Call, Endpoint, parse_call, read_token
from mailrelay.handoff.post_verdict import (
    EX_TEMPFAIL,
    Undelivered,
    judge,
    misconfigured,
    reason,
)

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterable, Iterator
    from types import FrameType
    from typing import IO, Any, NoReturn

CONNECT_TIMEOUT = 10.0
"""Seconds for each of the endpoint's addresses."""
OUTPUT_CHARS = 200
BLOCK_BYTES = 64 * 1024
MEMORY_BYTES = 1024 * 1024
"""A message beyond this waits in a temporary file."""


# The message


class Message:
    """Standard input, read to its end: ``content`` is at its start, ``digest`` is its SHA-256."""

    def __init__(self, content: IO[bytes], length: int, digest: bytes) -> None:
        self.content, self.length, self.digest = content, length, digest

    def blocks(self) -> Iterator[bytes]:
        """Its bytes, as they came."""
        while block := self.content.read(BLOCK_BYTES):
            yield block


def read_message(source: int) -> Message:
    """All that the file descriptor gives, in constant memory.  Raises: Undelivered."""
    import hashlib
    import io

    content: IO[bytes] = io.BytesIO()
    length, digest = 0, hashlib.sha256()
    try:
        while block := os.read(source, BLOCK_BYTES):
            if length <= MEMORY_BYTES < length + len(block):
                content = _on_disk(content)
            content.write(block)
            digest.update(block)
            length += len(block)
        content.seek(0)
    except OSError as error:
        raise Undelivered("4.3.1", f"cannot take the message in: {reason(error)}") from None
    if not length:
        raise misconfigured("no message on standard input")
    return Message(content, length, digest.digest())


def _on_disk(content: IO[bytes]) -> IO[bytes]:
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with the process
    content.seek(0)
    file.write(content.read())
    return file


# The request


def quoted(text: str) -> str:
    """A field's value: whatever is not visible ASCII, and ``%``, is percent-encoded by bytes."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in os.fsencode(text)
    )


def idempotency_key(call: Call, message: Message) -> str:
    """The same for every try of one message for the same recipients, and for nothing else.

    The content is in it because queue ids are used again, and because a caller that dies half way
    leaves us half a message, which must not stand for the whole one.
    """
    import hashlib

    key = hashlib.sha256(message.digest)
    for one in (call.queue_id, call.sender or "", *sorted(set(call.recipients))):
        value = os.fsencode(one)
        key.update(b"%d:%s" % (len(value), value))
    return key.hexdigest()


def request_head(call: Call, endpoint: Endpoint, token: str, message: Message) -> bytes:
    """The request up to its body."""
    fields = [
        ("Host", endpoint.authority),
        ("Authorization", f"Bearer {token}"),
        ("User-Agent", "mailrelay-post"),
        ("Accept", "text/plain"),
        ("Connection", "close"),
        ("Content-Type", "message/rfc822"),
        ("Content-Length", str(message.length)),
        ("Idempotency-Key", idempotency_key(call, message)),
    ]
    if call.queue_id:
        fields.append(("X-Mailrelay-Id", quoted(call.queue_id)))
    if call.sender is not None:
        fields.append(("X-Mailrelay-Mail-From", quoted(call.sender)))
    fields += [("X-Mailrelay-Rcpt-To", quoted(one)) for one in call.recipients]
    lines = [f"POST {endpoint.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


# The connection


def connected(endpoint: Endpoint, ca: str) -> socket.socket:
    """A connection that may be given the token.  Raises: Undelivered."""
    import socket

    context = _tls_context(ca) if endpoint.is_https else None
    host = endpoint.host.encode("ascii")  # a str would import the codec of IDNA
    try:
        found = socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Undelivered("4.4.3", f"{endpoint.host}: {reason(error)}") from None
    if not endpoint.is_https and not all(_is_loopback(str(place[0])) for *_, place in found):
        raise misconfigured(f"{endpoint.host} is another machine: --url must begin with https")
    connection = _first_connected(endpoint, found)
    if context is None:
        return connection
    try:
        return context.wrap_socket(
            connection, server_hostname=endpoint.host, suppress_ragged_eofs=False
        )
    except OSError as error:
        why = getattr(error, "verify_message", "") or reason(error)
        raise Undelivered("4.7.5", f"{endpoint.host}: no trusted TLS: {why}") from None


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _first_connected(endpoint: Endpoint, found: Iterable[Any]) -> socket.socket:
    import socket

    last = "no address"
    for family, kind, protocol, _, place in found:
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(CONNECT_TIMEOUT)
            connection.connect(place)
            connection.settimeout(None)  # the alarm is the limit
            return connection
        except OSError as error:
            last = reason(error)
    raise Undelivered("4.4.1", f"{endpoint.host} port {endpoint.port}: {last}")


def _tls_context(ca: str) -> ssl.SSLContext:
    """TLS 1.2 or later, with the server's certificate verified."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise misconfigured(f"--ca {ca} has no certificates: {reason(error)}") from None
    # With OpenSSL 3 Python takes a connection that is cut off for one that was closed.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.set_alpn_protocols(["http/1.1"])
    return context


# The program


def deliver(call: Call, source: int) -> None:
    """Return once the endpoint has the message.  Raises: Undelivered."""
    from mailrelay.handoff.post_answer import BadAnswer, read_answer

    endpoint, token = Endpoint(call.url), read_token(call.token_file)
    message = read_message(source)
    head = request_head(call, endpoint, token, message)
    with connected(endpoint, call.ca) as connection:
        try:
            is_sent = _send(connection, head, message)
            with connection.makefile("rb") as reader:
                status, body = read_answer(reader)
        except (OSError, BadAnswer) as error:
            raise Undelivered("4.4.2", f"{endpoint.host}: {reason(error)}") from None
    if not is_sent and status < 300:
        raise Undelivered("4.4.2", f"{endpoint.host}: answered {status} to half a message")
    try:
        judge(status, body, call, token)
    except Undelivered as error:
        if error.code == EX_TEMPFAIL:
            raise Undelivered(error.status, f"{endpoint.host}: {error.text}") from None
        raise


def _send(connection: socket.socket, head: bytes, message: Message) -> bool:
    """Whether all of it left; one who refuses a message may not read it to its end."""
    try:
        connection.sendall(head)
        for block in message.blocks():
            connection.sendall(block)
    except OSError:
        return False
    return True


def end(status: str = "", text: str = "", code: int = 0) -> NoReturn:
    """Leave now, from any thread: nothing that hangs or breaks on the way out changes the code."""
    try:
        if status:
            line = f"{status} {text}"[:OUTPUT_CHARS]
            os.write(1, "".join(c if " " <= c <= "~" else "?" for c in line).encode() + b"\n")
    finally:
        os._exit(code)


def _work(call: Call) -> None:
    try:
        deliver(call, 0)
    except Undelivered as error:
        end(error.status, error.text, error.code)
    except BaseException as error:  # no memory, a library's or our own mistake
        end("4.3.0", f"mailrelay-post: {type(error).__name__}", EX_TEMPFAIL)
    end()


def _interrupted(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGALRM:
        end("4.4.1", "no answer in time", EX_TEMPFAIL)
    end("4.3.0", f"mailrelay-post: stopped by signal {number}", EX_TEMPFAIL)


def main() -> NoReturn:
    """The console script."""
    try:
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _interrupted)
        call = parse_call(sys.argv[1:])
        signal.alarm(call.timeout)
        import threading

        worker = threading.Thread(target=_work, args=(call,), daemon=True)
        worker.start()
        worker.join()
    except Undelivered as error:
        end(error.status, error.text, error.code)
    except BaseException as error:
        end("4.3.0", f"mailrelay-post: {type(error).__name__}", EX_TEMPFAIL)
    end("4.3.0", "mailrelay-post: ended without a result", EX_TEMPFAIL)


if __name__ == "__main__":
    main()
