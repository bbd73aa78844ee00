"""Every control over the stores of the running server, for whoever is named in the audit."""

from __future__ import annotations

from collections.abc import Callable

from mailrelay.config.settings import Settings
from mailrelay.net.surroundings import Surroundings
from mailrelay.service.application import Doors
from mailrelay.service.controls import Control, Standing, controls
from mailrelay.service.domain_dns import dns_control
from mailrelay.storage.directory_records import DatabaseDirectory
from mailrelay.storage.stores import Stores


def server_controls(
    s: Surroundings, settings: Settings, stores: Stores, doors: Doors
) -> Callable[[str], Control]:
    """What pages ask; the argument of what is returned is the actor."""
    standing = Standing(
        settings,
        stores.database,
        stores.ids,
        stores.node,
        stores.spool,
        stores.queue,
        stores.secret,
        s.workers,
        s.now,
        lambda: bytes.fromhex(doors.token()),
        doors.reporter,
        doors.explain,
        dns_control(settings, DatabaseDirectory(stores.database, s.now).load, s.now, s.workers),
        lambda account_id: doors.directory().retired_kept_for(account_id),
    )
    return lambda actor: controls(standing, actor)
