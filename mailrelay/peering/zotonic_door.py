"""The routes by which Zotonic sites hand mail to us, and block recipients.

Invariants:

- The secret alone says which peer it is; every peer's is compared, in constant time.
- A message is answered 200 when it is on stable storage, and one message once, however often it
  comes: its number and recipient are kept in the same transaction, for KEPT_FOR seconds.
- What can never be delivered is taken all the same, and reported as failed: anything but 200 is
  tried again for eight days by those who know no other answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from attrs import frozen
from twisted.logger import Logger

from mailrelay.directory.model import Account, Directory
from mailrelay.directory.peers import Peer, PeerProtocol
from mailrelay.peering.door import Failures
from mailrelay.peering.zotonic import (
    MOST_BODY_BYTES,
    OK_BODY,
    PATH,
    RECIPIENT_PATH,
    BlockRequest,
    Malformed,
    RelayRequest,
    error_body,
    is_secret,
    read_block_request,
    read_relay_request,
    status_text,
)
from mailrelay.queue.store import StoreUnavailable
from mailrelay.smtp.reply import Reply
from mailrelay.web.intake import Intake
from mailrelay.web.request import Refused, Request, Response, Route

T = TypeVar("T")

NOT_THAT = error_body("eacces")
NOBODY = error_body("enoent")


class Taking(Protocol):
    """What becomes of what is handed to us."""

    async def relay(self, peer: Peer, account: Account, wanted: RelayRequest) -> Response:
        """Make a message ours.  Raises: StoreUnavailable."""

    async def block(self, peer: Peer, account: Account, wanted: BlockRequest) -> None:
        """Suppress a recipient, or do no longer.  Raises: Malformed, StoreUnavailable."""


@frozen
class ZotonicDoor:
    """Lets peers in.  ``path`` is what their admins have typed in, without the host."""

    taking: Taking
    directory: Callable[[], Directory]
    intake: Intake
    failures: Failures
    store_trouble: Callable[[], Reply | None]
    now: Callable[[], float]
    _log = Logger()

    def routes(self) -> Sequence[Route]:
        """What is served."""
        relay = partial(self._answered, read_relay_request, self._relay)
        block = partial(self._answered, read_block_request, self._block)
        return [
            Route(("POST",), PATH, relay, is_limited=False),
            Route(("POST",), RECIPIENT_PATH, block, is_limited=False),
        ]

    async def _answered(
        self,
        read: Callable[[bytes], T],
        work: Callable[[Peer, Account, T], Awaitable[Response]],
        request: Request,
    ) -> Response:
        directory = self.directory()
        peer = peer_of(request, directory, self.now(), self.failures)
        account = directory.accounts.get(peer.account_id or 0)
        if account is None:
            self._log.warn("peer {name} hands mail to us, and has no account", name=peer.name)
            return _said(403, NOT_THAT)
        trouble = self.store_trouble()
        if trouble is not None:
            return _said(503, error_body("full", status_text(trouble)))
        try:
            return await work(peer, account, await decoded(self.intake, request, read))
        except Malformed as error:
            return _said(400, error_body("payload", str(error)))
        except StoreUnavailable:
            return _said(503, error_body("unavailable"))

    async def _relay(self, peer: Peer, account: Account, wanted: RelayRequest) -> Response:
        return await self.taking.relay(peer, account, wanted)

    async def _block(self, peer: Peer, account: Account, wanted: BlockRequest) -> Response:
        await self.taking.block(peer, account, wanted)
        return _said(200, OK_BODY)


def peer_of(request: Request, directory: Directory, now: float, failures: Failures) -> Peer:
    """Whose secret the query has.  Raises: Refused."""
    sites = [peer for peer in directory.peers.values() if peer.protocol is PeerProtocol.ZOTONIC]
    if not sites:
        raise Refused(_said(404, NOBODY))
    check_tries(request, failures)
    found = [one for one in sites if is_of_peer(request, one, now) and not one.disabled]
    if not found:
        failures.failed(request.peer_ip)
        raise Refused(_said(403, NOT_THAT))
    return found[0]


def check_tries(request: Request, failures: Failures) -> None:
    """Raises: Refused, for who has guessed too often."""
    if not failures.allows(request.peer_ip):
        raise Refused(_said(429, error_body("too many wrong secrets from this address")))


def is_of_peer(request: Request, peer: Peer, now: float, *, is_ours: bool = False) -> bool:
    """Whether the query has the peer's own secret, or with ``is_ours`` that which we send it.

    Raises: Refused.
    """
    given = request.query_fields().get("s", ())
    keys = [key for key in peer.keys if key.is_ours is is_ours and key.works(now)]
    return any([is_secret(given, key.secret) for key in keys])


async def decoded(intake: Intake, request: Request, read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of the body; of a large one off the reactor thread, and in its turn.

    Raises: Malformed, Refused, BodyTrouble.
    """
    collected = await intake.collect(request.body, MOST_BODY_BYTES)
    try:
        if not collected.is_large:
            return read(await collected.bytes())
        give_back = await intake.take_turn()
        try:
            return await intake.executor.run(read, await collected.bytes())
        finally:
            give_back()
    finally:
        await collected.close()


def _said(status: int, body: bytes) -> Response:
    return Response.json(status, body)
