"""DSNs as new messages in the queue (RFC 3461 section 6, RFC 3464)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.message.dsn import SUBJECTS, Report, compose_dsn
from mailrelay.message.dsn import RecipientReport as Told
from mailrelay.message.trace import date_field
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Content, Entry, Message, NewMessage
from mailrelay.queue.settle import Settlement
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify

HEADER_READ_BYTES = 256 * 1024
"""How much of a large original is read for a DSN that returns its header only."""


def may_report(message: Message) -> bool:
    """Whether anybody may be told: never a null reverse-path (RFC 3461 section 6.1).

    Automatic mail of strangers is not answered either, nor what may be forged: or we would be a
    source of backscatter.
    """
    if message.reverse_path is None or not message.reverse_path.domain:
        return False
    if message.verdict is not None and message.verdict.is_forged:
        return False
    return message.account_id is not None or not message.is_automatic


Sign = Callable[[NewMessage], Awaitable[NewMessage]]
"""What signs mail that the server writes itself; it fails never."""


async def unsigned(new: NewMessage) -> NewMessage:
    """``new`` as it is."""
    return new


class Originals(Protocol):
    """What is asked for the messages that are reported on: see QueueStore."""

    def new_id(self) -> int:
        """See QueueStore."""

    def content(self, message_id: int) -> Deferred[Content]:
        """See QueueStore."""

    def read_spool(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore."""


@frozen
class Composer:
    """Makes the DSNs.  ``token`` gives 32 hexadecimal digits that nobody can guess."""

    hostname: str
    new_id: Callable[[], int]
    now: Callable[[], float]
    token: Callable[[], str]
    # Its entry, or several where the reverse-path is a list's.
    copies: Callable[[Entry], Sequence[Entry]]

    def dsn(
        self,
        message: Message,
        told: Sequence[Told],
        next_attempt_at: float | None,
        original: bytes,
        size_bytes: int,
    ) -> NewMessage:
        """One that tells the reverse-path of ``message``; ``original`` is its front, or all."""
        now = self.now()
        id_, entry_id = self.new_id(), self.new_id()
        assert message.reverse_path is not None
        message_id = f"<{id_}.dsn.{int(now)}@{self.hostname}>"
        body = compose_dsn(
            Report(
                reporting_mta=self.hostname,
                reverse_path=message.reverse_path,
                message_id=message_id,
                boundary=self.token(),
                original_message_id=message.message_id,
                envid=message.envid,
                arrival_at=message.received_at,
                now=now,
                recipients=told,
                original=original,
                original_size_bytes=size_bytes,
                return_full=message.ret == "FULL",
                next_attempt_at=next_attempt_at,
            )
        )
        report = Message(
            id_,
            None,
            None,
            now,
            len(body),
            door="dsn",
            message_id=message_id,
            subject=SUBJECTS[told[0].action],
            eight_bit=not body.isascii(),
            smtputf8=not message.reverse_path.is_ascii,
            is_automatic=True,
        )
        entry = Entry(
            entry_id,
            report,
            message.reverse_path,
            now,
            now,
            notify=frozenset({Notify.NEVER}),  # RFC 3461 section 6.1
        )
        events = [
            NewEvent(
                EventKind.REPORTED,
                now,
                message.id,
                None,
                message.account_id,
                {"action": told[0].action.value, "queue_id": id_},
            ),
            NewEvent(EventKind.ACCEPTED, now, id_, None, None, {"door": "dsn"}),
        ]
        return NewMessage(report, Content(b"", body, None, len(body)), self.copies(entry), events)


@frozen
class Reporter:
    """Makes the DSNs of outcomes: see Composer."""

    hostname: str
    store: Originals
    now: Callable[[], float]
    token: Callable[[], str]
    copies: Callable[[Entry], Sequence[Entry]] = lambda entry: [entry]
    # Whose failures come back to a reverse-path of ours, for one member's copy.
    owner: Callable[[Address], Address | None] = lambda path: None
    sign: Sign = unsigned
    # When a stranger may be told the next time; None when not at all.
    turn: Callable[[Address], float | None] = lambda path: 0.0
    _log = Logger()

    async def of(
        self, message: Message, settlement: Settlement, next_attempt_at: float | None
    ) -> list[NewMessage]:
        """What the sender is told of ``settlement``, and the owners of lists that passed it on.

        An owner hears of automatic mail, too: it is nobody's autoresponder.
        """
        made = await self.reports(message, settlement.reports, next_attempt_at)
        of_lists = [(self.owner(path) or path, told) for path, told in settlement.list_reports]
        for owner in dict.fromkeys(owner for owner, _ in of_lists):
            told = [report for to, report in of_lists if to == owner]
            passed_on = evolve(
                message,
                account_id=None,
                reverse_path=owner,
                envid=None,
                is_automatic=False,
                verdict=None,
            )
            made += await self._made(passed_on, told, next_attempt_at)
        return made

    async def reports(
        self, message: Message, told: Sequence[Told], next_attempt_at: float | None
    ) -> list[NewMessage]:
        """One DSN for each action in ``told``, to the reverse-path of ``message``.

        A stranger's may have to wait for its turn, or is not made: his name may be forged.
        """
        if not told or not may_report(message):
            return []
        assert message.reverse_path is not None
        turn = self.turn(message.reverse_path) if message.account_id is None else 0.0
        if turn is None:
            said = "{domain} is told no more for now of what its mail came to"
            self._log.warn(said, domain=message.reverse_path.domain)
            return []
        made = await self._made(message, told, next_attempt_at)
        return [admitted(one, lambda entry: _not_before(entry, turn)) for one in made]

    async def _made(
        self, message: Message, told: Sequence[Told], next_attempt_at: float | None
    ) -> list[NewMessage]:
        if not may_report(message):
            return []
        content = await self.store.content(message.id)
        original = await self._original(content, full=message.ret == "FULL")
        made = Composer(self.hostname, self.store.new_id, self.now, self.token, self.copies)
        return [
            await self.sign(made.dsn(message, group, next_attempt_at, original, content.size_bytes))
            for group in by_action(told)
        ]

    async def _original(self, content: Content, *, full: bool) -> bytes:
        if content.body is not None:
            return content.prefix + content.body
        assert content.spool_name is not None
        size = content.body_size_bytes if full else HEADER_READ_BYTES
        # A body too large to be returned is not read whole: compose_dsn returns its header.
        size = min(size, 2 * 1024 * 1024)
        body = await self.store.read_spool(content.spool_name, 0, size)
        return content.prefix + body


def _not_before(entry: Entry, turn: float) -> Entry:
    due = max(entry.next_attempt_at, turn)
    return entry if due == entry.next_attempt_at else evolve(entry, next_attempt_at=due)


def by_action(told: Sequence[Told]) -> Iterator[Sequence[Told]]:
    """Those that one DSN can tell of."""
    for action in dict.fromkeys(one.action for one in told):
        yield [one for one in told if one.action is action]


def admitted(report: NewMessage, admit: Callable[[Entry], Entry]) -> NewMessage:
    """``report`` with its entries as ``admit`` places them."""
    return evolve(report, entries=[admit(entry) for entry in report.entries])


@frozen
class Notices:
    """Mail of the server's own to somebody whom it serves, about something that it did."""

    hostname: str
    new_id: Callable[[], int]
    now: Callable[[], float]
    sign: Sign = unsigned

    async def message(
        self, to: Address, subject: str, text: str, admit: Callable[[Entry], Entry]
    ) -> NewMessage:
        """A mail that nobody answers; ``subject`` and ``text`` are of ASCII."""
        now, id_ = self.now(), self.new_id()
        message_id = f"<{id_}.notice.{int(now)}@{self.hostname}>"
        lines = [
            f"From: Mail Delivery System <postmaster@{self.hostname}>",
            f"To: <{to}>",
            f"Subject: {subject}",
            f"Date: {date_field(now)}",
            f"Message-ID: {message_id}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            text,
            "",
        ]
        body = "\r\n".join(lines).encode("ascii", "replace")
        notice = notice_of(id_, self.new_id(), to, message_id, subject, body, now)
        return admitted(await self.sign(notice), admit)


def notice_of(
    id_: int, entry_id: int, to: Address, message_id: str, subject: str, body: bytes, now: float
) -> NewMessage:
    """Mail of the server's own, with its whole ``body``; its failure is told to nobody."""
    message = Message(
        id_,
        None,
        None,
        now,
        len(body),
        door="notice",
        message_id=message_id,
        subject=subject,
        is_automatic=True,
    )
    entry = Entry(entry_id, message, to, now, now, notify=frozenset({Notify.NEVER}))
    accepted = NewEvent(EventKind.ACCEPTED, now, id_, None, None, {"door": "notice"})
    return NewMessage(message, Content(b"", body, None, len(body)), [entry], [accepted])
