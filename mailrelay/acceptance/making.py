"""What is stored of a message that came: content with its trace, entries, events, conditions.

Nothing is stored here, and nothing waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from attrs import evolve, field, frozen

from mailrelay.acceptance.again import BAD_KEY, BadKey, answer_to_keep
from mailrelay.acceptance.conditions import conditions_of, conditions_of_report
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.copies import (
    Copies,
    Taken,
    Writer,
    copies_of,
    entry_for,
    fated,
    plain_copies,
    report_copies,
)
from mailrelay.acceptance.envelope import Envelope, Fates, Source
from mailrelay.acceptance.front import hop_of, missing_fields
from mailrelay.acceptance.header_checks import checked_header
from mailrelay.acceptance.judging import Body, Judged
from mailrelay.acceptance.list_fields import ListFields
from mailrelay.acceptance.own_paths import own_paths
from mailrelay.acceptance.passing import Original, PassingOn, is_going_round
from mailrelay.acceptance.refusal import Refused
from mailrelay.acceptance.returned import (
    ONLY_REPORTS,
    TOO_MANY_REPORTS,
    Returning,
    failure_in,
    owners_copies,
    told_to_author,
)
from mailrelay.acceptance.taken import reports_of
from mailrelay.acceptance.told import accepted_event, held_events
from mailrelay.acceptance.wishes import NotUnderstood, Wishes, wishes_in
from mailrelay.directory.aliases import Alias
from mailrelay.directory.model import Directory
from mailrelay.message.header import Header, addresses_in, header_end
from mailrelay.message.trace import received_field
from mailrelay.message.words import decoded_words
from mailrelay.queue.entry import Content, Entry, Message, NewMessage
from mailrelay.queue.report import Composer, admitted
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply import printable

NO_FATES = Fates()


@frozen
class Making:
    """Makes messages of what came.  ``admit`` places an entry in the queue."""

    hostname: str
    directory: Callable[[], Directory]
    now: Callable[[], float]
    token: Callable[[], str]
    new_id: Callable[[], int]
    admit: Callable[[Entry], Entry]
    max_received: int = 50
    passing: PassingOn = field(kw_only=True)
    # What takes a member off a list, of a message that comes then; None for no link.
    list_link: Callable[[Alias, Address, float], str | None] = lambda alias, member, at: None
    # When the author of forwarded mail may be told the next time; None when not now.
    report_turn: Callable[[Address], float | None] = lambda author: 0.0
    returning: Returning = field(init=False)  # reads the reverse-paths that ``passing`` rewrote

    @returning.default
    def _returning(self) -> Returning:
        return Returning(self.passing.srs, self.passing.settings.srs_domain)

    def message(
        self,
        body: Body,
        source: Source,
        envelope: Envelope,
        incoming: IncomingContent,
        judged: Judged,
    ) -> NewMessage:
        """What is stored of what came.  Raises: Refused."""
        now, directory = self.now(), self.directory()
        header = checked_header(source, incoming.head, self.directory, self.max_received)
        author = self.returning.author_in(directory, envelope, now)
        if author is not None:
            return self._in_place_of_report(author, source, envelope, header, incoming)
        ids = chain(envelope.ids, iter(self.new_id, None))
        id_ = next(ids)
        added, message_id = missing_fields(source, header, self.hostname, self.token, now)
        received = received_field(hop_of(source, envelope, self.hostname, id_, now))
        prefix = received + judged.fields + added
        if header.size_bytes == 0 and header_end(incoming.head) != 2:
            prefix += b"\r\n"  # content without a header section: what came is all body
        content = Content(prefix, body[0], body[1], incoming.size_bytes)
        account = source.submitter.account
        mail, wishes = envelope.mail, _wishes(source, envelope, header)
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
        made = self._copies(directory, source, envelope, header, incoming.head, judged)
        paths = own_paths(directory, source, envelope, self.token)
        due = envelope.due_at(now)
        times = (due if envelope.lives_from is None else envelope.lives_from, due)
        entries = [
            self.admit(entry_for(copy, next(ids), message, times, paths[copy.number]))
            for copy in made.copies
        ]
        events = [accepted_event(source, message, entries), *held_events(message, entries)]
        try:
            kept = answer_to_keep(source, envelope, header, incoming, message)
        except BadKey:
            raise Refused(BAD_KEY) from None
        conditions = conditions_of(directory, source, envelope, message, entries, kept)
        told: Sequence[NewMessage] = ()
        if made.taken:
            told = self._told_of_success(message, made.taken, prefix + incoming.head)
        return NewMessage(message, content, entries, events, conditions, envelope.of_peer, told)

    def _told_of_success(
        self, message: Message, taken: Sequence[Taken], front: bytes
    ) -> Sequence[NewMessage]:
        """The DSNs about aliases that took ``message``."""
        copies = partial(report_copies, self.directory(), self.new_id)
        composer = Composer(self.hostname, self.new_id, self.now, self.token, copies)
        return [admitted(one, self.admit) for one in reports_of(composer, message, taken, front)]

    def _copies(
        self,
        directory: Directory,
        source: Source,
        envelope: Envelope,
        header: Header,
        head: bytes,
        judged: Judged,
    ) -> Copies:
        """One for each recipient, and each member of an alias.  Raises: Refused."""
        recipients = envelope.recipients
        made = Copies(plain_copies(recipients))
        owner = self.returning.owner_in(directory, envelope, self.now())
        if owner is not None:
            made = Copies(owners_copies(directory, owner))
        elif any(directory.passes_on(one.forward_path) for one in recipients):
            made = self._passed_on(directory, source, envelope, header, head, judged)
        if envelope.fates == NO_FATES:
            return made
        return Copies(fated(made.copies, recipients, envelope.fates))

    def _passed_on(
        self,
        directory: Directory,
        source: Source,
        envelope: Envelope,
        header: Header,
        head: bytes,
        judged: Judged,
    ) -> Copies:
        """Those of aliases and forwarding accounts expanded.  Raises: Refused."""
        is_sure = source.needs_from or self.passing.settings.trust_from
        is_signed = source.needs_from or judged.is_signed
        writer = Writer(addresses_in(header.first("from") or ""), is_sure, is_signed)
        # Whoever hands mail in says on top whom this very delivery is for.
        trace = header.without_first("delivered-to") if source.door == "handoff" else header
        going_round = partial(is_going_round, directory, trace)
        made = copies_of(directory, envelope.recipients, writer, going_round)
        if (why := made.refusal) is not None:
            raise Refused(why)
        path, now = envelope.reverse_path, self.now()
        original = Original(path, header, head, judged.fails_elsewhere)
        fields = ListFields(header, lambda alias, member: self.list_link(alias, member, now))
        copies = [self.passing.copy(directory, one, original, now) for one in made.copies]
        return evolve(made, copies=[fields.above(one) for one in copies])

    def _in_place_of_report(
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
            directory, self.new_id, self.hostname, author, failure, now, self.token()
        )
        entries = [self.admit(evolve(one, next_attempt_at=max(now, turn))) for one in copies]
        events = [accepted_event(source, message, entries), *held_events(message, entries)]
        conditions = conditions_of_report(envelope, message, entries)
        return NewMessage(message, content, entries, events, conditions)


def _wishes(source: Source, envelope: Envelope, header: Header) -> Wishes:
    """What is asked for, in the envelope and in the header.  Raises: Refused."""
    if not source.keeps_from_id:
        return envelope.wishes
    try:
        return wishes_in(header, envelope.wishes)
    except NotUnderstood as error:
        raise Refused(error.reply) from None
