"""What an application is told of a message that is put in a mailbox.

What comes back to a FromID's address, a DSN that names a message by its ENVID or Message-ID, and
a complaint, wherever it comes (complaint.py), tells of that message: an event of its entry.
Everything else is an incoming message, and its body is made here.

Invariant: only the FromID, which nobody guesses, is believed so far that a failure or a complaint
suppresses its recipient (threat 14).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore

from mailrelay.directory.model import Account, Directory
from mailrelay.message.fields import is_automated
from mailrelay.message.report import DeliveryReport, FeedbackReport, code_of, read_report
from mailrelay.message.verdict import Verdict
from mailrelay.net.threads import Executor
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.file_links import FileLinks
from mailrelay.policy.from_id import from_id_in
from mailrelay.queue.entry import IMPORT, LARGE_BYTES, Content, Entry
from mailrelay.webhooks.complaint import About, Complaints, complaint_event, is_complaint
from mailrelay.webhooks.gojson import encode, go_time
from mailrelay.webhooks.reading import name_addresses, read_message
from mailrelay.webhooks.received import Kept, received_mail
from mailrelay.webhooks.sent import SentEntries, SentEntry
from mailrelay.webhooks.standard import body
from mailrelay.webhooks.types import Incoming, IncomingMeta

READ_BYTES = 16 * 1024 * 1024
"""Of a larger message the rest is not looked at: an application gets it by MessageRawGet."""

READ_AT_ONCE = 4
"""Large messages that are in memory: one may be for a hundred mailboxes, and each is a reading."""

TOLD_TEXT_BYTES = 256 * 1024
"""Of text and of HTML, in a call to a signed endpoint."""

RECEIVED = "message.received"

_OWN_DOORS = frozenset({"dsn", "notice", IMPORT})
_ACTIONS = {
    "failed": EventKind.FAILED,
    "delayed": EventKind.DELAYED,
    "delivered": EventKind.DELIVERED,
    "relayed": EventKind.RELAYED,
    "expanded": EventKind.EXPANDED,
}


@frozen
class Arrival:
    """What is stored with a delivery: an event of the entry it answers, or the bodies of calls.

    ``payload`` is in mox's shape, ``signed`` for endpoints of our own API.
    """

    event: NewEvent | None = None
    payload: bytes | None = field(default=None, repr=False)
    signed: bytes | None = field(default=None, repr=False)


@frozen
class Placed:
    """Where a message is put: its id there, the mailbox and when, with what in front."""

    id: int
    mailbox: str
    at: float
    prefix: bytes = b""


@frozen
class Arrivals:
    """Reads what arrives, where somebody is to be told of it."""

    sent: SentEntries
    directory: Callable[[], Directory]
    content: Callable[[int], Deferred[Content]]
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    executor: Executor
    links: FileLinks
    feedback: Callable[[FeedbackReport, Entry], object] = lambda report, entry: None
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(READ_AT_ONCE), init=False)

    @property
    def complaints(self) -> Complaints:
        """Whom complaints are about."""
        return Complaints(self.sent, self.directory)

    async def of(self, entry: Entry, owner: Account, placed: Placed) -> Arrival:
        """What is to be told of ``entry``'s message in ``owner``'s mailbox."""
        message = entry.message
        if message.door in _OWN_DOORS:
            return Arrival()
        from_id = from_id_in(self.directory(), entry.told_as)
        sent = await self.sent.by_from_id(owner.id, from_id) if from_id else None
        may_tell = sent is not None or entry.reverse_path is None or message.is_report
        if not may_tell and not _is_told(entry, owner):
            return Arrival()
        if message.size_bytes <= LARGE_BYTES:
            return await self._read(entry, owner, placed, sent, may_tell=may_tell)
        await self._turns.acquire()
        try:
            return await self._read(entry, owner, placed, sent, may_tell=may_tell)
        finally:
            self._turns.release()

    async def _read(
        self,
        entry: Entry,
        owner: Account,
        placed: Placed,
        sent: SentEntry | None,
        *,
        may_tell: bool,
    ) -> Arrival:
        """What the message itself says; ``sent`` is what it came back to."""
        content = await self._bytes(await self.content(entry.message.id))
        report = await self.executor.run(read_report, content) if may_tell else None
        try:
            event = await self._event(report, sent, entry, owner, placed.at)
        except _Known:
            return Arrival()
        is_answer = event is not None and event.account_id == owner.id
        if is_answer or not _is_told(entry, owner):
            return Arrival(event)
        told = await self.executor.run(self._told, content, entry, owner, placed)
        return evolve(told, event=event)

    async def _event(
        self, report: object, sent: SentEntry | None, entry: Entry, owner: Account, at: float
    ) -> NewEvent | None:
        """What ``report`` tells of the entry that it came back to, or that it names."""
        if isinstance(report, FeedbackReport):
            self.feedback(report, entry)
        if isinstance(report, FeedbackReport) and is_complaint(report):
            about = About(sent, owner.id, "from_id") if sent is not None else None
            about = about or await self.complaints.about(report, owner)
            return complaint_event(report, about, entry, at) if about is not None else None
        if sent is not None:
            return unless_known(event_of(report, sent, owner, at, matched_by="from_id"), sent)
        if isinstance(report, DeliveryReport) and entry.reverse_path is None:
            sent = await self._reported(owner, report)
            if sent is not None:
                return unless_known(event_of(report, sent, owner, at, matched_by="message"), sent)
        return None

    def _told(self, content: bytes, entry: Entry, owner: Account, placed: Placed) -> Arrival:
        """The bodies that the owner's endpoints want.  Called off the reactor thread."""
        payload = signed = None
        if owner.is_called_for_incoming:
            payload = incoming_payload(content, entry, placed)
        if owner.is_told_of_received:
            signed = signed_payload(content, entry, owner, placed, self.links)
        return Arrival(payload=payload, signed=signed)

    async def _reported(self, owner: Account, report: DeliveryReport) -> SentEntry | None:
        named = {str(a) for one in report.recipients for a in (one.original, one.final) if a}
        if len(report.recipients) != 1 or not named:
            return None
        return await self.sent.by_message(
            owner.id, report.envid, report.original_message_id, sorted(named)
        )

    async def _bytes(self, content: Content) -> bytes:
        if content.body is not None:
            return (content.prefix + content.body)[:READ_BYTES]
        assert content.spool_name is not None
        return content.prefix + await self.read_spool(content.spool_name, 0, READ_BYTES)


def _is_told(entry: Entry, owner: Account) -> bool:
    """Whether the application hears of mail that comes; of junk it does not."""
    verdict = entry.message.verdict
    if verdict is not None and verdict.is_junk:
        return False
    return owner.is_called_for_incoming or owner.is_told_of_received


class _Known(Exception):
    """A peer has told of it before."""


def unless_known(event: NewEvent, sent: SentEntry) -> NewEvent:
    """``event``, but of a failure that the peer which had the message told: that is one event.

    Raises: _Known.
    """
    if event.kind is EventKind.FAILED and sent.ended_as == EventKind.FAILED.value:
        raise _Known
    return event


def event_of(
    report: object, sent: SentEntry, owner: Account, at: float, *, matched_by: str
) -> NewEvent:
    """The event of an entry that ``report``, which may be none, tells of."""
    data: dict[str, object] = {"recipient": sent.recipient, "matched_by": matched_by}
    kind = EventKind.UNRECOGNIZED
    if isinstance(report, DeliveryReport):
        data["dsn"] = True
        if len(report.recipients) == 1:
            [told] = report.recipients
            kind = _ACTIONS.get(told.action, kind)
            code, status = code_of(told)
            data |= {"code": code, "status": status, "reply": told.diagnostic[:500]}
            data |= {"answered": True} if code else {}
    return NewEvent(kind, at, sent.message_id, sent.entry_id, owner.id, data)


def incoming_payload(content: bytes, entry: Entry, placed: Placed) -> bytes:
    """The body of the call for an incoming message.  Called off the reactor thread."""
    read = read_message(content)
    fields, message = read.fields, entry.message
    reverse_path, verdict = entry.reverse_path, message.verdict or Verdict()
    told = Incoming(
        from_=name_addresses(fields.from_),
        to=name_addresses(fields.to),
        cc=name_addresses(fields.cc),
        bcc=name_addresses(fields.bcc),
        reply_to=name_addresses(fields.reply_to),
        subject=fields.subject,
        message_id=fields.message_id,
        in_reply_to=fields.in_reply_to,
        references=list(fields.references),
        date=read.date,
        text=read.text,
        html=read.html,
        structure=read.structure,
        meta=IncomingMeta(
            msg_id=placed.id,
            mail_from=str(reverse_path) if reverse_path else "",
            mail_from_validated=verdict.is_mail_from_valid,
            msg_from_validated=verdict.is_from_valid,
            dkim_verified_domains=list(verdict.dkim_domains),
            rcpt_to=str(entry.told_as),
            remote_ip=message.remote_ip or "",
            received=go_time(placed.at),
            mailbox_name=placed.mailbox,
            automated=is_automated(
                read.header, read.part.content_type, reverse_path_is_null=reverse_path is None
            ),
        ),
    )
    return encode(told, escape_html=True)


def signed_payload(
    content: bytes, entry: Entry, owner: Account, placed: Placed, links: FileLinks
) -> bytes:
    """The body of calls to signed endpoints for a received message; its links hold from now on."""
    kept = Kept(
        placed.id,
        owner.id,
        placed.mailbox,
        (),
        placed.at,
        len(placed.prefix) + entry.message.size_bytes,
        str(entry.reverse_path or ""),
        str(entry.told_as),
        entry.message.remote_ip,
        entry.message.verdict,
    )
    mail = received_mail(placed.prefix + content, kept, links, placed.at, TOLD_TEXT_BYTES)
    return body(RECEIVED, placed.at, mail)
