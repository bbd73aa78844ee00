"""Which settings change while a server runs, and which wait for a restart."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from mailrelay.config.settings import Settings
from mailrelay.config.shown import shown_configuration
from mailrelay.control.configuration import Configuration

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


@frozen
class Origin:
    """Where settings come from.  ``file`` is empty where there is none; no value is kept here."""

    file: str = ""
    variables: frozenset[str] = frozenset()  # the names of those that are set


def running_configuration(settings: Settings, origin: Origin) -> Configuration:
    """What a server runs with, for people."""
    return shown_configuration(settings, FIXED, origin.file, origin.variables)
