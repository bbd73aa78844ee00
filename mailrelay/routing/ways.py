"""The ways out; each has one transport that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import field, frozen

from mailrelay.net.tls import TLSLevel
from mailrelay.smtp.reply import Reply
from mailrelay.smtp.reply_pattern import ReplyPattern

MECHANISMS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
"""SASL mechanisms that we know as a client, strongest first."""


@frozen
class RelayHost:
    """A fixed next hop.  ``implicit_tls`` is TLS from the first byte (port 465)."""

    host: str
    port: int = 25
    tls: TLSLevel = TLSLevel.MAY
    implicit_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_without_tls: bool = False
    mechanisms: Sequence[str] = MECHANISMS[1:]  # of SASL: no other is used
    mx_lookup: bool = False  # to the hosts that its MX records name


@frozen
class SocksProxy:
    """A SOCKS5 proxy that connections go through; ``ehlo_name`` is how the world knows it."""

    host: str
    port: int
    ehlo_name: str


@frozen
class ToMailbox:
    """Mailboxes of ours; whose, each recipient says."""


@frozen
class ByMX:
    """The hosts that DNS names for ``domain``, which may be an address literal.

    ``ipv4`` and ``ipv6`` are the families connected to, of those that are switched on.
    """

    domain: str
    ipv4: bool = True
    ipv6: bool = True
    socks: SocksProxy | None = None
    least_tls: TLSLevel | None = None  # the setting's when None


@frozen
class ByRelayHost:
    """A relay host, and ``others`` in their order for when it cannot be talked to.

    ``tls_is_fixed`` when REQUIRETLS does not raise their level to verified.  ``weights`` are of
    all of them: those that have one come first, in an order that is drawn for each attempt.  What
    fits ``move_on`` has the next one asked; when that is empty, that all recipients are put off.
    """

    relay_host: RelayHost
    tls_is_fixed: bool = False
    others: Sequence[RelayHost] = ()
    weights: Sequence[int] = ()
    move_on: Sequence[ReplyPattern] = ()

    @property
    def relay_hosts(self) -> Sequence[RelayHost]:
        """All of them, the first one first."""
        return (self.relay_host, *self.others)


@frozen
class ToEndpoint:
    """An application's HTTPS endpoint, by the name that it has in the configuration."""

    name: str


@frozen
class ToPeer:
    """A peer of ours, by its name: it delivers, and tells what became of it."""

    name: str


@frozen
class Discard:
    """Accepted, and thrown away on purpose."""


@frozen
class Fail:
    """Answered with ``reply``, after ``after`` seconds, without any connection."""

    reply: Reply
    after: float = 0.0


@frozen
class Refrain:
    """Not attempted: the account does not send to the recipient any more."""


Way: TypeAlias = ToMailbox | ByMX | ByRelayHost | ToEndpoint | ToPeer | Discard | Fail | Refrain
