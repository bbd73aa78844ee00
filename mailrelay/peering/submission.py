"""Handing messages to a peer by mailrelay/1.  A.6.3 to A.6.5.

Invariant: before a message is posted, the request is in the store; it is repeated byte for byte,
under its key, until the peer has answered.  So a crash at any moment makes no second copy.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote, urlencode

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.control.peer_requests import (
    MOST_HOPS,
    Answered,
    KnownOfMessage,
    PeerRequest,
    PeerRequests,
    Told,
)
from mailrelay.directory.peers import Peer
from mailrelay.message.edit import Edit
from mailrelay.net.http import BLOCK_BYTES, Body, BodyIncomplete, CallFailed, StreamedBody
from mailrelay.net.threads import Executor
from mailrelay.peering.answers import Verdict, outcome_of, verdict_of
from mailrelay.peering.client import PeerAnswer, PeerCall, PeerClient
from mailrelay.peering.meta import DOOR, MESSAGE_TYPE, meta_line
from mailrelay.peering.standing import Found
from mailrelay.peering.transport import Submitted
from mailrelay.queue.copy import copy_of
from mailrelay.queue.entry import Content, Entry
from mailrelay.queue.outcome import Deferral, Outcome, PermanentFailure
from mailrelay.queue.store import StoreUnavailable
from mailrelay.queue.transport import Job
from mailrelay.smtp.reply import printable, reply

LOOP = reply(554, "5.4.6", "the message came through this server before, or through too many")
NOT_TOLD = reply(451, "4.5.0", "the peer said nothing of this recipient")

LEAST_LIFE = 3600.0
"""Seconds that the peer has at the least: we may have tried longer than we had to."""

MOST_DIGESTS = 1000
"""Of large contents, kept in memory."""


@frozen
class Contents:
    """Where messages' bytes are."""

    content: Callable[[int], Deferred[Content]]
    read_spool: Callable[[str, int, int], Deferred[bytes]]


@define(eq=False)
class Digests:
    """SHA-256 of large requests, by their keys: made off the reactor thread, and once."""

    executor: Executor
    _kept: OrderedDict[str, bytes] = field(factory=OrderedDict)

    async def of(self, key: str, body: StreamedBody) -> bytes:
        """The digest of ``body``, which is the same whenever it is asked for."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = await self._made(body)
            while len(self._kept) > MOST_DIGESTS:
                self._kept.popitem(last=False)
        return kept

    async def _made(self, body: StreamedBody) -> bytes:
        made = hashlib.sha256(body.head)
        offset, left = 0, body.length - len(body.head)
        while left > 0:
            block = await body.read(offset, BLOCK_BYTES)
            if not block:
                raise BodyIncomplete(f"{left} bytes are missing")
            await self.executor.run(made.update, block)
            offset, left = offset + len(block), left - len(block)
        return made.digest()

    def forget(self, key: str) -> None:
        """It will not be asked for again."""
        self._kept.pop(key, None)


@frozen
class MessageSubmitter:
    """See Submitter.  ``server_id`` is what we are in lists of hops, and in keys.

    After ``give_up_after`` seconds in our queue and the peer's nobody tries any more.
    """

    server_id: str
    client: PeerClient
    requests: PeerRequests
    contents: Contents
    digests: Digests
    now: Callable[[], float]
    give_up_after: float = 5 * 86400.0
    _log = Logger()

    async def submit(self, peer: Peer, job: Job) -> Submitted:
        """See Submitter."""
        known = await self._known(peer, job)
        hops = (*known.hops, self.server_id)
        if self.server_id in known.hops or len(hops) > MOST_HOPS:
            return Submitted([PermanentFailure(LOOP)] * len(job.entries), found=None)
        outcomes = _known_outcomes(peer, job.entries, known)
        said, found = [], None
        for request in await self._requests(peer, job, known, hops, outcomes):
            try:
                answer = await self._post(peer, request, job.entries[0].edit)
            except CallFailed as error:
                found = Found(is_well=False)
                verdict = Verdict.of_no_answer(error)
            else:
                verdict = verdict_of(answer, request.entries)
                found = verdict.found
            said.append(verdict.said)
            with suppress(StoreUnavailable):  # the outcomes are recorded once that is possible
                await self._answered(peer, request, verdict, job)
            for id_ in request.entries:
                outcomes.setdefault(id_, _outcome(peer, verdict, id_))
            if not found.is_well:
                break
        missing = Deferral(reply(451, "4.4.2", said[-1])) if said else Deferral(NOT_TOLD)
        return Submitted([outcomes.get(one.id, missing) for one in job.entries], said, found)

    async def _known(self, peer: Peer, job: Job) -> KnownOfMessage:
        """What was asked before, and how it came: attempts are counted before they are made."""
        if job.message.door != DOOR and not any(entry.attempts for entry in job.entries):
            return KnownOfMessage()
        return await self.requests.of_message(peer.id, job.message.id)

    async def _requests(
        self,
        peer: Peer,
        job: Job,
        known: KnownOfMessage,
        hops: Sequence[str],
        outcomes: Mapping[int, Outcome],
    ) -> Sequence[PeerRequest]:
        """What is to be posted: what was before and is not answered, then what is new, kept."""
        wanted = {entry.id: entry for entry in job.entries if entry.id not in outcomes}
        # One that the peer told of in events counts as answered, and has no results.
        repeated = [
            one
            for one in known.requests
            if (one.answered_at is None or not one.results) and wanted.keys() & one.entries
        ]
        open_ = {id_ for one in repeated for id_ in one.entries}
        fresh = [entry for id_, entry in wanted.items() if id_ not in open_]
        return [*repeated, await self._new(peer, fresh, hops)] if fresh else repeated

    async def _new(self, peer: Peer, entries: Sequence[Entry], hops: Sequence[str]) -> PeerRequest:
        now, message = self.now(), entries[0].message
        key = self.requests.new_key(self.server_id, now)
        recipients = {entry.id: str(entry.recipient) for entry in entries}
        life = min(entry.queued_at for entry in entries) + self.give_up_after
        meta = meta_line(key, message, entries, hops, max(life, now + LEAST_LIFE))
        request = PeerRequest(peer.id, key, message.id, recipients, meta, now)
        await self.requests.add(request)
        return request

    async def _post(self, peer: Peer, request: PeerRequest, edit: Edit | None) -> PeerAnswer:
        body = await self._body(request, edit)
        digest = None if isinstance(body, bytes) else await self.digests.of(request.key, body)
        call = PeerCall("POST", "/messages", "", body, MESSAGE_TYPE, request.key, digest)
        return await self.client.ask(peer, call)

    async def _body(self, request: PeerRequest, edit: Edit | None) -> Body:
        whole = await self.contents.content(request.message_id)
        content = await copy_of(whole, edit, self.contents.read_spool)
        head = request.meta + content.prefix
        if content.body is not None:
            return head + content.body
        name = content.spool_name
        assert name is not None
        return StreamedBody(
            head,
            len(head) + content.body_size_bytes,
            lambda offset, size: self.contents.read_spool(name, content.body_from + offset, size),
        )

    async def _answered(self, peer: Peer, request: PeerRequest, verdict: Verdict, job: Job) -> None:
        """Keep an answer, and take back what was dropped here while it was under way."""
        if not verdict.is_answer:
            return
        self.digests.forget(request.key)
        answered = Answered(peer.id, request.key, self.now(), verdict.relay_id, verdict.results)
        dropped = await self.requests.answered(answered)
        if dropped and verdict.relay_id:
            await self._cancel(peer, request, verdict.relay_id, dropped)

    async def _cancel(
        self, peer: Peer, request: PeerRequest, relay_id: str, dropped: Sequence[str]
    ) -> None:
        query = "" if len(dropped) == len(request.entries) else urlencode({"rcpt": dropped}, True)
        path = f"/messages/{quote(relay_id, safe='')}"
        try:
            await self.client.ask(
                peer, PeerCall("DELETE", path, query, key=f"{request.key[:120]}.cancel")
            )
        except StoreUnavailable:
            raise
        except Exception as error:
            why = printable(str(error), 300)
            self._log.warn(
                "{name} may still send what was dropped here: {why}", name=peer.name, why=why
            )


def _known_outcomes(
    peer: Peer, entries: Sequence[Entry], known: KnownOfMessage
) -> dict[int, Outcome]:
    """What the peer said before of entries whose outcome could not be recorded then."""
    found: dict[int, Outcome] = {}
    for entry in entries:
        last = next((one for one in reversed(known.requests) if entry.id in one.entries), None)
        told = last.results.get(entry.id) if last is not None else None
        if last is not None and told is not None and told.is_final:
            found[entry.id] = outcome_of(told, peer, last.relay_id)
    return found


def _outcome(peer: Peer, verdict: Verdict, entry_id: int) -> Outcome:
    if verdict.outcome is not None:
        return verdict.outcome
    told: Told | None = verdict.results.get(entry_id)
    return Deferral(NOT_TOLD) if told is None else outcome_of(told, peer, verdict.relay_id)
