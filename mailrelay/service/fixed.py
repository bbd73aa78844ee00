"""Which settings change while a server runs, and which wait for a restart."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from mailrelay.config.settings import Settings

FIXED = (
    *("hostname", "data_dir", "node", "storage", "listener", "localserve"),
    *("handoff", "forwarding", "acme"),
    *("dnsbl", "sender_limits", "greylisting", "rspamd", "first_time_senders"),
    *("reports", "pages"),
    *("run_as", "allow_root", "login", "http", "dns", "smtp_out", "webhooks"),
    "autoconfig",
)
"""Settings of which a running server keeps what it was started with."""


def with_fixed(running: Settings, wanted: Settings) -> tuple[Settings, Sequence[str]]:
    """``wanted`` as far as a running server takes it, and the names of what it does not."""
    kept = {name: getattr(running, name) for name in FIXED}
    left = [name for name in FIXED if getattr(wanted, name) != kept[name]]
    if wanted.log.file != running.log.file:
        left.append("log.file")
    return evolve(wanted, **kept), left
