"""Accepting a message: policy on its header, trace, one durable transaction.

Invariant: the Deferred of ``accept`` fires only when content, entries and events are on stable
storage together; if it fails, nothing was kept and the peer may send the message again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from mailrelay.acceptance.again import (
    BAD_KEY,
    BadKey,
    answer_to_keep,
    queued_text,
)
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.copies import (
    Copies,
    Taken,
    Writer,
    copies_of,
    entry_for,
    fated,
    only_quotas,
    plain_copies,
    report_copies,
)
from mailrelay.acceptance.envelope import Envelope, Fates, Source
from mailrelay.acceptance.judging import Body, Chain, Judged
from mailrelay.acceptance.list_fields import ListFields
from mailrelay.acceptance.passing import Original, PassingOn, is_going_round
from mailrelay.acceptance.refusal import (
    STORE_FULL,
    Refused,
    answered_before,
    refused_by,
)
from mailrelay.acceptance.returned import (
    ONLY_REPORTS,
    TOO_MANY_REPORTS,
    Returning,
    failure_in,
    is_failure_for_good,
    owners_copies,
    told_to_author,
)
from mailrelay.acceptance.signing import Signing
from mailrelay.acceptance.taken import reports_of
from mailrelay.acceptance.told import accepted_event, held_events
from mailrelay.acceptance.wishes import NotUnderstood, Wishes, wishes_in
from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Directory
from mailrelay.message.header import (
    Header,
    HeaderTooLarge,
    addresses_in,
    header_end,
    parse_header,
)
from mailrelay.message.mailboxes import hides_address
from mailrelay.message.member_path import MembersCopy
from mailrelay.message.trace import Hop, date_field, message_id_field, received_field
from mailrelay.message.words import decoded_words
from mailrelay.policy.from_id import (
    ONE_RECIPIENT,
    from_id_in,
    gets_from_ids,
    new_from_id,
    with_from_id,
)
from mailrelay.policy.limits import LOOPING
from mailrelay.policy.relay import NO_FROM, refuse_from
from mailrelay.queue.entry import (
    Conditions,
    Content,
    Entry,
    Message,
    NewMessage,
    StoredAnswer,
)
from mailrelay.queue.report import Composer, admitted
from mailrelay.queue.store import (
    AllOverQuota,
    FromIDTaken,
    NotStored,
    StoreUnavailable,
    Together,
    TooManyNewRecipients,
)
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import Reply, printable, reply

T = TypeVar("T")

NO_HEADER = Header((), 0)
NOT_JUDGED = Judged()


class AcceptanceStore(Protocol):
    """What acceptance asks of storage: see queue/store.py for what each guarantees."""

    def new_id(self) -> int:
        """See QueueStore."""

    def add(self, message: NewMessage) -> Deferred[None]:
        """See QueueStore."""

    def add_all(
        self, messages: Sequence[NewMessage], together: Together
    ) -> Deferred[Sequence[NotStored | None]]:
        """See QueueStore."""


@frozen
class Accepted:
    """The message is ours now."""

    message: Message
    entries: Sequence[Entry]
    is_delivered: bool = False  # by the application whose answer was waited for


@frozen
class Acceptance:
    """The one function that accepts mail, whatever door it came in by.

    ``admit`` places an entry in the queue, ``enqueue`` is told of what was committed,
    ``remember`` gets small content that will be read again soon.
    """

    hostname: str
    store: AcceptanceStore
    directory: Callable[[], Directory]
    now: Callable[[], float]
    token: Callable[[], str]
    admit: Callable[[Entry], Entry]
    enqueue: Callable[[Sequence[Entry]], None]
    remember: Callable[[int, Content], None]
    max_received: int = 50
    passing: PassingOn = field(kw_only=True)
    # What takes a member off a list, of a message that comes then; None for no link.
    list_link: Callable[[Alias, Address, float], str | None] = lambda alias, member, at: None
    signing: Signing | None = None
    # Counts a member's failure that was reported late; fires when that is durable.
    failed_late: Callable[[MembersCopy], Deferred[None]] = lambda of: succeed(None)
    # When the author of forwarded mail may be told the next time; None when not now.
    report_turn: Callable[[Address], float | None] = lambda author: 0.0

    def accept(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None = None,
    ) -> Deferred[Accepted]:
        """Make the message ours, if ``judges`` do not refuse it: those of mail of strangers.

        Fails with Refused, AcceptedBefore and AnsweredBefore; the content is abandoned then.
        """
        return self._whole(self._store, source, envelope, incoming, judges)

    def prepare(
        self,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None = None,
    ) -> Deferred[NewMessage]:
        """What ``accept`` would store; see Several.  Fails with Refused."""
        return self._whole(self._made, source, envelope, incoming, judges)

    def _whole(
        self,
        made: Callable[..., Any],
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judges: Chain | None,
    ) -> Deferred[Any]:
        """What is ``made`` of a body that is there whole; else it is abandoned."""
        small = incoming.small_body()
        making: Deferred[Any]
        if judges is not None:
            judging = self._judged(judges, made, source, envelope, incoming)
            making = Deferred.fromCoroutine(judging)
        elif small is not None:
            making = maybeDeferred(made, (small, None), source, envelope, incoming)
        else:
            making = incoming.finish().addCallback(made, source, envelope, incoming)
        return self.unless_refused(making.addErrback(_abandon, incoming))

    async def _judged(
        self,
        judges: Chain,
        made: Callable[..., Any],
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
    ) -> Any:
        """What is ``made`` of mail of strangers.  Raises: Refused."""
        body = await incoming.finish()
        header = self._header(source, incoming.head)
        arrived = judges.arrived(source, envelope, header, incoming, body, self.now())
        found = await judges.judge(arrived)
        if found.refusal is not None:
            raise Refused(found.refusal)
        if found.hidden:
            body = await incoming.edited(found.hidden, judges.read_spool)
        making = made(body, source, envelope, incoming, judges.told(found))
        return await making if isinstance(making, Deferred) else making

    def unless_refused(self, storing: Deferred[T]) -> Deferred[T]:
        """``storing``, which fails with Refused for what the sender is to be told."""

        def failed(failure: Failure) -> Failure:
            if isinstance(failure.value, StoreUnavailable | OSError):
                raise Refused(STORE_FULL) from failure.value
            if isinstance(failure.value, FromIDTaken | TooManyNewRecipients | AllOverQuota):
                raise refused_by(failure.value) from failure.value
            return failure

        return storing.addErrback(failed)

    def _store(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged = NOT_JUDGED,
    ) -> Deferred[Accepted]:
        made = self._made(body, source, envelope, incoming, judged)
        if isinstance(made, Deferred):
            return made.addCallback(partial(self.stored, source))
        return self.stored(source, made)

    def _made(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged = NOT_JUDGED,
    ) -> NewMessage | Deferred[NewMessage]:
        """What is stored, signed where that is ours to do."""
        new = self._new_message(body, source, envelope, incoming, judged)
        failed = self._failed_late(envelope, incoming, new)
        if failed is not None:
            return self.failed_late(failed).addCallback(lambda _: new)
        signing = self.signing
        if signing is None or not signing.concerns(new, is_ours=source.needs_from):
            return new
        is_ours, sealing = source.needs_from, judged.sealing
        return signing.signed(new, incoming.head, is_ours=is_ours, sealing=sealing)

    def stored(self, source: Source, new: NewMessage) -> Deferred[Accepted]:
        """Store what was prepared, and send it on its way."""
        stored = self.store.add(new)
        if source.door == "submission" and new.conditions and new.conditions.answer:
            stored.addErrback(answered_before, new.conditions.answer)
        return stored.addCallback(lambda _: self.committed(new))

    def committed(self, new: NewMessage) -> Accepted:
        """Send on its way what was stored."""
        if new.content.body is not None:
            self.remember(new.message.id, new.content)
        for one in new.with_reports:
            self.enqueue(one.entries)
        return Accepted(new.message, new.entries)

    def _new_message(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged,
    ) -> NewMessage:
        now = self.now()
        header = self._header(source, incoming.head)
        author = self._author(envelope, now)
        if author is not None:
            return self._returned(author, source, envelope, header, incoming)
        ids = chain(envelope.ids, iter(self.store.new_id, None))
        id_ = next(ids)
        added, message_id = self._missing_fields(source, header, now)
        prefix = received_field(self._hop(source, envelope, id_, now)) + judged.fields + added
        if header.size_bytes == 0 and header_end(incoming.head) != 2:
            prefix += b"\r\n"  # content without a header section: what came is all body
        content = Content(prefix, body[0], body[1], incoming.size_bytes)
        account = source.submitter.account
        mail, wishes = envelope.mail, self._wishes(source, envelope, header)
        message = Message(
            id_,
            account.id if account else None,
            envelope.reverse_path,
            now,
            content.size_bytes,
            source.door,
            message_id=message_id,
            subject=printable(decoded_words(header.first("subject") or ""), 500),
            eight_bit=not incoming.is_ascii,
            smtputf8=mail.smtputf8 and envelope.needs_smtputf8(incoming.head),
            require_tls=mail.require_tls,
            is_automatic=header.is_automatic,
            is_report=header.is_report,
            ret=mail.ret,
            envid=mail.envid,
            extra=wishes.extra or None,
            remote_ip=None if source.hide_peer else source.peer_ip,
            is_urgent=wishes.is_urgent,
            tags=wishes.tags,
            verdict=judged.verdict,
        )
        made = self._copies(source, envelope, header, incoming.head, judged)
        copies = made.copies
        paths = list(self._own_paths(source, envelope))
        due = envelope.due_at(now)
        times = (due if envelope.lives_from is None else envelope.lives_from, due)
        entries = [
            self.admit(entry_for(copy, next(ids), message, times, paths[copy.number]))
            for copy in copies
        ]
        events = [accepted_event(source, message, entries), *held_events(message, entries)]
        try:
            kept = answer_to_keep(source, envelope, header, incoming, message)
        except BadKey:
            raise Refused(BAD_KEY) from None
        conditions = self._conditions(source, envelope, message, entries, kept)
        told: Sequence[NewMessage] = ()
        if made.taken:
            told = self._told_of_success(message, made.taken, prefix + incoming.head)
        return NewMessage(message, content, entries, events, conditions, envelope.of_peer, told)

    def _told_of_success(
        self, message: Message, taken: Sequence[Taken], front: bytes
    ) -> Sequence[NewMessage]:
        """The DSNs about aliases that took ``message``."""
        directory, new_id = self.directory(), self.store.new_id
        copies = partial(report_copies, directory, new_id)
        composer = Composer(self.hostname, new_id, self.now, self.token, copies)
        return [admitted(one, self.admit) for one in reports_of(composer, message, taken, front)]

    def _copies(
        self, source: Source, envelope: Envelope, header: Header, head: bytes, judged: Judged
    ) -> Copies:
        """One for each recipient, and each member of an alias.  Raises: Refused."""
        directory, recipients = self.directory(), envelope.recipients
        made = Copies(plain_copies(recipients))
        owner = self._owner(envelope)
        if owner is not None:
            made = Copies(owners_copies(directory, owner))
        elif any(directory.passes_on(one.forward_path) for one in recipients):
            made = self._passed_on(source, envelope, header, head, judged)
        if envelope.fates == Fates():
            return made
        return Copies(fated(made.copies, recipients, envelope.fates))

    def _passed_on(
        self, source: Source, envelope: Envelope, header: Header, head: bytes, judged: Judged
    ) -> Copies:
        """Those of aliases and forwarding accounts expanded.  Raises: Refused."""
        directory, recipients = self.directory(), envelope.recipients
        is_sure = source.needs_from or self.passing.settings.trust_from
        is_signed = source.needs_from or judged.is_signed
        writer = Writer(addresses_in(header.first("from") or ""), is_sure, is_signed)
        # Whoever hands mail in says on top whom this very delivery is for.
        trace = header.without_first("delivered-to") if source.door == "handoff" else header
        made = copies_of(directory, recipients, writer, partial(is_going_round, directory, trace))
        if (why := made.refusal) is not None:
            raise Refused(why)
        path, now = envelope.reverse_path, self.now()
        original = Original(path, header, head, judged.fails_elsewhere)
        fields = ListFields(header, lambda alias, member: self.list_link(alias, member, now))
        copies = [self.passing.copy(directory, one, original, now) for one in made.copies]
        return evolve(made, copies=[fields.above(one) for one in copies])

    @property
    def returning(self) -> Returning:
        """Reads the reverse-paths that it rewrote."""
        return Returning(self.passing.srs, self.passing.settings.srs_domain)

    def _author(self, envelope: Envelope, now: float) -> Address | None:
        """Whose a report is that came back to a reverse-path of ours."""
        if envelope.reverse_path is not None or len(envelope.recipients) != 1:
            return None
        recipient = envelope.recipients[0].forward_path
        is_ours = self.returning.is_ours(self.directory(), recipient)
        return self.passing.srs.original(recipient, now) if is_ours else None

    def _owner(self, envelope: Envelope) -> Address | None:
        """Whose a report is that came back to the path of a member's copy."""
        if envelope.reverse_path is not None or len(envelope.recipients) != 1:
            return None
        directory, recipient = self.directory(), envelope.recipients[0].forward_path
        if not self.returning.is_ours(directory, recipient):
            return None
        return self.returning.owner(directory, recipient, self.now())

    def _failed_late(
        self, envelope: Envelope, incoming: IncomingContent, new: NewMessage
    ) -> MembersCopy | None:
        """The member's copy that a report tells the failure of."""
        if not new.message.is_report or self._owner(envelope) is None:
            return None
        header = parse_header(incoming.head)
        if not is_failure_for_good(header, incoming.head):
            return None
        return self.returning.members_copy(envelope.recipients[0].forward_path, self.now())

    def _returned(
        self,
        author: Address,
        source: Source,
        envelope: Envelope,
        header: Header,
        incoming: IncomingContent,
    ) -> NewMessage:
        """What ``author`` is told in place of what came.  Raises: Refused."""
        directory, now = self.directory(), self.now()
        recipient = envelope.recipients[0].forward_path
        failure = failure_in(directory, header, incoming.head, recipient)
        if failure is None:
            raise Refused(ONLY_REPORTS)
        turn = self.report_turn(author)
        if turn is None:
            raise Refused(TOO_MANY_REPORTS)
        incoming.abandon()
        message, content, copies = told_to_author(
            directory, self.store.new_id, self.hostname, author, failure, now, self.token()
        )
        entries = [self.admit(evolve(one, next_attempt_at=max(now, turn))) for one in copies]
        events = [accepted_event(source, message, entries), *held_events(message, entries)]
        answer = envelope.answer(message, entries) if envelope.answer is not None else None
        conditions = Conditions(answer=answer, notes=envelope.notes)
        kept = conditions if conditions != Conditions() else None
        return NewMessage(message, content, entries, events, kept)

    def _wishes(self, source: Source, envelope: Envelope, header: Header) -> Wishes:
        """What is asked for, in the envelope and in the header.  Raises: Refused."""
        if not source.keeps_from_id:
            return envelope.wishes
        try:
            return wishes_in(header, envelope.wishes)
        except NotUnderstood as error:
            raise Refused(error.reply) from None

    def _conditions(
        self,
        source: Source,
        envelope: Envelope,
        message: Message,
        entries: Sequence[Entry],
        kept: StoredAnswer | None,
    ) -> Conditions | None:
        account = source.submitter.account
        limit = account.new_recipients_per_day if account is not None else None
        chosen = next((e.from_id for e in entries if e.own_reverse_path is None), None)
        answer = envelope.answer(message, entries) if envelope.answer is not None else kept
        room_in = only_quotas(self.directory(), entries)
        conditions = Conditions(chosen or None, limit, answer, envelope.notes, room_in)
        return conditions if conditions != Conditions() else None

    def _own_paths(
        self, source: Source, envelope: Envelope
    ) -> Iterable[tuple[str | None, Address | None]]:
        """Each recipient's FromID, and the reverse-path that has it.  Raises: Refused."""
        submitter, path = source.submitter, envelope.reverse_path
        none = [(None, None)] * len(envelope.recipients)
        directory = self.directory()
        gets_ids = source.has_from_ids or gets_from_ids(
            directory, submitter.account, submitter.login
        )
        if path is None or not gets_ids:
            return none
        chosen = from_id_in(directory, path) if source.keeps_from_id else None
        if chosen is not None:
            if len(none) > 1:
                raise Refused(ONE_RECIPIENT)
            return [(chosen, None)]
        ids = [new_from_id(self.token()) for _ in none]
        paths = [with_from_id(directory, path, one) for one in ids]
        return none if None in paths else zip(ids, paths, strict=True)

    def _header(self, source: Source, head: bytes) -> Header:
        """The header, after the checks that need it.  Raises: Refused."""
        try:
            header = parse_header(head)
        except HeaderTooLarge as error:
            if source.needs_from:
                raise Refused(reply(552, "5.3.4", str(error))) from None
            return NO_HEADER  # a stranger's: opaque to us
        if header.count("received") > self.max_received:
            raise Refused(LOOPING)
        if source.needs_from:
            author = header.first("from") or ""
            if header.count("from") != 1 or hides_address(author):
                raise Refused(NO_FROM)
            addresses = addresses_in(author)
            refusal = refuse_from(self.directory(), source.submitter, addresses)
            if refusal is not None:
                raise Refused(refusal)
        return header

    def _missing_fields(
        self, source: Source, header: Header, now: float
    ) -> tuple[bytes, str | None]:
        """Date and Message-ID that a submission lacks (RFC 6409 section 8), and the Message-ID."""
        message_id = header.first("message-id")
        added = b""
        if source.needs_from and not message_id:
            message_id = f"<{self.token()}@{self.hostname}>"
            added += message_id_field(message_id)
        if source.needs_from and not header.count("date"):
            added += f"Date: {date_field(now)}\r\n".encode()
        return added, printable(message_id, 990) if message_id else None

    def _hop(self, source: Source, envelope: Envelope, id_: int, now: float) -> Hop:
        only = envelope.recipients[0].forward_path if len(envelope.recipients) == 1 else None
        hop = Hop(self.hostname, source.protocol, id_, now, tls=source.tls, recipient=only)
        if source.hide_peer:
            return hop
        return evolve(hop, helo=source.helo, peer_ip=source.peer_ip)


def _abandon(failure: Failure, incoming: IncomingContent) -> Failure:
    incoming.abandon()
    return failure


def queued_reply(accepted: Accepted) -> Reply:
    """What an SMTP client is told of its accepted message."""
    if accepted.is_delivered:
        return reply(250, "2.0.0", f"delivered as {accepted.message.id}")
    return reply(250, "2.0.0", queued_text(accepted.message.id))
