"""One hand-off, from its body to its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.control.handed_in import SETTLED, UNDER_WAY, Asked, Note
from mailrelay.directory.model import Account, Directory
from mailrelay.handoff.answers import (
    AFTER_LIMIT,
    NOT_OURS,
    OTHER_MESSAGE,
    SOON,
    refused_with,
    taken,
    told,
)
from mailrelay.handoff.discovery import NamedBy, Unreadable
from mailrelay.handoff.endpoints import HandOffInSettings, HandOffMode
from mailrelay.handoff.letter import BadKey, Letter, key_of, letter_of
from mailrelay.handoff.memory import Before, Memory, asked, handled
from mailrelay.handoff.reading import Reading
from mailrelay.handoff.verdicts import Judge, Verdict
from mailrelay.policy.daily import OVER_NEW_RECIPIENTS
from mailrelay.policy.limits import TOO_MANY_RECIPIENTS
from mailrelay.policy.relay import Submitter
from mailrelay.queue.entry import Entry, Message, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.routing.router import HANDED_IN
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.smtp.reply import Reply
from mailrelay.web.request import Request, Response


class PutAside(Protocol):
    """Where mailx mode keeps what it can neither deliver nor return."""

    def __call__(self, content: IncomingContent, why: Reply, asked: Asked) -> Deferred[None]:
        """Make it ours, once.  Fails with StoreUnavailable; the content is abandoned then."""


class Waiting(Protocol):
    """Waits for what becomes of a message that was taken; see sync.py."""

    async def __call__(self, asked: Asked, round_: int, note: Note, seconds: float) -> Reply | None:
        """None when each entry has come to an end; else why not.

        What could not be delivered is ours no more then, or under way still.
        """


@frozen
class Means:
    """What hand-offs are taken with."""

    acceptance: Callable[[], Acceptance]
    directory: Callable[[], Directory]
    over_daily_limit: Callable[[Account, int], Reply | None]
    memory: Memory
    put_aside: PutAside
    waiting: Waiting
    now: Callable[[], float]
    most_recipients: int


@define
class HandIn:
    """A request whose body was read.  ``is_given_away`` when that is somebody else's to abandon."""

    means: Means
    endpoint: HandOffInSettings
    request: Request
    reading: Reading
    account: Account | None
    is_given_away: bool = field(default=False, init=False)
    _log = Logger()

    async def answer(self) -> Response:
        """Make of it what can be made.  Raises: StoreUnavailable, web Refused."""
        request = self.request
        try:
            key = key_of(request.headers)
            making = self.means.acceptance().making
            judge = Judge(self.means.directory(), self.endpoint, making.returning)
            most_received = making.max_received
            letter = letter_of(request, self.reading, judge.is_ours, most_received)
        except (Unreadable, BadKey) as error:
            return told(request, 400, str(error), "5.5.4")
        found = letter.found.addresses
        own = asked(self.endpoint.name, key, letter.sender, found, self.reading.digest)
        before = await self.means.memory.before(own)
        if before.is_other:
            return told(request, 409, OTHER_MESSAGE.text, str(OTHER_MESSAGE.status))
        if letter.trouble is not None:
            return await self._malformed(letter.trouble, own, before)
        if len(found) > self.means.most_recipients:
            return refused_with(request, TOO_MANY_RECIPIENTS)
        if before.under_way is not None:
            why = await self._settled(own, *before.under_way)
            if why is not None:
                return refused_with(request, why)
            before = await self.means.memory.before(own)
        left = judge.verdict(letter.found, letter.sender, before.recipients, self.means.now())
        if left.foreign:
            return refused_with(request, NOT_OURS)
        return await self._judged(letter, own, before, left)

    async def _malformed(self, why: Reply, own: Asked, before: Before) -> Response:
        if not self.endpoint.is_mailx:
            return refused_with(self.request, why)
        if not before.rounds:
            self.is_given_away = True
            with suppress(AnsweredBefore):  # the same, at once
                await self.means.put_aside(self.reading.content, why, own)
        return taken(self.request)

    async def _judged(self, letter: Letter, own: Asked, before: Before, left: Verdict) -> Response:
        if left.is_refused and not before.recipients:
            return refused_with(self.request, left.refused[0][1])
        if left.recipients:
            refusal = await self._taken(letter, own, before, left)
            if refusal is not None:
                return refusal
        if left.deferred:
            return refused_with(self.request, left.deferred[0][1])
        return taken(self.request)

    async def _taken(
        self, letter: Letter, own: Asked, before: Before, left: Verdict
    ) -> Response | None:
        """Make what is ``left`` ours; the answer if that cannot be, or did not end well."""
        notes = await self._unhandled(letter, left)
        if notes is not None:
            wanted = frozenset(notes)
            fresh = left.only(lambda one: one in wanted)
        else:
            fresh = left
        if not fresh.recipients:
            return None
        over = self._over_limit(len(fresh.recipients))
        if over is not None:
            return told(self.request, 429, over.text, str(over.status or ""), AFTER_LIMIT)
        envelope = self._envelope(letter, own, before, left, fresh)
        envelope.notes = list((notes or {}).values())
        self.is_given_away = True
        try:
            await self.means.acceptance().accept(self._source(), envelope, self.reading.content)
        except Refused as refused:
            return self._refused(refused.reply)
        except AnsweredBefore:  # the same came at once, and was quicker
            return await self._as_before(own, left)
        if self.endpoint.handoff is HandOffMode.QUEUE:
            return None
        return await self._as_before(own, left)

    async def _as_before(self, own: Asked, left: Verdict) -> Response | None:
        """What is to be said of what is ours; None when nothing is."""
        after = await self.means.memory.before(own)
        if after.under_way is not None:
            why = await self._settled(own, *after.under_way)
            return None if why is None else refused_with(self.request, why)
        if all(map(after.has, left.recipients)):
            return None
        return told(self.request, 503, "the same is being taken now", "4.3.2", SOON)

    def _over_limit(self, more: int) -> Reply | None:
        if self.account is None:
            return None
        return self.means.over_daily_limit(self.account, more)

    async def _unhandled(self, letter: Letter, left: Verdict) -> dict[Address, StoredAnswer] | None:
        """Of those that the author named, who does not have the message; None of other ones."""
        message_id = letter.header.first("message-id")
        if letter.found.by is not NamedBy.AUTHOR or not message_id:
            return None
        now, name = self.means.now(), self.endpoint.name
        notes = {one: handled(name, message_id, one, now) for one in left.recipients}
        unhandled = await self.means.memory.unhandled(list(notes.values()))
        return {one: note for one, note in notes.items() if note in unhandled}

    def _envelope(
        self, letter: Letter, own: Asked, before: Before, left: Verdict, fresh: Verdict
    ) -> Envelope:
        is_sync = self.endpoint.handoff is HandOffMode.SYNC
        status = UNDER_WAY if is_sync else SETTLED

        def note(message: Message, entries: Sequence[Entry]) -> StoredAnswer:
            kept = Note(message.id, [str(one) for one in left.recipients])
            return own.note(before.rounds, status, kept, self.means.now())

        # Whether SMTPUTF8 is needed acceptance looks itself.
        mail = Mail(letter.sender, smtputf8=True)
        served = frozenset(map(Address.parse, before.served))
        return Envelope(
            mail,
            [Rcpt(one) for one in fresh.recipients],
            answer=note,
            fates=evolve(fresh.fates, served=served),
        )

    def _source(self) -> Source:
        request = self.request
        protocol = "HTTPS" if request.is_secure else "HTTP"
        return Source(HANDED_IN, protocol, Submitter(self.account), peer_ip=request.peer_ip)

    def _refused(self, said: Reply) -> Response | None:
        if said == OVER_NEW_RECIPIENTS:
            return told(self.request, 429, said.text, str(said.status or ""), AFTER_LIMIT)
        if said.is_permanent and self.endpoint.is_mailx:
            name = self.endpoint.name
            self._log.info("dropped, handed in at {name}: {reason}", name=name, reason=said.text)
            return None
        return refused_with(self.request, said)

    async def _settled(self, own: Asked, round_: int, note: Note) -> Reply | None:
        return await self.means.waiting(own, round_, note, self.endpoint.sync_timeout)
