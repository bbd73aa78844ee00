"""What an account may hear of its own messages: lists, timelines, the log of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.queue import EntryView
from mailrelay.observe.events import Event
from mailrelay.queue.entry import Message
from mailrelay.webhooks.call import CallAttempt


@frozen
class MessageQuery:
    """Which messages, newest first; None is any, and all that is given must fit.

    ``recipient`` is an address or a domain; ``sender`` and ``subject`` are parts of the
    reverse-path and the subject, looked for in some ten thousand of the newest messages of the
    time; ``state`` is EntryState's word or an outcome;
    ``extra`` a name and its value; ``tag`` is one of the message's; times are seconds
    since the epoch.
    """

    recipient: str | None = None
    sender: str | None = None
    subject: str | None = None
    state: str | None = None
    message_id: str | None = None
    extra: tuple[str, str] | None = None
    tag: str | None = None
    since: float | None = None
    until: float | None = None
    before_id: int | None = None
    limit: int = 50


@frozen
class SentMessage:
    """A message with its entries, by id."""

    message: Message
    entries: Sequence[EntryView] = field(factory=list)


@frozen
class SentSummary:
    """A message as it is listed: its first recipient, and how many stand where, the most first."""

    message: Message
    first: str = ""
    states: Sequence[tuple[str, int]] = ()

    @property
    def recipients(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.states)


@frozen
class EventFilter:
    """Which events; empty and None are any, and all that is given must fit.

    ``tag`` is one of their message's.
    """

    kinds: Sequence[str] = ()
    tag: str | None = None


@frozen
class EventsRead:
    """The events that were wanted; all others up to ``position`` were passed over."""

    events: Sequence[Event]
    position: int


@frozen
class CallMade:
    """A webhook call that tells of an entry, with its attempts."""

    id: int
    entry_id: int | None
    event: str
    url: str
    queued_at: float
    is_over: bool
    is_success: bool | None
    superseded_by: int | None
    is_canceled: bool
    attempts: Sequence[CallAttempt] = field(factory=list)
    payload: bytes = field(default=b"", repr=False)
    """What was sent: its first MOST_PAYLOAD bytes, when a page of a timeline is asked for."""


@frozen
class TimelinePart:
    """Which part of a timeline: of one recipient, behind an event, so many events.

    With ``limit`` calls have payloads; without, there is everything at once.
    """

    entry_id: int | None = None
    after: int = 0
    limit: int | None = None


WHOLE = TimelinePart()

MOST_PAYLOAD = 8192


@frozen
class Timeline:
    """What happened to a message, in order; ``next_after`` where there is more."""

    events: Sequence[Event]
    calls: Sequence[CallMade]
    next_after: int | None = None


class AccountHistory(Protocol):
    """One account's messages and events.  Methods may fail with StoreUnavailable.

    What another account has is not there (threat 28).
    """

    def messages(self, account_id: int, wanted: MessageQuery) -> Deferred[Sequence[SentMessage]]:
        """Submitted messages, newest first."""

    def summaries(self, account_id: int, wanted: MessageQuery) -> Deferred[Sequence[SentSummary]]:
        """The same, without all of their entries: there may be very many."""

    def message(self, account_id: int, id_: int) -> Deferred[SentMessage | None]:
        """One message."""

    def entry(self, account_id: int, id_: int) -> Deferred[EntryView | None]:
        """One entry."""

    def timeline(
        self, account_id: int, message_id: int, part: TimelinePart = WHOLE
    ) -> Deferred[Timeline | None]:
        """What happened to a message.  Calls stand with the events that they tell of."""

    def events(
        self, account_id: int, after: int, limit: int, kinds: Sequence[str]
    ) -> Deferred[Sequence[Event]]:
        """Events behind position ``after``, in commit order; of all kinds when none is named."""

    def follow(
        self, account_id: int, after: int, limit: int, wanted: EventFilter
    ) -> Deferred[EventsRead]:
        """What is wanted of the next ``limit`` events behind ``after``, in commit order.

        It costs the same however few are wanted: who follows gets on.
        """

    def newest(self, account_id: int) -> Deferred[int]:
        """The position of the account's last event, 0 when it has none."""
