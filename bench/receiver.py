"""A receiver of webhooks that answers 200 at once: `python -m bench.receiver PORT`.

It costs as little as it can, since it shares the machine with what is measured. A GET answers
with the number of calls so far and the seconds from each event to its call.
"""

import asyncio
import json
import sys
import time
from datetime import datetime

import attrs

from bench.net import ADDRESS

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
QUEUED = (b'"WebhookQueued":"', b'"timestamp":"')
"""Behind them it stands when the event was, in mox's shape and in ours."""


@attrs.define
class Told:
    """What is told to whom asks."""

    calls: int = 0
    seconds: list[float] = attrs.field(factory=list)


TOLD = Told()


class Connection(asyncio.Protocol):
    """Requests one after the other."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            _, named, value = head.lower().partition(b"\r\ncontent-length: ")
            length = int(value.split(b"\r\n")[0]) if named else 0
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            told = json.dumps(attrs.asdict(TOLD)).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told))
            self._transport.write(told)
            TOLD.seconds.clear()
            return
        TOLD.calls += 1
        behind = next(body.partition(one)[2] for one in QUEUED if one in body)
        queued = behind.partition(b'"')[0].decode()
        TOLD.seconds.append(time.time() - datetime.fromisoformat(queued).timestamp())
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Answers until it is killed."""
    server = await asyncio.get_running_loop().create_server(Connection, ADDRESS, port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
