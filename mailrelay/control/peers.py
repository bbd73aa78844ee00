"""Peers and their keys: what may be asked, checked, and written down.

A secret is told once, to whoever makes it, and is in no list, log, audit or export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.peer_checks import (
    PEER_FALLBACK,
    check_peer_name,
    checked_options,
    checked_url,
    key_text,
    read_key,
)
from mailrelay.directory.model import Directory
from mailrelay.directory.peers import Peer, PeerKey, PeerProtocol

KEY_KEPT_FOR = 7 * 86400.0
"""Seconds that a replaced key goes on working, unless another time is given."""

LONGEST_KEY_KEPT = 90 * 86400.0
MOST_KEYS = 5
"""Of one direction of a peer, that work at once."""


@frozen
class PeerDetails:
    """What a peer is, or is changed to; None leaves a value as it is.

    An empty ``account`` takes it away; ``options`` has fields of PeerOptions.
    """

    url: str | None = None
    callback_url: str | None = None
    account: str | None = None
    disabled: bool | None = None
    options: Mapping[str, object] = field(factory=dict)


@frozen
class NewPeerKey:
    """A key that was made here; ``text`` is for the other side, and is told this once."""

    key: PeerKey
    text: str = field(repr=False)


@frozen
class PeerState:
    """How it stands with a peer.  Times are seconds since the epoch."""

    alarm: str = ""  # why it refuses what we are
    alarm_since: float | None = None
    last_contact_at: float | None = None


@frozen
class ListedPeer:
    """A peer, the name of the account that its mail is of, and how it stands with it."""

    peer: Peer
    account: str | None
    state: PeerState = PeerState()


class PeerRecords(Protocol):
    """Peers' rows.  Every change tells running processes, and is audited as ``actor``'s.

    Methods fail with Refusal's kinds, and with StoreUnavailable.
    """

    def load(self) -> Deferred[Directory]:
        """Everything now."""

    def states(self) -> Deferred[Mapping[int, PeerState]]:
        """How it stands with those of which something is known, by their ids."""

    def add(self, actor: str, peer: Peer) -> Deferred[None]:
        """Keep a peer and its keys; its id is given here.

        Fails with AlreadyThere for a name that is taken, and for the id of a key that another
        peer's requests have.
        """

    def set(self, actor: str, peer: Peer) -> Deferred[None]:
        """Change all of the peer of that name but its keys."""

    def add_key(
        self, actor: str, name: str, key: PeerKey, others_end_at: float, most: int
    ) -> Deferred[None]:
        """Give a peer a key; those of its direction work until ``others_end_at`` at most.

        Those that work no longer are removed.  Fails with Refusal when ``most`` work already,
        with AlreadyThere as ``add``.
        """

    def remove(self, actor: str, name: str) -> Deferred[None]:
        """Remove a peer and its keys.  Fails with InUse while another falls back to it."""


@frozen
class PeerControl:
    """Checks and normalises, then changes one thing.  ``random`` gives 16 fresh bytes."""

    records: PeerRecords
    random: Callable[[], bytes]
    now: Callable[[], float]
    actor: str

    async def add(
        self,
        name: str,
        protocol: PeerProtocol,
        details: PeerDetails,
        our_key: str | None = None,
        their_key: str | None = None,
    ) -> Sequence[NewPeerKey]:
        """Know a peer, by the keys given; those that were made in their place.  Raises: Refusal."""
        check_peer_name(name)
        directory = await self.records.load()
        peer = Peer(0, name, protocol, created_at=self.now())
        peer = _changed(directory, peer, details)
        given = ((our_key, True), (their_key, False))
        keys = [self._key(protocol, text, is_ours=is_ours) for text, is_ours in given]
        await self.records.add(self.actor, evolve(peer, keys=keys))
        made = [key for key, (text, _) in zip(keys, given, strict=True) if text is None]
        return [NewPeerKey(key, key_text(protocol, key)) for key in made]

    async def set(self, name: str, details: PeerDetails) -> None:
        """Change a peer.  Raises: Refusal."""
        if details == PeerDetails():
            raise Refusal("nothing to change: name a setting")
        directory = await self.records.load()
        peer = _changed(directory, _found(directory, name), details)
        await self.records.set(self.actor, peer)

    async def rotate(
        self,
        name: str,
        text: str | None = None,
        *,
        is_ours: bool,
        kept_for: float = KEY_KEPT_FOR,
    ) -> NewPeerKey | None:
        """Give it a new key of a direction, or that one; those before it work for ``kept_for``.

        What was made, if it was.  Raises: Refusal.
        """
        if not 0 <= kept_for <= LONGEST_KEY_KEPT:
            raise Refusal(f"an old key works for {LONGEST_KEY_KEPT / 86400:g} days at most")
        peer = _found(await self.records.load(), name)
        key = self._key(peer.protocol, text, is_ours=is_ours)
        await self.records.add_key(self.actor, name, key, self.now() + kept_for, MOST_KEYS)
        return NewPeerKey(key, key_text(peer.protocol, key)) if text is None else None

    async def remove(self, name: str) -> None:
        """Know a peer no longer.  Raises: Refusal."""
        await self.records.remove(self.actor, name)

    async def peer(self, name: str) -> Peer:
        """The peer of that name, its keys included.  Raises: Refusal."""
        return _found(await self.records.load(), name)

    async def peers(self) -> Sequence[ListedPeer]:
        """All of them, by name."""
        directory = await self.records.load()
        states = await self.records.states()
        return [
            ListedPeer(peer, _account_name(directory, peer), states.get(peer.id, PeerState()))
            for peer in sorted(directory.peers.values(), key=lambda peer: peer.name)
        ]

    def _key(self, protocol: PeerProtocol, text: str | None, *, is_ours: bool) -> PeerKey:
        """The key that ``text`` is, or a new one.  Raises: Refusal."""
        at, key_id = self.now(), f"k{self.random().hex()[:16]}"
        if text is not None:
            read = read_key(protocol, text, is_ours=is_ours, at=at)
            return read or PeerKey(key_id, text.encode("ascii"), is_ours, at)
        secret = self.random() + self.random()
        if protocol is PeerProtocol.ZOTONIC:
            secret = secret.hex().encode("ascii")
        return PeerKey(key_id, secret, is_ours, at)


def _found(directory: Directory, name: str) -> Peer:
    if name not in directory.peers:
        raise NoSuch(f"no peer {name[:64]!r}: mailrelay peer list")
    return directory.peers[name]


def _account_name(directory: Directory, peer: Peer) -> str | None:
    account = directory.accounts.get(peer.account_id or 0)
    return account.name if account is not None else None


def _changed(directory: Directory, peer: Peer, details: PeerDetails) -> Peer:
    """``peer`` with what ``details`` say.  Raises: Refusal."""
    options = checked_options(peer, details.options)
    fallback = options.fallback.removeprefix(PEER_FALLBACK)
    if fallback != options.fallback:
        _found(directory, fallback)
    changed = evolve(peer, options=options)
    if details.url is not None:
        changed = evolve(changed, url=checked_url(details.url))
    if details.callback_url is not None:
        changed = evolve(changed, callback_url=checked_url(details.callback_url))
    if details.account is not None:
        changed = evolve(changed, account_id=_account_id(directory, details.account))
    if details.disabled is not None:
        changed = evolve(changed, disabled=details.disabled)
    return changed


def _account_id(directory: Directory, name: str) -> int | None:
    if not name:
        return None
    for account in directory.accounts.values():
        if account.name == name:
            return account.id
    raise NoSuch(f"no account {name}: mailrelay account list")
