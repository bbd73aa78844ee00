"""The endpoints that take mail by HTTPS, composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from mailrelay.acceptance.accept import Acceptance
from mailrelay.config.settings import Settings
from mailrelay.directory.model import Account, Directory
from mailrelay.handoff.doors import HandOffDoors
from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.handoff.hand_in import Means
from mailrelay.handoff.memory import Memory
from mailrelay.handoff.quarantine import Quarantine
from mailrelay.handoff.receiver import Receiver
from mailrelay.handoff.sync import SyncRounds
from mailrelay.net.surroundings import Surroundings
from mailrelay.smtp.reply import Reply
from mailrelay.storage.handed_in import DatabaseQuarantine, DatabaseRounds
from mailrelay.storage.keeping import DatabaseAnswers
from mailrelay.storage.stores import Stores
from mailrelay.web.ratelimit import RequestLimits
from mailrelay.web.request import Route


@frozen
class HandingIn:
    """``routes`` are of listeners with ``handoff``; ``rounds`` is told of events."""

    routes: Callable[[], Sequence[Route]]
    rounds: SyncRounds


def make_handing_in(
    s: Surroundings,
    settings: Settings,
    endpoints: Callable[[], Sequence[HandOffInSettings]],
    stores: Stores,
    acceptance: Callable[[], Acceptance],
    directory: Callable[[], Directory],
    over_daily_limit: Callable[[Account, int], Reply | None],
    trouble: Callable[[], Reply | None],
) -> HandingIn:
    """What ``[[handoff_in]]`` asks for."""
    kept_for = settings.queue.retired_keep_after
    rounds = SyncRounds(DatabaseRounds(stores.database, stores.spool, kept_for), s.clock, s.now)
    quarantine = DatabaseQuarantine(stores.database, stores.ids)
    means = Means(
        acceptance,
        directory,
        over_daily_limit,
        Memory(DatabaseAnswers(stores.database, s.now)),
        Quarantine(quarantine, directory, settings.hostname, s.now),
        rounds,
        s.now,
        settings.limits.recipients,
    )
    receiver = Receiver(means, stores.spool.open, trouble, settings.limits.message_bytes)
    limits = RequestLimits(settings.http, s.clock.seconds)
    doors = HandOffDoors(endpoints, receiver, directory, trouble, limits)
    return HandingIn(doors.routes, rounds)
