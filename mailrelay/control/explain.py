"""What would become of a message, without sending it; and what became of one, as it was decided.

Invariant: nothing is decided here.  Acceptance judges, the router routes, and they say why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import Refusal
from mailrelay.control.queue import EntryView, state_word
from mailrelay.control.routes import Explanation, RouteControl, account_named, address_of
from mailrelay.directory.model import Account, Directory
from mailrelay.observe.events import Event, EventKind
from mailrelay.policy.holds import HoldRule
from mailrelay.policy.relay import Submitter, refuse_sender
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Entry, EntryState
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply

MX, SUBMISSION = "mx", "submission"
ATTEMPTS = frozenset(
    {
        EventKind.DELIVERED,
        EventKind.HANDED_OVER,
        EventKind.DELAYED,
        EventKind.FAILED,
        EventKind.SUPPRESSED,
    }
)


@frozen
class Question:
    """What is asked.  ``message`` is the content, with CRLF; None is one that is like others."""

    sender: Address | None
    recipient: Address
    submitter: Submitter = Submitter()
    client_ip: str | None = None
    message: bytes | None = None

    @property
    def door(self) -> str:
        """Whoever logged in has submitted it."""
        return MX if self.submitter.account is None else SUBMISSION


@frozen
class Judged:
    """What acceptance makes of it: entries that are not stored, or a reply."""

    entries: Sequence[Entry] = ()
    refusal: Reply | None = None


@frozen
class Limit:
    """So much of ``most`` in 24 hours is used; it ``counts`` when this message would add to it."""

    name: str
    most: int
    used: int
    counts: bool = True

    @property
    def left(self) -> int:
        """What is left before this message."""
        return max(0, self.most - self.used)


@frozen
class NewRecipients:
    """How many an account first sent to in 24 hours, and whether this one is among all it knows."""

    used: int
    is_known: bool


@frozen
class DestinationState:
    """How a destination is doing, as a running server sees it; seconds from now."""

    waiting: int = 0
    active: int = 0
    failures: int = 0
    rests_for: float = 0.0
    said: str = ""
    resting_hosts: Sequence[str] = ()


@frozen
class Explained:
    """One copy: where it goes, and what keeps it.  ``state`` is None where nobody knows it."""

    routed: Explanation
    held_by: Sequence[HoldRule] = ()
    tls: str = ""
    state: DestinationState | None = None
    answers_at_once: bool = False


@frozen
class WouldBe:
    """What would happen.  ``refused_at`` is the command that ``reply`` is to, if it is refused."""

    question: Question
    reply: Reply | None
    refused_at: str = ""
    alias: Address | None = None
    limits: Sequence[Limit] = ()
    copies: Sequence[Explained] = ()

    @property
    def accepted(self) -> bool:
        """Whether it would be taken."""
        return self.reply is None


@frozen
class WasDecided:
    """What was decided of one entry: acceptance, what held it, every attempt, in order."""

    view: EntryView
    accepted: Event | None
    kept: Sequence[Event] = ()
    attempts: Sequence[Event] = ()

    @property
    def state(self) -> str:
        """In a word."""
        return state_word(self.view)


class ExplainRecords(Protocol):
    """What is asked of storage."""

    def new_recipients(
        self, account_id: int, recipient: str, now: float
    ) -> Deferred[NewRecipients]:
        """To how many the account first sent in the last 24 hours, and whether to this one ever."""


@frozen
class Known:
    """What a server, or a command beside one, knows; ``state`` is None where no server runs."""

    directory: Callable[[], Directory]
    hold_rules: Callable[[], Sequence[HoldRule]]
    used_today: Callable[[int], int]
    over_daily_limit: Callable[[Account, int], Reply | None]
    refuse_recipient: Callable[[Question], Reply | None]
    is_trusted: Callable[[str], bool]
    tls_of: Callable[[object], str]
    state: Callable[[Destination], DestinationState] | None = None


@frozen
class ExplainControl:
    """Explains.  ``judge`` is acceptance, which stores nothing of what it is shown."""

    routes: RouteControl
    known: Known
    judge: Callable[[Question], Deferred[Judged]]
    records: ExplainRecords
    now: Callable[[], float]

    def question(
        self,
        sender: str,
        recipient: str,
        account: str | None = None,
        client_ip: str | None = None,
        message: bytes | None = None,
    ) -> Question:
        """What an operator asks; an empty ``sender`` is the null reverse-path.  Raises: Refusal."""
        found = account_named(self.known.directory(), account)
        trusted = client_ip is not None and self.known.is_trusted(_ip(client_ip))
        path = address_of(sender, "sender") if sender else None
        submitter = Submitter(found, trusted, str(path) if found and path else None)
        to = address_of(recipient, "recipient")
        return Question(path, to, submitter, client_ip, message)

    async def explain(self, question: Question) -> WouldBe:
        """What would happen."""
        directory, submitter = self.known.directory(), question.submitter
        alias = directory.alias(question.recipient)
        through = question.recipient if alias is not None else None
        limits = await self._limits(question)
        would = WouldBe(question, None, alias=through, limits=limits)
        refused = refuse_sender(directory, submitter, question.sender)
        if refused is not None:
            return evolve(would, reply=refused, refused_at="MAIL")
        refused = self.known.refuse_recipient(question)
        if refused is None and submitter.account is not None:
            refused = self.known.over_daily_limit(submitter.account, 1)
        if refused is not None:
            return evolve(would, reply=refused, refused_at="RCPT")
        judged = await self.judge(question)
        if judged.refusal is not None:
            return evolve(would, reply=judged.refusal, refused_at="DATA")
        account = submitter.account
        copies = [self._explained(entry, account, directory) for entry in judged.entries]
        return evolve(would, copies=copies)

    async def _limits(self, question: Question) -> Sequence[Limit]:
        account = question.submitter.account
        if account is None:
            return []
        limits = []
        if account.messages_per_day is not None:
            used = self.known.used_today(account.id)
            limits.append(Limit("messages_per_day", account.messages_per_day, used))
        if account.new_recipients_per_day is not None:
            recipient = str(question.recipient).lower()
            found = await self.records.new_recipients(account.id, recipient, self.now())
            most = account.new_recipients_per_day
            limits.append(
                Limit("new_recipients_per_day", most, found.used, counts=not found.is_known)
            )
        return limits

    def _explained(self, entry: Entry, account: Account | None, directory: Directory) -> Explained:
        routed = self.routes.of_entry(entry, account.name if account is not None else None)
        to, path = routed.decision.destination, entry.message.reverse_path
        rules = [
            rule
            for rule in self.known.hold_rules()
            if rule.fits(entry.account_id, path, entry.recipient)
        ]
        return Explained(
            routed,
            rules,
            self.known.tls_of(to.way),
            self.known.state(to) if self.known.state is not None else None,
            entry.alias is None
            and entry.state is not EntryState.HELD
            and directory.is_synchronous(entry.recipient),
        )


def decided(view: EntryView, events: Sequence[Event]) -> WasDecided:
    """What ``events`` of the entry's message say of it."""
    mine = [event for event in events if event.entry_id in (None, view.entry.id)]
    accepted = [event for event in mine if event.kind is EventKind.ACCEPTED]
    others = [e for e in mine if e.kind not in ATTEMPTS and e.kind is not EventKind.ACCEPTED]
    attempts = [event for event in mine if event.kind in ATTEMPTS]
    return WasDecided(view, accepted[0] if accepted else None, others, attempts)


def attempt_of(event: Event) -> Mapping[str, object]:
    """What was decided for one attempt, and what came of it; what was not kept is left out."""
    names = (
        *("because", "route", "destination", "host", "ip"),
        *("tls", "tls_policy", "tls_because", "certificate", "code", "status", "reply"),
    )
    return {name: event.data[name] for name in names if event.data.get(name) not in (None, "")}


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise Refusal(f"the client {text!r} is no IP address: write it as 192.0.2.1") from None
