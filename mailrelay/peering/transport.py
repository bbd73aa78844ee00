"""The transport to peers: what they have in common, whatever is spoken with them.

Invariant: only a peer's own word that it has a message retires an entry; what is wrong with keys,
URLs or networks is an alarm, and keeps mail in the queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.control.peer_requests import PeerRequests
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.net.http import CallFailed
from mailrelay.net.tls import UnusableCertificate
from mailrelay.peering.client import NoKey
from mailrelay.peering.standing import WELL, Found, Standing
from mailrelay.queue.outcome import Deferral, Outcome, outcome_of_error
from mailrelay.queue.store import ContentGone, StoreUnavailable
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ToPeer
from mailrelay.smtp.reply import Reply, printable, reply

NO_SUCH_PEER = reply(451, "4.3.5", "there is no peer of that name any more")
SWITCHED_OFF = reply(451, "4.3.2", "the peer is switched off")
TAKES_NO_MAIL = reply(451, "4.3.5", "the peer has no URL to hand mail to")
NOT_NOTED = reply(451, "4.3.1", "what is handed to peers cannot be noted here")
TOLD_MEANWHILE = reply(451, "4.3.0", "the message has no content any more")
RESTING = reply(451, "4.3.2", "the peer is left alone for a while")


@frozen
class Submitted:
    """What came of a job: one outcome for each entry, what was said, how the peer was found.

    ``found`` is None when it was not asked.
    """

    outcomes: Sequence[Outcome]
    said: Sequence[str] = ()
    found: Found | None = WELL


class Submitter(Protocol):
    """Hands a job's entries to a peer, in one protocol."""

    def submit(self, peer: Peer, job: Job) -> Awaitable[Submitted]:
        """Try once.  Raises: CallFailed, NoKey, UnusableURL, UnusableCertificate."""


@frozen
class PeerTransport:
    """Hands mail to the peer that the way names.  See Transport."""

    peers: Callable[[], Mapping[str, Peer]]
    submitters: Mapping[PeerProtocol, Submitter]
    standing: Standing
    requests: PeerRequests
    now: Callable[[], float]
    handed_over: Callable[[Peer], object] = lambda peer: None
    _log = Logger()

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        return Deferred.fromCoroutine(self._attempt(job))

    async def _attempt(self, job: Job) -> Result:
        way = job.destination.way
        assert isinstance(way, ToPeer)
        started, peer = self.now(), self.peers().get(way.name)
        if peer is None or peer.disabled or not peer.url or self.standing.is_resting(peer):
            outcome = Deferral(_why_not(peer))
            return Result(
                [outcome] * len(job.entries), Attempt(started, self.now()), host_failed=True
            )
        submitted = await self._submitted(peer, job)
        found = submitted.found
        if found is not None:
            await self._note(peer, found)
        attempt = Attempt(started, self.now(), host=_host(peer), transcript=submitted.said)
        failed = found is not None and not found.is_well
        return Result(submitted.outcomes, attempt, failed, {"peer": peer.name})

    async def _submitted(self, peer: Peer, job: Job) -> Submitted:
        try:
            return await self.submitters[peer.protocol].submit(peer, job)
        except CallFailed as error:
            why = printable(str(error), 300)
            outcome: Outcome = Deferral(reply(451, "4.4.2", f"the peer: {why}"))
            found: Found | None = Found(is_well=False)
        except (NoKey, UnusableURL, UnusableCertificate) as error:
            why = printable(str(error), 300)
            outcome = Deferral(reply(451, "4.3.5", f"the peer cannot be asked: {why}"))
            found = Found(is_well=False, alarm=why)
        except StoreUnavailable:
            why, outcome, found = NOT_NOTED.text, Deferral(NOT_NOTED), None
        except ContentGone:  # the peer has told meanwhile that it has the message
            why, outcome, found = TOLD_MEANWHILE.text, Deferral(TOLD_MEANWHILE), None
        except Exception as error:
            self._log.failure("a message cannot be handed to a peer")
            why, outcome, found = "not posted: a reason of our own", outcome_of_error(error), None
        return Submitted([outcome] * len(job.entries), [why], found)

    async def _note(self, peer: Peer, found: Found) -> None:
        """Remember how the peer was found; what is new is logged and kept, once."""
        is_new = self.standing.note(peer, found)
        if found.is_well:
            self.handed_over(peer)
        if not is_new:
            return
        try:
            if found.alarm:
                self._log.error(
                    "the peer {name} refuses us: {why}", name=peer.name, why=found.alarm
                )
                await self.requests.alarm(peer.id, found.alarm, self.now())
            else:
                self._log.info("the peer {name} takes mail again", name=peer.name)
                await self.requests.well(peer.id, self.now())
        except StoreUnavailable:
            self.standing.not_stored(peer)
            self._log.warn("how it stands with a peer cannot be stored")
        except Exception:
            self.standing.not_stored(peer)
            self._log.failure("how it stands with a peer cannot be stored")


def _host(peer: Peer) -> str | None:
    try:
        return parse_url(peer.url).host
    except UnusableURL:
        return None


def _why_not(peer: Peer | None) -> Reply:
    if peer is None:
        return NO_SUCH_PEER
    if peer.disabled:
        return SWITCHED_OFF
    return RESTING if peer.url else TAKES_NO_MAIL
