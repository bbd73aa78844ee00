"""The judges of mail of strangers, composed for a listener."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.acceptance.authenticating import Authenticating
from mailrelay.acceptance.following import Following, FollowSettings, Record
from mailrelay.acceptance.judging import Chain, Judge
from mailrelay.acceptance.sealers import Sealers
from mailrelay.config.settings import ListenerSection, Settings
from mailrelay.mailauth.public_suffixes import is_public_suffix, public_suffixes
from mailrelay.net.surroundings import Surroundings
from mailrelay.service.incoming import Telling
from mailrelay.storage.stores import Stores


def make_judges(
    s: Surroundings,
    settings: Settings,
    section: ListenerSection,
    stores: Stores,
    telling: Telling,
    record: Record | None = None,
    more: Sequence[Judge] = (),
) -> Chain | None:
    """Those of ``section``, and behind them ``more``; None where nothing is judged."""
    if not section.judge:
        return Chain("", more, stores.queue.read_spool, telling) if more else None
    public_suffixes()  # not at the first message, in the reactor's thread
    authserv_id = settings.hostname.lower()
    authenticating = Authenticating(
        authserv_id,
        s.judging,
        s.workers,
        s.clock,
        s.now,
        s.random.random,
        is_public_suffix,
    )
    follow = FollowSettings(section.on_dmarc_failure, section.on_spf_failure)
    trusted = frozenset(map(str.lower, settings.forwarding.trusted_sealers))
    sealers = Sealers(authenticating.resolver.texts, s.workers, s.clock, trusted)
    judges: list[Judge] = [authenticating, sealers, Following(follow, record), *more]
    return Chain(authserv_id, judges, stores.queue.read_spool, telling)
