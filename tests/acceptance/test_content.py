"""Content on its way in: what is kept of it in memory while the rest goes to the spool."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.content import BLOCK_BYTES, IncomingContent
from mailrelay.message.header import MAX_HEADER_BYTES

HEADER = b"Subject: large\r\nFrom: a@client.test\r\n\r\n"
LINE = b"x" * 62 + b"\r\n"


@define
class KeptBody:
    """A SpoolWriter that keeps what it is given."""

    name: str = "kept"
    written: list[bytes] = field(factory=list)

    def append(self, data: bytes) -> Deferred[None]:
        """See SpoolWriter."""
        self.written.append(data)
        return succeed(None)

    def finish(self) -> Deferred[None]:
        """See SpoolWriter."""
        return succeed(None)

    def abandon(self) -> None:
        """See SpoolWriter."""
        self.written.clear()


class IncomingContentTests(SynchronousTestCase):
    """IncomingContent."""

    def setUp(self) -> None:
        """A body that is not written to yet."""
        self.body = KeptBody()
        self.content = IncomingContent(lambda: self.body)

    def write(self, data: bytes, piece: int) -> None:
        """Write ``data`` in pieces."""
        for at in range(0, len(data), piece):
            self.content.write(data[at : at + piece])

    def test_head_of_spooled_content_is_its_header(self) -> None:
        """Of a large message only the header section stays in memory, however it was cut."""
        data = HEADER + LINE * 20_000
        for piece in (len(HEADER) - 2, len(HEADER), 4096, len(data)):
            self.setUp()
            self.write(data, piece)
            self.assertEqual(self.successResultOf(self.content.finish()), (None, "kept"))
            self.assertEqual(self.content.head, HEADER)
            self.assertEqual(b"".join(self.body.written), data)

    def test_header_over_several_blocks(self) -> None:
        """A header section that ends in a later block is whole."""
        header = b"X-Long: " + b"x" * (BLOCK_BYTES - 100) + b"\r\n\r\n"
        self.write(header + LINE * 10_000, 10_000)
        self.successResultOf(self.content.finish())
        self.assertEqual(self.content.head, header)

    def test_head_without_end_is_bounded(self) -> None:
        """Content that is all header section is kept as far as its refusal needs it."""
        self.write(b"X: y\r\n" * 200_000, 60_000)
        self.successResultOf(self.content.finish())
        self.assertEqual(len(self.content.head), MAX_HEADER_BYTES + 4)

    def test_small_content_is_its_own_head(self) -> None:
        """Small content never meets the spool."""
        self.write(HEADER + LINE, 10)
        self.assertEqual(self.successResultOf(self.content.finish()), (HEADER + LINE, None))
        self.assertEqual((self.content.head, self.body.written), (HEADER + LINE, []))
