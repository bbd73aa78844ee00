"""Limits of a listener, with their defaults; and how many connections there may be."""

from __future__ import annotations

from attrs import asdict, define, evolve, field, frozen

from mailrelay.directory.login import own_network
from mailrelay.smtp.reply import Reply, reply


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class Limits:
    """``[limits]``.  Sizes in bytes, times in seconds."""

    message_bytes: int = field(
        default=100 * 1024 * 1024, metadata=_doc("largest message; 552 5.3.4")
    )
    recipients: int = field(default=1000, metadata=_doc("recipients of one message; 452 4.5.3"))
    connections: int = field(default=10_000, metadata=_doc("sessions in all; 421 4.7.0"))
    connections_per_address: int = field(
        default=100, metadata=_doc("sessions of one address, IPv6 by /64; 421 4.7.0")
    )
    errors: int = field(
        default=20, metadata=_doc("refused commands of one session; 421 4.7.0, then closed")
    )
    # RFC 5321 section 4.5.3.2.7 asks for 5 minutes.
    idle_after: float = field(
        default=300.0, metadata=_doc("seconds to wait for the client; 421 4.4.2, then closed")
    )
    content_window: float = field(
        default=60.0, metadata=_doc("in each such time at least content_window_bytes must come")
    )
    content_window_bytes: int = field(
        default=6_000, metadata=_doc("content that must come in content_window; 421 4.4.2")
    )
    junk_commands: int = field(
        default=100,
        metadata=_doc(
            "EHLO, NOOP, RSET, VRFY, HELP, empty BDAT between messages; more is 421 4.7.0"
        ),
    )
    received_fields: int = field(
        default=50, metadata=_doc("Received fields of a message, more is a loop; 554 5.4.6")
    )


@frozen
class ListenerLimits:
    """``limits`` of a listener: what is not named there is as in ``[limits]``."""

    message_bytes: int | None = field(default=None, metadata=_doc("as in [limits]"))
    recipients: int | None = field(default=None, metadata=_doc("as in [limits]"))
    connections: int | None = field(
        default=None,
        metadata=_doc("with this many sessions of all listeners, this one takes no more"),
    )
    connections_per_address: int | None = field(
        default=None, metadata=_doc("the same for sessions of one address")
    )
    errors: int | None = field(default=None, metadata=_doc("as in [limits]"))
    idle_after: float | None = field(default=None, metadata=_doc("as in [limits]"))
    content_window: float | None = field(default=None, metadata=_doc("as in [limits]"))
    content_window_bytes: int | None = field(default=None, metadata=_doc("as in [limits]"))
    junk_commands: int | None = field(default=None, metadata=_doc("as in [limits]"))

    def over(self, limits: Limits) -> Limits:
        """``limits`` with what is named here in their place."""
        return evolve(limits, **{k: v for k, v in asdict(self).items() if v is not None})


TOO_MANY_CONNECTIONS = reply(421, "4.7.0", "too many connections, try again later")
TOO_MANY_ERRORS = reply(421, "4.7.0", "too many errors")
IDLE = reply(421, "4.4.2", "timeout, closing the connection")
SHUTTING_DOWN = reply(421, "4.3.2", "the server is stopping, try again later")
TOO_SLOW = reply(421, "4.4.2", "content came too slowly, closing the connection")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "too many recipients in one transaction")
TOO_LARGE = reply(552, "5.3.4", "message is larger than this server takes")
LOOPING = reply(554, "5.4.6", "too many Received fields: the message loops")


@define
class ConnectionCount:
    """Open connections of all listeners: in all, and by address (IPv6 by /64)."""

    total: int = 0
    _by_network: dict[str, int] = field(factory=dict)

    def opened(self, ip: str, limits: Limits) -> Reply | None:
        """Count one more; the reply to refuse it with when there are too many.

        Whoever called this calls ``closed`` later, refused or not.
        """
        network = own_network(ip)
        self.total += 1
        mine = self._by_network[network] = self._by_network.get(network, 0) + 1
        if self.total > limits.connections or mine > limits.connections_per_address:
            return TOO_MANY_CONNECTIONS
        return None

    def closed(self, ip: str) -> None:
        """One less."""
        network = own_network(ip)
        self.total -= 1
        left = self._by_network[network] - 1
        if left:
            self._by_network[network] = left
        else:
            del self._by_network[network]
