"""Peers: servers that hand mail to us, or that we hand mail to, over HTTPS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from attrs import field, frozen

SMTP_FALLBACK, PEER_FALLBACK = "smtp", "peer:"
"""How a fallback is written: by SMTP, or to the peer whose name follows."""


class PeerProtocol(StrEnum):
    """What is spoken with a peer."""

    MAILRELAY = "mailrelay/1"
    ZOTONIC = "zotonic"


class FromPolicy(StrEnum):
    """What becomes of the From field of what a peer hands to us."""

    KEEP = "keep"
    REWRITE = "rewrite"  # an address of ours; Reply-To says who wrote it


@frozen
class PeerKey:
    """A secret shared with a peer, by the name that requests call it.  Times are since the epoch.

    With ``is_ours`` we sign our requests with it, else the peer signs its own: each direction has
    its keys, and two of one direction work at once while they are rotated.
    """

    key_id: str
    secret: bytes = field(repr=False)
    is_ours: bool
    created_at: float
    expires_at: float | None = None

    def works(self, now: float) -> bool:
        """Whether it is used, and believed, now."""
        return self.expires_at is None or now < self.expires_at


@frozen
class PeerOptions:
    """What may be chosen for a peer.  Times are seconds."""

    from_policy: FromPolicy = FromPolicy.KEEP
    from_address: str = ""  # for FromPolicy.REWRITE
    from_domains: tuple[str, ...] = ()  # what its mail may be from; empty for any
    fallback: str = ""  # smtp, or peer:NAME, when it cannot be reached; "" waits for it
    fallback_after: float = 900.0
    trusted_ca: str = ""  # PEM file to verify it against, in place of the system's
    client_certificate: str = ""  # PEM file with certificate and key that we show it
    allowed_networks: tuple[str, ...] = ()  # it may be in though they are not on the internet
    shares_suppression: bool = True
    concurrency: int = 10  # requests at once
    timeout: float = 60.0  # for one request, the answer included


@frozen
class Peer:
    """A server that we know.  ``account_id``: whose the mail is that it hands to us, if it may."""

    id: int
    name: str
    protocol: PeerProtocol = PeerProtocol.MAILRELAY
    url: str = ""
    callback_url: str = ""
    account_id: int | None = None
    disabled: bool = False
    created_at: float = 0.0
    options: PeerOptions = PeerOptions()
    keys: Sequence[PeerKey] = ()  # the newest first

    def our_key(self, now: float) -> PeerKey | None:
        """What our requests are signed with."""
        return next((key for key in self.keys if key.is_ours and key.works(now)), None)

    def their_keys(self, now: float) -> Iterator[PeerKey]:
        """What its requests may be signed with."""
        return (key for key in self.keys if not key.is_ours and key.works(now))
