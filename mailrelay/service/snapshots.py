"""What a server keeps in memory of its store, and how that stays what the store says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mailrelay.directory.model import Directory
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.daily import DailyCount
from mailrelay.policy.holds import is_held
from mailrelay.policy.suppression import Suppressed
from mailrelay.queue.entry import Entry
from mailrelay.storage.directory import load
from mailrelay.storage.endpoints import load_endpoints
from mailrelay.storage.holds import load as load_hold_rules
from mailrelay.storage.rows import stored_address
from mailrelay.storage.stores import Stores
from mailrelay.storage.suppression import everybody
from mailrelay.webhooks.endpoint import StandardEndpoint


def _load(connection: Connection) -> tuple[Directory, Mapping[int, StandardEndpoint]]:
    return load(connection), load_endpoints(connection)


class Snapshots:
    """Directory, endpoints, hold rules, suppression lists and the day's counts.

    What this process commits they are told of; what others change is read again, as a whole.
    """

    _log = Logger()

    def __init__(self, stores: Stores, now: Callable[[], float]) -> None:
        self._database = stores.database
        self.directory: Directory = stores.directory
        self.endpoints: Mapping[int, StandardEndpoint] = stores.endpoints
        self.hold_rules = stores.hold_rules
        self.suppressed = Suppressed(stores.suppressed)
        self.daily = DailyCount(now)
        self.daily.load(stores.sent_before)
        self._loading: Deferred[Any] = succeed(None)

    def committed(self, events: Sequence[NewEvent]) -> None:
        """Take note of what was recorded."""
        for event in events:
            if event.account_id is None:
                continue
            if event.data.get("suppressing"):
                self.suppressed.add(event.account_id, stored_address(str(event.data["recipient"])))
            if event.kind is EventKind.ACCEPTED:
                count = event.data.get("recipient_count", 1)
                self.daily.sent(event.account_id, int(str(count)))

    def changed(self, kinds: set[str]) -> None:
        """Read again what somebody changed: the CLI, or another process."""
        read, log = self._database.read, self._log
        if "directory" in kinds:
            self.load_directory()
        if "holds" in kinds:
            rules = read(load_hold_rules).addCallback(partial(setattr, self, "hold_rules"))
            rules.addErrback(lambda f: log.failure("the hold rules cannot be read", f))
        if "suppression" in kinds:
            listed = read(everybody).addCallback(self.suppressed.replace)
            listed.addErrback(lambda f: log.failure("the suppression lists cannot be read", f))

    def load_directory(self) -> Deferred[Any]:
        """Read the directory and the endpoints again; fires when they are there."""
        loading: Deferred[Any] = self._database.read(_load).addCallback(self._loaded)
        loading.addErrback(lambda f: self._log.failure("the directory cannot be read", f))
        self._loading = loading
        return loading

    def _loaded(self, read: tuple[Directory, Mapping[int, StandardEndpoint]]) -> None:
        self.directory, self.endpoints = read

    def loaded(self) -> Deferred[Any]:
        """When a directory that is being read is there."""
        return self._loading

    def is_held(self, entry: Entry) -> bool:
        """Whether a rule holds ``entry``."""
        path = entry.message.reverse_path
        return is_held(self.hold_rules, entry.account_id, path, entry.recipient)

    def account_kept_for(self, account_id: int | None) -> float | None:
        """How long an account wants its retired entries kept."""
        return self.directory.retired_kept_for(account_id)
