"""Mail that peers hand to us: POST, GET and DELETE of messages.

Invariants:

- 202 is answered when message, recipients, what the peer calls it and the answer itself are on
  stable storage, in one transaction.
- A key has one message: whoever repeats it gets the stored answer for KEPT_FOR seconds.
- The same policy as for any mail of the peer's account: acceptance, limits, hold rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import SpoolWriter
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.refusal import Refused
from mailrelay.acceptance.wishes import Wishes
from mailrelay.control.peer_mail import PeerMail, PeerMessage
from mailrelay.control.queue import EntryView
from mailrelay.directory.model import Account, Directory
from mailrelay.directory.peers import PeerOptions
from mailrelay.net.threads import Executor
from mailrelay.peering.arriving import Arriving
from mailrelay.peering.door import Claim, Door, Refusal, Verified, answer
from mailrelay.peering.meta import DOOR
from mailrelay.peering.offer import LONGEST_META, MOST_HOPS, Offer, read_offer
from mailrelay.policy.daily import OVER_DAILY_LIMIT, OVER_NEW_RECIPIENTS
from mailrelay.policy.limits import LOOPING
from mailrelay.policy.relay import Submitter, refuse_recipient
from mailrelay.queue.entry import LARGE_BYTES, Entry, EntryState, Message, OfPeer, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Rcpt
from mailrelay.smtp.reply import Reply
from mailrelay.web.request import Response

KEPT_FOR = 14 * 86400.0
"""Seconds for which a request may come again."""

MESSAGE_TYPE = "application/vnd.mailrelay.message"
DAILY_WAIT = 3600

READ_AT_ONCE_BYTES = 16 * 1024
"""A longer line of meta is read by a worker: that takes milliseconds."""

OUTCOMES = {
    "delivered": "relayed",
    "handed_over": "queued",
    "unknown": "queued",
    "failed": "bounced",
    "suppressed": "suppressed",
    "canceled": "cancelled",
}


class Answers(Protocol):
    """What was answered before."""

    def find(self, account_id: int, key: str) -> Deferred[StoredAnswer | None]:
        """The answer kept under that key."""


@frozen
class Policy:
    """What is asked of a message and its recipients.  Sizes in bytes, times in seconds."""

    server_id: str
    directory: Callable[[], Directory]
    is_suppressed: Callable[[int | None, Address], bool]
    over_daily_limit: Callable[[Account, int], Reply | None]
    store_trouble: Callable[[], Reply | None]
    max_message_bytes: int
    max_recipients: int
    give_up_after: float


@define
class Taking:
    """Takes messages.  ``drop`` retires entries, in whose name it is told first."""

    door: Door
    policy: Policy
    acceptance: Acceptance
    open_spool: Callable[[], SpoolWriter]
    mail: PeerMail
    answers: Answers
    drop: Callable[[str, Sequence[int]], Awaitable[object]]
    now: Callable[[], float]
    workers: Executor
    _under_way: set[str] = field(factory=set)

    async def post(self, claim: Claim) -> Response:
        """Take a message.  Raises: Refusal, and as Door.verified."""
        policy = self.policy
        if policy.store_trouble() is not None:
            raise Refusal(503, "4.3.1 the store has no room now", retry_after=60)
        if claim.signed.content_type.partition(";")[0].strip().lower() != MESSAGE_TYPE:
            raise Refusal(415, f"the Content-Type is {MESSAGE_TYPE}")
        options = claim.peer.options if claim.peer is not None else PeerOptions()
        arriving = Arriving(self.open_spool, options, policy.max_message_bytes)
        taken = False
        try:
            limit = policy.max_message_bytes + LONGEST_META
            verified = await self.door.verified(claim, limit, arriving.write)
            arriving.end()
            response = await self._once(verified, arriving)
            taken = response.status == 202
            return response
        finally:
            if not taken:
                arriving.abandon()

    async def _once(self, verified: Verified, arriving: Arriving) -> Response:
        """The answer to the first request of its key; to others what that was.

        Of small ones the transaction that stores them looks; and whatever is refused is looked
        for, as it may have been taken before.
        """
        key = f"peer/{verified.peer.id}/{verified.key}"
        if key in self._under_way:
            raise Refusal(409, "the same request is under way", retry_after=1)
        self._under_way.add(key)
        try:
            is_large = arriving.content.size_bytes >= LARGE_BYTES
            before = await self._before(verified, key) if is_large else None
            return before or await self._take(verified, key, arriving)
        except Refusal:
            before = await self._before(verified, key)
            if before is None:
                raise
            return before
        except AnsweredBefore as answered:
            found = answered.found or await self.answers.find(0, key)
            if found is None:
                raise Refusal(409, "the same request is under way", retry_after=1) from None
            return _again(found, verified)
        finally:
            self._under_way.discard(key)

    async def _before(self, verified: Verified, key: str) -> Response | None:
        """What was answered to the same request before.  Raises: Refusal."""
        found = await self.answers.find(0, key)
        return None if found is None else _again(found, verified)

    async def _take(self, verified: Verified, key: str, arriving: Arriving) -> Response:
        if arriving.refusal is not None:
            raise arriving.refusal
        account = self.account_of(verified)
        now = self.now()
        offer = await self._offer(arriving.meta, now)
        self._check(offer, account, now)
        judged = [self._judged(account, text, rcpt) for text, rcpt in offer.recipients]
        recipients = [rcpt for rcpt, _ in judged if rcpt is not None]
        results = [result for _, result in judged]
        if not recipients:
            before = await self._before(verified, key)
            arriving.abandon()
            return before or answer(202, told("", results))

        def kept(message: Message, entries: Sequence[Entry]) -> StoredAnswer:
            body = msgspec.json.encode(told(str(message.id), results))
            return StoredAnswer(0, key, verified.digest, 202, body, now + KEPT_FOR)

        peer = verified.peer
        envelope = Envelope(
            offer.mail,
            recipients,
            Wishes(dict(offer.extra), is_urgent=offer.is_urgent),
            kept,
            OfPeer(peer.id, offer.msg_id, (*offer.hops,), offer.extra),
        )
        if offer.expires_at is not None:
            life = self.policy.give_up_after
            envelope.lives_from = min(now, offer.expires_at - life)
        source = Source(
            DOOR,
            "HTTPS" if verified.is_secure else "HTTP",
            Submitter(account),
            peer_ip=verified.peer_ip,
            helo=peer.name,
        )
        try:
            accepted = await self.acceptance.accept(source, envelope, arriving.content)
        except Refused as refused:
            raise refusal_of(refused.reply) from None
        return answer(202, told(str(accepted.message.id), results))

    async def _offer(self, line: bytes, now: float) -> Offer:
        """What is offered.  Raises: Refusal.  Thousands of recipients are not read in between."""
        if len(line) <= READ_AT_ONCE_BYTES:
            return read_offer(line, now)
        return await self.workers.run(read_offer, line, now)

    def account_of(self, verified: Verified) -> Account:
        """Whose the peer's mail is.  Raises: Refusal."""
        account = self.policy.directory().accounts.get(verified.peer.account_id or 0)
        if account is None:
            raise Refusal(403, "the peer hands no mail to this server: it has no account here")
        return account

    def _check(self, offer: Offer, account: Account, now: float) -> None:
        """Raises: Refusal, of what no recipient can have."""
        policy = self.policy
        if policy.server_id in offer.hops or len(offer.hops) > MOST_HOPS:
            raise Refusal(508, "5.4.6 the message has been here, or at too many servers")
        if offer.expires_at is not None and offer.expires_at <= now:
            raise Refusal(422, "5.4.7 the message has expired")
        if len(offer.recipients) > policy.max_recipients:
            raise Refusal(400, f"rcpt_to has more than {policy.max_recipients} recipients")
        if policy.over_daily_limit(account, len(offer.recipients)) is not None:
            raise refusal_of(OVER_DAILY_LIMIT)

    def _judged(
        self, account: Account, text: str, rcpt: Rcpt | None
    ) -> tuple[Rcpt | None, dict[str, object]]:
        """The recipient, if it is taken, and what the peer is told of it."""
        if rcpt is None:
            return None, _result(text, "rejected", 501, "5.1.3 not an address")
        refusal = refuse_recipient(self.policy.directory(), Submitter(account), rcpt.forward_path)
        if refusal is not None:
            said = f"{refusal.status} {refusal.text}" if refusal.status else refusal.text
            return None, _result(text, "rejected", refusal.code, said)
        if self.policy.is_suppressed(account.id, rcpt.forward_path):
            return None, _result(text, "suppressed")
        return rcpt, _result(text, "queued")

    async def get(self, claim: Claim) -> Response:
        """How a message stands.  Raises: Refusal."""
        verified, _ = await self.door.small(claim)
        return answer(200, _standing(await self._found(claim, verified)))

    async def delete(self, claim: Claim) -> Response:
        """End what is still queued of a message, or of the ``rcpt`` that are named."""
        verified, _ = await self.door.small(claim)
        found = await self._found(claim, verified)
        named = claim.request.query_fields().get("rcpt", ())
        living = [
            view.entry.id
            for view in found.entries
            if view.entry.state is not EntryState.RETIRED
            and (not named or str(view.entry.told_as) in named)
        ]
        if living:
            await self.drop(f"peer:{verified.peer.name}", living)
        return answer(200, _standing(await self._found(claim, verified)))

    async def _found(self, claim: Claim, verified: Verified) -> PeerMessage:
        text = claim.request.params["id"]
        if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) < 2**53:
            found = await self.mail.message(verified.peer.id, int(text))
            if found is not None:
                return found
        raise Refusal(404, "no such message")


def _again(found: StoredAnswer, verified: Verified) -> Response:
    if found.request_hash != verified.digest:
        raise Refusal(422, "another message had this Idempotency-Key")
    return Response.json(200, found.answer)


def told(id_: str, results: Sequence[dict[str, object]]) -> dict[str, object]:
    """What is answered to a message that is taken."""
    return {"id": id_, "receipt": "accepted", "results": list(results)}


def _result(text: str, state: str, code: int = 0, why: str = "") -> dict[str, object]:
    result: dict[str, object] = {"rcpt": text, "state": state}
    return {**result, "code": code, "text": why} if code else result


def refusal_of(reply: Reply) -> Refusal:
    """What acceptance says, by HTTP."""
    text = f"{reply.status} {reply.text}" if reply.status else reply.text
    if reply == LOOPING:
        return Refusal(508, text)
    if reply in (OVER_DAILY_LIMIT, OVER_NEW_RECIPIENTS):
        return Refusal(429, text, retry_after=DAILY_WAIT)
    if reply.is_transient:
        return Refusal(503, text, retry_after=60)
    return Refusal(422, text)


def _standing(found: PeerMessage) -> dict[str, object]:
    first: dict[str, dict[str, object]] = {}
    for view in found.entries:
        first.setdefault(str(view.entry.told_as), _standing_of(view))
    return {"id": str(found.id), "msg_id": found.msg_id, "results": list(first.values())}


def _standing_of(view: EntryView) -> dict[str, object]:
    entry = view.entry
    is_over = entry.state is EntryState.RETIRED
    is_final = is_over and OUTCOMES.get(view.outcome or "") != "queued"
    state = "deferred" if entry.attempts else "queued"
    if entry.state is EntryState.HELD:
        state = "held"
    if is_over:
        state = OUTCOMES.get(view.outcome or "", "cancelled")
    standing: dict[str, object] = {"rcpt": str(entry.told_as), "state": state, "final": is_final}
    standing["attempts"] = entry.attempts
    return standing if is_over else {**standing, "next_attempt_at": entry.next_attempt_at}
