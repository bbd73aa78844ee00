"""A client protocol on a wire of the test's own, with a clock that stands still."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailrelay.net.tls import TLSLevel
from mailrelay.outbound.content import Outgoing
from mailrelay.outbound.opening import SessionPlan
from mailrelay.outbound.protocol import SMTPClientProtocol
from mailrelay.outbound.settings import Timeouts
from mailrelay.queue.outcome import outcome_of_error, outcome_of_reply
from mailrelay.smtp.address import Address
from mailrelay.smtp.dialogue import Done, OutgoingEnvelope, OutgoingRecipient, Transaction
from tests.outbound.delivery import short

PLAN = SessionPlan("peer.test", "us.test", TLSLevel.NONE, False, None, Timeouts())


class Transport(StringTransport):
    """Knows when it was given up; ``drain`` asks the producer for more, as a socket does."""

    aborted = False

    def abortConnection(self) -> None:
        """See ITCPTransport."""
        self.aborted = True

    def drain(self) -> bytes:
        """What was written; the peer has taken it."""
        data: bytes = self.value()
        self.clear()
        producer: Any = self.producer
        if producer is not None:
            producer.resumeProducing()
        return data


@define
class Wire:
    """Both ends in the test's hands."""

    plan: SessionPlan = PLAN
    clock: Clock = field(factory=Clock)
    transport: Transport = field(factory=Transport)
    protocol: SMTPClientProtocol = field(init=False)
    opening: list[Any] = field(init=False)
    finished: list[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.protocol = SMTPClientProtocol(self.plan, self.clock)
        self.opening: list[Any] = []
        self.protocol.ready.addBoth(self.opening.append)
        self.protocol.makeConnection(self.transport)
        self.finished: list[Any] = []

    def said(self, *lines: bytes) -> bytes:
        """The server says these lines; what the client answers."""
        self.protocol.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return self.transport.drain()

    def opened(self, *extensions: bytes) -> Wire:
        """Up to where a transaction may begin."""
        self.said(b"220 peer.test")
        lines = [b"peer.test", *extensions]
        self.said(*(b"250-" + line for line in lines[:-1]), b"250 " + lines[-1])
        assert self.opening == [None], self.opening
        return self

    def begin(self, outgoing: Outgoing, recipients: int = 1, **envelope: Any) -> bytes:
        """Begin a transaction; what the client says first."""
        to = [
            OutgoingRecipient(Address.parse(f"r{number}@peer.test")) for number in range(recipients)
        ]
        sender = Address.parse("a@us.test")
        said = OutgoingEnvelope(sender, to, outgoing.size_bytes, **envelope)
        transaction = Transaction(said, self.protocol.extensions)
        self.protocol.transact(transaction, outgoing).addBoth(self.finished.append)
        return self.transport.drain()

    def lost(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def outcomes(self) -> list[str]:
        """What the transaction came to; empty while it runs."""
        if not self.finished:
            return []
        [result] = self.finished
        if isinstance(result, Done):
            return [short(outcome_of_reply(reply)) for reply in result.replies]
        return [short(outcome_of_error(result.value))]

    @property
    def refusal(self) -> str:
        """What the opening came to, empty while it is under way."""
        if not self.opening:
            return ""
        return short(outcome_of_error(self.opening[0].value))


def small(data: bytes) -> Outgoing:
    """Content in memory."""
    return Outgoing(data, len(data))
