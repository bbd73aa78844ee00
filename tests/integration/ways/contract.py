"""What is promised of a way out, whatever is spoken on it.

A next hop behaves as the test says, one attempt after the other; it keeps what it took.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Protocol

from twisted.internet import reactor

from mailrelay.config.settings import QueueSection
from mailrelay.control.queue import EntryFilter, EntryView
from mailrelay.observe.events import Event
from mailrelay.testing.loopback import Loopback
from tests.integration.world import soon, start_world

SENDER = b"author@client.test"
FIRST_RETRY = 0.3
BODY = (
    b"From: author@client.test\r\nTo: you\r\nSubject: hello\r\nMessage-ID: <one@client.test>\r\n"
    b"\r\n.hidden dot\r\nand a byte: \xe9\r\n"
)


class Does(Enum):
    """What a next hop does with a message."""

    TAKES = "takes"
    DEFERS = "defers"
    REFUSES = "refuses"
    CUTS = "cuts"  # the connection, before anything is kept
    TAKES_AND_CUTS = "takes and cuts"  # it is kept, and nobody is told


class NextHop(Protocol):
    """What mail is sent to."""

    recipient: str
    settings: Mapping[str, Any]

    def will(self, *behaviours: Does) -> None:
        """Behave so, the last way from then on."""

    def copies(self) -> Sequence[bytes]:
        """What it has, repeats that it knows as such once."""


class WayContract:
    """The suite; ``make`` starts the next hop."""

    timeout = 120
    knows_repeats: ClassVar[bool]
    delivered: ClassVar[str] = "delivered"
    arrives: ClassVar[bytes] = BODY  # how a copy ends

    @abstractmethod
    async def make(self) -> NextHop:
        """The next hop, listening until the test ends."""

    async def begin(self, *behaviours: Does) -> None:
        """Start both, and have the server take one message for the next hop."""
        case: Any = self
        self.hop = await self.make()
        self.hop.will(*behaviours)
        queue = QueueSection(first_retry_after=FIRST_RETRY, longest_retry_after=FIRST_RETRY)
        self.server: Loopback = await start_world(
            case,
            reactor,
            **{
                "queue": queue,
                "trusted_networks": ("127.0.0.1/32",),
                "roles": ("mx", "submission"),
                **self.hop.settings,
            },
        )
        self.control = self.server.control()
        case.addCleanup(self.control.close)
        await self.prepare()
        await self.hand_in()

    async def hand_in(self) -> None:
        """Have the server take the message."""
        case: Any = self
        case.assertEqual((await self.submit())[:3], b"250")

    async def submit(self) -> bytes:
        """What the server answers to the message."""
        replies = await self.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s> BODY=8BITMIME" % SENDER,
            b"RCPT TO:<%s>" % self.hop.recipient.encode(),
            b"DATA",
            BODY.replace(b"\r\n.", b"\r\n..") + b".",
        )
        return replies[-1]

    async def prepare(self) -> None:
        """What must be there before the message."""

    async def ended(self) -> tuple[str | None, list[Event]]:
        """How the entry ended, and what was recorded of it."""
        while True:
            wanted = EntryFilter(recipient=self.hop.recipient, retired=True)
            found: Sequence[EntryView] = await self.control.queue.find(wanted)
            if found:
                history = await self.control.queue.history(found[0].entry.id)
                told = [event for event in history.events if event.kind.value != "accepted"]
                return found[0].outcome, told
            await soon(reactor, 0.05)

    async def expect(self, outcome: str, kinds: Sequence[str], copies: int) -> None:
        """The entry must end so, with these events, and the next hop have so many copies."""
        case: Any = self
        ended, events = await self.ended()
        told = [event.kind.value for event in events if event.kind.value != "reported"]
        case.assertEqual((ended, told), (outcome, list(kinds)), events)
        had = [copy for copy in self.hop.copies() if b"multipart/report" not in copy]
        case.assertEqual([copy[-len(self.arrives) :] for copy in had], [self.arrives] * copies)

    async def test_delivered(self) -> None:
        """What is taken is delivered once, as it came."""
        await self.begin(Does.TAKES)
        await self.expect(self.delivered, [self.delivered], 1)

    async def test_deferred(self) -> None:
        """What is put off is tried again, and delivered once."""
        await self.begin(Does.DEFERS, Does.TAKES)
        await self.expect(self.delivered, ["delayed", self.delivered], 1)

    async def test_refused(self) -> None:
        """What is refused is not tried again; its sender is told, by a DSN."""
        case: Any = self
        await self.begin(Does.REFUSES, Does.TAKES)
        await self.expect("failed", ["failed"], 0)
        _, events = await self.ended()
        case.assertIn("reported", [event.kind.value for event in events])

    async def test_cut_before(self) -> None:
        """A connection that ends before anything is kept costs an attempt, and no message."""
        await self.begin(Does.CUTS, Does.TAKES)
        await self.expect(self.delivered, ["delayed", self.delivered], 1)

    async def test_cut_after(self) -> None:
        """One that ends before the answer costs a repeat, which is known where that can be."""
        await self.begin(Does.TAKES_AND_CUTS, Does.TAKES)
        copies = 1 if self.knows_repeats else 2
        await self.expect(self.delivered, ["delayed", self.delivered], copies)
