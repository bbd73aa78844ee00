"""Entries: one recipient of one message, from acceptance to retirement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

from attrs import field, frozen

from mailrelay.message.edit import Edit
from mailrelay.message.srs import is_srs
from mailrelay.message.verdict import Verdict
from mailrelay.observe.events import NewEvent
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify

NULL_PATH = Address("", "")
"""An entry's own reverse-path that is null."""

DMARC_REPORT, TLS_REPORT = "dmarc-report", "tls-report"
"""The doors of the reports that we make."""

IMPORT = "import"
"""The door of messages that were put into a mailbox."""

LARGE_BYTES = 64 * 1024
"""Content of this size and above may be in the spool; below, it is in a row."""


class EntryState(IntEnum):
    """Where an entry stands; the numbers are stored."""

    READY = 0  # attempted when due
    HELD = 1  # kept, not attempted until released
    RETIRED = 2  # delivered, failed or canceled; kept until ``keep_until``


@frozen
class Message:
    """What the entries of one message share.  ``received_at`` is seconds since the epoch."""

    id: int
    account_id: int | None
    reverse_path: Address | None
    received_at: float
    size_bytes: int  # prefix and body
    door: str  # smtp, submission, dsn, import, ...
    message_id: str | None = None  # the header's, with its angle brackets
    subject: str = ""
    eight_bit: bool = False
    smtputf8: bool = False
    require_tls: bool = False
    is_automatic: bool = False  # its failure is reported to nobody (RFC 3834)
    ret: str | None = None
    envid: str | None = None
    extra: Mapping[str, str] | None = None  # the application's own, told again with every event
    remote_ip: str | None = None  # who brought it
    is_report: bool = False  # a DSN, or a feedback report, by its Content-Type
    is_urgent: bool = False  # goes before the account's other mail for the same destination
    tags: tuple[str, ...] = ()  # by which the application counts and finds its mail
    verdict: Verdict | None = None  # of mail from outside, when it was judged


@frozen
class Entry:
    """One recipient with its own outcome.  Times are seconds since the epoch."""

    id: int
    message: Message
    recipient: Address
    queued_at: float  # its life begins here: acceptance, or the release that was asked for
    next_attempt_at: float
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None
    state: EntryState = EntryState.READY
    attempts: int = 0
    last_attempt_at: float | None = None
    delay_reported: bool = False
    lane: int = 0  # destination and account, hashed: what a claim may leave out
    epoch: int = 0  # of the claim; 0 when no node holds one
    from_id: str | None = None  # in ``own_reverse_path``: what comes back to it tells of this entry
    own_reverse_path: Address | None = None  # when it is not the message's
    alias: Address | None = None  # what was asked for, when it is not ``recipient``
    edit: Edit | None = None  # what its copy differs in
    member_of: int | None = None  # the alias that takes ``recipient`` off after failures
    transport: str | None = None  # by its name, that an operator chose; else routes decide
    destination: object = field(default=None, eq=False, repr=False)  # at admission; not stored

    def placed(
        self, state: EntryState, due_at: float, lane: int, epoch: int, destination: object
    ) -> Entry:
        """The same, as the queue admits it: what ``evolve`` would make, at a third of its cost."""
        return Entry(
            self.id,
            self.message,
            self.recipient,
            self.queued_at,
            due_at,
            self.notify,
            self.orcpt,
            state,
            self.attempts,
            self.last_attempt_at,
            self.delay_reported,
            lane,
            epoch,
            self.from_id,
            self.own_reverse_path,
            self.alias,
            self.edit,
            self.member_of,
            self.transport,
            destination,
        )

    @property
    def account_id(self) -> int | None:
        """Who is told of it: whose message it is of, and nobody for what a list passes on."""
        if self.alias is not None and self.is_of_list:
            return None
        return self.message.account_id

    @property
    def is_of_list(self) -> bool:
        """Whether an alias passes it on: failures are its owner's, not the message's sender's."""
        return self.alias is not None and self.own_reverse_path is not None and not self.from_id

    @property
    def answers_as_alias(self) -> bool:
        """Whether a member sends it in an alias's name, and is not to be known."""
        return self.alias is None and self.edit is not None and bool(self.edit.stretches)

    @property
    def returns_to_author(self) -> bool:
        """Whether failures of what is passed on are the sender's, who must not know to whom."""
        return (
            self.is_of_list and self.own_reverse_path is not None and is_srs(self.own_reverse_path)
        )

    @property
    def told_as(self) -> Address:
        """The recipient for whoever sent the message: of an alias, its members are not told."""
        return self.alias or self.recipient

    @property
    def is_urgent(self) -> bool:
        """Whether it goes before its account's other entries for the same destination."""
        return self.message.is_urgent

    def goes_with(self, other: Entry) -> bool:
        """Whether one transaction can carry both: the same content from the same reverse-path."""
        return (
            self.message.id == other.message.id
            and self.own_reverse_path == other.own_reverse_path
            and self.edit == other.edit
        )

    @property
    def reverse_path(self) -> Address | None:
        """What MAIL FROM says of this recipient's copy; None when null."""
        if self.own_reverse_path is None:
            return self.message.reverse_path
        return None if self.own_reverse_path == NULL_PATH else self.own_reverse_path

    def wants(self, what: Notify) -> bool:
        """Whether a DSN of this kind is asked for; FAILURE and DELAY by default (RFC 3461)."""
        if not self.notify:
            return what in (Notify.FAILURE, Notify.DELAY)
        return what in self.notify


@frozen
class Content:
    """A message's bytes: ``prefix`` is what we put on top; a large body is in the spool by name."""

    prefix: bytes
    body: bytes | None
    spool_name: str | None
    body_size_bytes: int
    body_from: int = 0  # where in the spool it begins; not stored

    @property
    def size_bytes(self) -> int:
        """Bytes in all."""
        return len(self.prefix) + self.body_size_bytes


ANSWERS_KEPT_FOR = 86400.0
"""Seconds for which a request, or a submission, may come again."""


@frozen
class StoredAnswer:
    """What is answered to whoever makes a request of that key again.  Time since the epoch."""

    account_id: int
    key: str
    request_hash: bytes
    status: int
    answer: bytes
    expires_at: float


@frozen
class Conditions:
    """What must hold when a message is stored."""

    unique_from_id: str | None = None  # no other entry has it, retired or not
    new_recipients: int | None = None  # of the account in 24 hours, with these
    answer: StoredAnswer | None = None  # there is none of its key; it is kept with the message
    notes: Sequence[StoredAnswer] = ()  # likewise
    room_in: frozenset[int] = frozenset()  # one of these accounts at least has room


@frozen
class OfPeer:
    """A message that a peer handed to us, as it calls it.  ``hops`` are the servers before us.

    ``webhook_url`` is where it wants to hear of this one, when that was looked at.
    """

    peer_id: int
    msg_id: str
    hops: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(factory=dict)  # told again with every event
    webhook_url: str | None = None


@frozen
class NewMessage:
    """A message to be stored whole in one transaction: content, entries, events.

    ``reports`` are DSNs that tell of its acceptance: stored with it, or not at all.
    """

    message: Message
    content: Content
    entries: Sequence[Entry]
    events: Sequence[NewEvent]
    conditions: Conditions | None = None
    of_peer: OfPeer | None = None
    reports: Sequence[NewMessage] = ()

    @property
    def with_reports(self) -> Sequence[NewMessage]:
        """All that is stored at once."""
        return [self, *self.reports]

    @property
    def all_events(self) -> Sequence[NewEvent]:
        """Its own, and those of its reports."""
        return [event for one in self.with_reports for event in one.events]


@frozen
class Begun:
    """An attempt about to be made: counted, and its retry set, before it starts."""

    entry_id: int
    epoch: int
    at: float
    next_attempt_at: float


@frozen
class Finished:
    """What an attempt changed.  ``retired_until`` is None while the entry lives.

    ``report`` is a DSN that tells of it, stored in the same transaction.
    """

    entry_id: int
    epoch: int
    next_attempt_at: float
    event: NewEvent
    retired_until: float | None = None
    delay_reported: bool = False
    content_is_large: bool = False  # it may be in the spool
    unbegun: bool = False  # begin_attempts did not count it: it is counted now, if still ready
    member: tuple[int, str] | None = None  # of the alias that counts what fails
    content_kept_until: float | None = None  # so long it may be sent again
