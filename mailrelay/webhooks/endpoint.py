"""Endpoints of our own API: signed calls, several for an account, each with its filters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed

from mailrelay.queue.destination import Destination
from mailrelay.webhooks.call import INCOMING_EVENT
from mailrelay.webhooks.types import OUTGOING_EVENTS

STANDARD = "standard"
"""The kind of these endpoints, as it is stored; the others are mox's."""

ENTRY_EVENTS = (*OUTGOING_EVENTS, "complained", "unsubscribed")
"""What may become of a submitted message."""
EVENTS = (*ENTRY_EVENTS, INCOMING_EVENT)
"""What an endpoint may be called for."""

REMOVED = "the endpoint was removed"
"""The error of the last attempt of a call that nobody wants any more, which was none."""


@frozen
class Secret:
    """What calls are signed with; ``signs_until`` is when a replaced one ends."""

    text: str = field(repr=False)
    signs_until: float | None = None


@frozen(kw_only=True)
class StandardEndpoint:
    """Where an account wants to be called.  No ``events`` or ``tags`` means all.

    ``secrets`` are the newest first.  One that is disabled is not called, until it is enabled.
    """

    id: int
    account_id: int
    name: str
    url: str
    events: Sequence[str] = ()
    tags: Sequence[str] = ()
    secrets: Sequence[Secret] = field(default=(), repr=False)
    most_at_once: int = 50  # calls under way
    most_together: int = 1  # events in one call
    created_at: float = 0.0
    disabled_at: float | None = None
    disabled_because: str = ""

    def wants(self, event: str) -> bool:
        """Whether it is called for this event, of messages whose tags it wants."""
        return not self.events or event in self.events

    def wants_tags(self, tags: Collection[str]) -> bool:
        """Whether it is called for messages with these tags: one of its own is enough."""
        return not self.tags or any(tag in tags for tag in self.tags)

    @property
    def wants_received(self) -> bool:
        """Whether it is called for messages that are put in a mailbox: those have no tags."""
        return self.wants(INCOMING_EVENT) and not self.tags

    def signing(self, now: float) -> Sequence[str]:
        """The secrets to sign with at ``now``."""
        return [s.text for s in self.secrets if s.signs_until is None or s.signs_until > now]


def endpoint_destination(endpoint_id: int, endpoint: StandardEndpoint | None) -> Destination:
    """Where calls to a standard endpoint go, wherever that is now."""
    if endpoint is None:
        return Destination(f"endpoint {endpoint_id}", None)
    return Destination(
        f"endpoint {endpoint_id}",
        None,
        concurrency=endpoint.most_at_once,
        together=endpoint.most_together,
    )


def disabled_error(because: str) -> str:
    """What the last attempt of a call says whose endpoint is disabled."""
    return f"the endpoint is disabled: {because}"


class Endpoints(Protocol):
    """The endpoints as this process knows them."""

    def get(self, endpoint_id: int, account_id: int) -> StandardEndpoint | None:
        """The account's endpoint, as it was read last."""

    def read_again(self) -> Deferred[object]:
        """Fires when what others changed until now is known."""

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[object]:
        """Call it no more and retire what waits for it.  Fails with StoreUnavailable.

        One whose URL was changed meanwhile stays as it is.
        """


@frozen
class NoEndpoints:
    """Nobody has an endpoint."""

    def get(self, endpoint_id: int, account_id: int) -> StandardEndpoint | None:
        """See Endpoints."""
        return None

    def read_again(self) -> Deferred[object]:
        """See Endpoints."""
        return succeed(None)

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[object]:
        """See Endpoints."""
        return succeed(None)
