"""The ways out; each has one transport that takes it."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from mailrelay.net.tls import TLSLevel
from mailrelay.smtp.reply import Reply


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


@frozen
class ToMailbox:
    """Mailboxes of ours; whose, each recipient says."""


@frozen
class ByMX:
    """The hosts that DNS names for ``domain``, which may be an address literal."""

    domain: str


@frozen
class ByRelayHost:
    """One relay host."""

    relay_host: RelayHost


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


Way: TypeAlias = ToMailbox | ByMX | ByRelayHost | Discard | Fail | Refrain
