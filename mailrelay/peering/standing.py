"""How it stands with the peers that we hand mail to: away, resting, refusing us.  In memory."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from mailrelay.directory.peers import Peer
from mailrelay.queue.entry import Entry

PROBE_EVERY = 60.0
"""Seconds between two requests to a peer that refuses what we are."""


@frozen
class Found:
    """How a peer was found: whether it was reached, why it refuses us, what wait it asks for."""

    is_well: bool = True
    alarm: str = ""
    wait: float = 0.0


WELL = Found()


@define(eq=False)
class Standing:
    """Of all peers, by their ids.  ``seconds`` is monotonic, ``now`` is since the epoch."""

    seconds: Callable[[], float]
    now: Callable[[], float]
    alarms: dict[int, str] = field(factory=dict)
    _away: set[int] = field(factory=set)
    _rests: dict[int, float] = field(factory=dict)
    _not_stored: set[int] = field(factory=set)

    def note(self, peer: Peer, found: Found) -> bool:
        """Take note; whether its alarm, or that it has none, is new to the store."""
        before = self.alarms.get(peer.id, "")
        is_late = peer.id in self._not_stored
        self._not_stored.discard(peer.id)
        if found.alarm:
            self.alarms[peer.id] = found.alarm
        elif found.is_well:
            self.alarms.pop(peer.id, None)
        if found.is_well:
            self._away.discard(peer.id)
        else:
            self._away.add(peer.id)
        wait = max(found.wait, PROBE_EVERY) if found.alarm else found.wait
        if wait:
            self._rests[peer.id] = self.seconds() + wait
        else:
            self._rests.pop(peer.id, None)
        return is_late or before != self.alarms.get(peer.id, "")

    def not_stored(self, peer: Peer) -> None:
        """What was noted is not in the store: the next note is new, whatever it is."""
        self._not_stored.add(peer.id)

    def reached(self, peer: Peer) -> None:
        """It answered something else than mail: one that refuses us is away still."""
        if peer.id not in self.alarms:
            self._away.discard(peer.id)

    def is_resting(self, peer: Peer) -> bool:
        """Whether it is left alone for now."""
        return self.seconds() < self._rests.get(peer.id, 0.0)

    def is_away(self, peer: Peer, entry: Entry) -> bool:
        """Whether ``entry`` has waited for as long as is waited for a peer that is away."""
        waited = self.now() - entry.queued_at
        return peer.id in self._away and waited >= peer.options.fallback_after
