"""API keys: what an application logs in with, and what each is for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from ipaddress import ip_network

from attrs import field, frozen

from mailrelay.net.ip import unmapped

PREFIX = "mrk_"
"""Of every key, so that one that leaked is known by its look."""

_RANDOM_BYTES = 20


class Scope(StrEnum):
    """What a key may be for."""

    SEND = "send"  # messages, by API and SMTP
    READ = "read"  # what became of them, and mailboxes
    MANAGE = "manage"  # keys, webhooks, suppression, what waits


@frozen
class APIKey:
    """A key of an account.  Empty restrictions restrict nothing; times are since the epoch.

    ``senders`` are addresses and domains in lower case; ``networks`` as ipaddress writes them.
    """

    id: int
    account_id: int
    name: str
    key_hash: bytes = field(repr=False)
    scopes: frozenset[Scope]
    created_at: float
    scram_verifier: str | None = field(default=None, repr=False)
    senders: frozenset[str] = frozenset()
    networks: tuple[str, ...] = ()
    expires_at: float | None = None
    requests_per_minute: int | None = None
    last_used_at: float | None = None

    @property
    def is_restricted(self) -> bool:
        """Whether its scopes are not the only limits."""
        others = (self.senders, self.networks, self.expires_at, self.requests_per_minute)
        return any(others)

    def may_send_as(self, localpart: str, domain: str) -> bool:
        """Whether the key is for that sender; ``localpart`` without its suffix."""
        if not self.senders:
            return True
        return domain in self.senders or f"{localpart}@{domain}".lower() in self.senders

    def works(self, ip: str, now: float) -> bool:
        """Whether it is taken from ``ip`` now."""
        if self.expires_at is not None and self.expires_at <= now:
            return False
        if not self.networks:
            return True
        try:
            address = unmapped(ip)
        except ValueError:
            return False  # a Unix socket is in no network
        return any(address in ip_network(network) for network in self.networks)


def hash_of(key: str) -> bytes:
    """What is stored of a key: it is random, so that nothing slower is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def new_key(random: Callable[[], bytes]) -> str:
    """A new key, of what ``random`` gives."""
    drawn = b""
    while len(drawn) < _RANDOM_BYTES:
        drawn += random()
    return PREFIX + drawn[:_RANDOM_BYTES].hex()
