"""What a server keeps in memory of its store, and how that stays what the store says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mailrelay.directory.model import Directory, HandedOff
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.policy.daily import DailyCount
from mailrelay.policy.holds import HoldRule, HoldRules
from mailrelay.policy.suppression import Listed, Lists, Suppressed, base_address
from mailrelay.queue.entry import Entry
from mailrelay.storage.directory import load
from mailrelay.storage.endpoints import load_endpoints
from mailrelay.storage.holds import load as load_hold_rules
from mailrelay.storage.rows import stored_address
from mailrelay.storage.stores import Stores
from mailrelay.storage.suppression import MORE, everybody, told_since
from mailrelay.webhooks.endpoint import StandardEndpoint


def _load(connection: Connection) -> tuple[Directory, Mapping[int, StandardEndpoint]]:
    return load(connection), load_endpoints(connection)


class Snapshots:
    """Directory, endpoints, hold rules, suppression lists and the day's counts.

    What this process commits they are told of; what others change is read again, as a whole.
    """

    _log = Logger()

    def __init__(
        self,
        stores: Stores,
        now: Callable[[], float],
        handed_off: Mapping[str, HandedOff] | None = None,
    ) -> None:
        self._database = stores.database
        self._handed_off = handed_off or {}
        self.directory = self._complete(stores.directory)
        self.endpoints: Mapping[int, StandardEndpoint] = stores.endpoints
        self._holds = HoldRules(stores.hold_rules)
        self.suppressed = Suppressed(now, stores.suppressed)
        self._seen_change = stores.newest_change  # of the kind MORE
        self._readings = 0  # of the suppression lists, under way
        self._meanwhile: list[Listed] = []  # what was committed while they are
        self.daily = DailyCount(now)
        self.daily.load(stores.sent_before)
        self._loading: Deferred[Any] = succeed(None)

    def _complete(self, directory: Directory) -> Directory:
        """``directory`` with what the configuration says of recipients."""
        return evolve(directory, handed_off=self._handed_off) if self._handed_off else directory

    def committed(self, events: Sequence[NewEvent]) -> None:
        """Take note of what was recorded."""
        for event in events:
            if event.account_id is None:
                continue
            if event.data.get("suppressing"):
                base = base_address(stored_address(str(event.data["recipient"])))
                self._suppress(Listed(event.account_id, base))
            if event.kind is EventKind.ACCEPTED:
                count = event.data.get("recipient_count", 1)
                self.daily.sent(event.account_id, int(str(count)))

    def changed(self, kinds: set[str]) -> None:
        """Read again what somebody changed: the CLI, or another process."""
        read, log = self._database.read, self._log
        if "directory" in kinds:
            self.load_directory()
        if "holds" in kinds:
            rules: Deferred[Any] = read(load_hold_rules).addCallback(HoldRules)
            rules.addCallback(partial(setattr, self, "_holds"))
            rules.addErrback(lambda f: log.failure("the hold rules cannot be read", f))
        if "suppression" in kinds:
            self._load_suppressed()
        elif MORE in kinds:
            self._load_more_suppressed()

    def _suppress(self, one: Listed) -> None:
        self.suppressed.add(one)
        if self._readings:
            self._meanwhile.append(one)

    def _load_more_suppressed(self) -> None:
        """Read what others' events put on the lists."""

        def read(found: tuple[int, list[Listed]]) -> None:
            self._seen_change, listed = found
            for one in listed:
                self._suppress(one)

        reading = self._database.read(partial(told_since, position=self._seen_change))
        reading.addCallback(read)
        reading.addErrback(lambda f: self._log.failure("the suppression lists cannot be read", f))

    def _load_suppressed(self) -> None:
        """Read the lists again; what is committed meanwhile may not be in what is read."""
        self._readings += 1
        reading = self._database.read(everybody)

        def read(lists: Lists) -> None:
            self.suppressed.replace(lists)
            for one in self._meanwhile:
                self.suppressed.add(one)

        def ended(_: object) -> None:
            self._readings -= 1
            if not self._readings:
                self._meanwhile.clear()

        reading.addCallback(read)
        reading.addErrback(lambda f: self._log.failure("the suppression lists cannot be read", f))
        reading.addBoth(ended)

    def load_directory(self) -> Deferred[Any]:
        """Read the directory and the endpoints again; fires when they are there."""
        loading: Deferred[Any] = self._database.read(_load).addCallback(self._loaded)
        loading.addErrback(lambda f: self._log.failure("the directory cannot be read", f))
        self._loading = loading
        return loading

    def _loaded(self, read: tuple[Directory, Mapping[int, StandardEndpoint]]) -> None:
        directory, self.endpoints = read
        self.directory = self._complete(directory)

    def loaded(self) -> Deferred[Any]:
        """When a directory that is being read is there."""
        return self._loading

    @property
    def hold_rules(self) -> Sequence[HoldRule]:
        """All of them."""
        return self._holds.rules

    def is_held(self, entry: Entry) -> bool:
        """Whether a rule holds ``entry``."""
        holds = self._holds
        if not holds.rules:
            return False
        return holds.holds(entry.account_id, entry.message.reverse_path, entry.recipient)

    def account_kept_for(self, account_id: int | None) -> float | None:
        """How long an account wants its retired entries kept."""
        return self.directory.retired_kept_for(account_id)
