"""Handing messages to a Zotonic relay: one POST for each recipient.

Invariants:

- A recipient's message has one number for all attempts, noted before the first: a relay that has
  it takes it no second time, and what it reports is known by the number.
- Nothing is posted that a JSON text cannot carry: eight-bit parts are encoded first, and what
  then is neither ASCII nor UTF-8 fails.
- The secret is in the URL that is asked, and in nothing that is told or kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from mailrelay.control.peer_requests import Answered, PeerRequest, PeerRequests, Told
from mailrelay.directory.peers import Peer
from mailrelay.message.edit import Edit
from mailrelay.message.header import HeaderTooLarge, parse_header
from mailrelay.message.seven_bit import seven_bit
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.threads import Executor
from mailrelay.peering.client import NoKey
from mailrelay.peering.standing import Found
from mailrelay.peering.submission import Contents
from mailrelay.peering.transport import Submitted
from mailrelay.peering.zotonic import MOST_BODY_BYTES, relay_body, scrubbed, with_secret
from mailrelay.peering.zotonic_answers import ZotonicVerdict, verdict_of
from mailrelay.queue.copy import copy_of
from mailrelay.queue.entry import LARGE_BYTES, Entry
from mailrelay.queue.outcome import Deferral, HandedOver, Outcome, PermanentFailure
from mailrelay.queue.transport import Job
from mailrelay.smtp.reply import Reply, printable, reply

TOO_LARGE = reply(552, "5.3.4", "a Zotonic relay takes no message of this size: 32 MiB with JSON")
NOT_TEXT = reply(
    554, "5.6.3", "the message is signed and has bytes that no Zotonic relay can carry"
)

AWAITED_FOR = 7 * 86400.0
"""Seconds for which a relay may report; it forgets a message after as many."""

LARGE_AT_ONCE = 2
"""Large messages in memory, each several times over."""

MOST_HOST = 75
BLOCK_BYTES = 1024 * 1024


class Poster(Protocol):
    """What HTTPClient is asked for here."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See HTTPClient.  Raises: CallFailed."""


@frozen
class ZotonicSubmitter:
    """See Submitter.  ``callback`` is where a peer is to report; "" when there is no such place."""

    hostname: str
    poster: Callable[[Peer], Awaitable[Poster]]
    requests: PeerRequests
    contents: Contents
    executor: Executor
    now: Callable[[], float]
    callback: Callable[[Peer], str]
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(LARGE_AT_ONCE), init=False)
    _log = Logger()

    async def submit(self, peer: Peer, job: Job) -> Submitted:
        """See Submitter."""
        if job.message.size_bytes >= MOST_BODY_BYTES:
            return _all(job, TOO_LARGE)
        if job.message.size_bytes < LARGE_BYTES:
            return await self._submit(peer, job)
        await self._turns.acquire()
        try:
            return await self._submit(peer, job)
        finally:
            self._turns.release()

    async def _submit(self, peer: Peer, job: Job) -> Submitted:
        key = peer.our_key(self.now())
        if key is None:
            raise NoKey(f"no secret of ours works for {peer.name}: mailrelay peer rotate --ours")
        known = await self.requests.of_message(peer.id, job.message.id)
        noted = {one.key: one for one in known.requests}
        raw = await self._content(job.message.id, job.entries[0].edit)
        text = await self.executor.run(mail_text, raw, f"{job.message.id}@{self._host}")
        if text is None:
            return _all(job, NOT_TEXT)
        outcomes: list[Outcome] = []
        said: list[str] = []
        found: Found | None = None
        for entry in job.entries:
            number = f"{entry.id}@{self._host}"
            before = noted.get(number)
            if before is not None and before.answered_at is not None:
                # It has it; what could not be recorded then is recorded now.
                has_it = f"{peer.name} has it as {before.relay_id}"
                outcomes.append(HandedOver(reply(250, "2.0.0", has_it)))
                continue
            if found is not None and not found.is_well:
                outcomes.append(Deferral(reply(451, "4.4.2", said[-1])))
                continue
            body = relay_body(number, str(entry.recipient), text, self.callback(peer))
            if len(body) >= MOST_BODY_BYTES:
                outcomes.append(PermanentFailure(TOO_LARGE))
                continue
            if before is None:
                await self._note(peer, entry, number)
            verdict = await self._posted(peer, key.secret, body)
            found = verdict.found
            outcomes.append(verdict.outcome)
            said.append(verdict.said)
            if isinstance(verdict.outcome, HandedOver):
                await self._taken(peer, entry, number, verdict)
        return Submitted(outcomes, said, found)

    @property
    def _host(self) -> str:
        return self.hostname[-MOST_HOST:].lstrip(".-")

    async def _content(self, message_id: int, edit: Edit | None) -> bytes:
        whole = await self.contents.content(message_id)
        content = await copy_of(whole, edit, self.contents.read_spool)
        if content.body is not None:
            return content.prefix + content.body
        name, pieces, offset = content.spool_name, [content.prefix], content.body_from
        assert name is not None
        while piece := await self.contents.read_spool(name, offset, BLOCK_BYTES):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    async def _note(self, peer: Peer, entry: Entry, number: str) -> None:
        recipients = {entry.id: str(entry.recipient)}
        await self.requests.add(
            PeerRequest(peer.id, number, entry.message.id, recipients, b"", self.now())
        )

    async def _posted(self, peer: Peer, secret: bytes, body: bytes) -> ZotonicVerdict:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        url = with_secret(peer.url, secret)
        poster = await self.poster(peer)
        try:
            answer = await poster.post(url, headers, body, peer.options.timeout)
        except CallFailed as error:
            why = printable(scrubbed(str(error), [secret]), 300)
            outcome = Deferral(reply(451, "4.4.2", f"the peer: {why}"))
            return ZotonicVerdict(outcome, why, Found(is_well=False))
        return verdict_of(answer, peer)

    async def _taken(self, peer: Peer, entry: Entry, number: str, verdict: ZotonicVerdict) -> None:
        results = {entry.id: Told("queued")}
        answered = Answered(
            peer.id, number, self.now(), verdict.relay_id, results, awaited_for=AWAITED_FOR
        )
        if await self.requests.answered(answered):
            self._log.warn(
                "{name} may still send what was dropped here: {why}",
                name=peer.name,
                why="a Zotonic relay takes nothing back",
            )


def mail_text(content: bytes, message_id: str) -> str | None:
    """A message as JSON carries it, with a Message-Id; None when it cannot be text."""
    try:
        has_id = parse_header(content).count("message-id") > 0
    except HeaderTooLarge:
        has_id = True
    if not has_id:
        content = f"Message-Id: <{message_id}>\r\n".encode() + content
    try:
        return seven_bit(content).decode()
    except UnicodeDecodeError:
        return None


def _all(job: Job, refusal: Reply) -> Submitted:
    outcomes: Sequence[Outcome] = [PermanentFailure(refusal)] * len(job.entries)
    return Submitted(outcomes, [refusal.text], found=None)
