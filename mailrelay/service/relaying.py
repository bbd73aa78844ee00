"""The relay rules that hold now: read at start, and again when a file or the domains change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve
from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from mailrelay.control.relays import RelayPlace, read_sources
from mailrelay.directory.model import Directory
from mailrelay.net.threads import Executor
from mailrelay.routing.relay_files import RelayProblem, RelayWarning
from mailrelay.routing.relay_rules import RelayRules
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.routing.relay_stored import read_stored

LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""

Seen = Sequence[tuple[int, int, int] | None]


class Relaying(MultiService):
    """Answers with the rules, in the reactor thread.

    Invariant: what cannot be used changes nothing; ``is_stale`` until it can.
    """

    _log = Logger()

    def __init__(
        self,
        place: RelayPlace,
        directory: Callable[[], Directory],
        clock: IReactorTime,
        executor: Executor,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._place, self._directory, self._executor = place, directory, executor
        self._sources = RelaySources()
        self._seen: Seen = ()
        self._of: Directory | None = None  # whose domains and rules are in _rules
        self._rules = RelayRules()
        self._is_stored_broken = False
        self._are_files_stale = False
        self._warned: Sequence[RelayWarning] = ()

    @property
    def is_stale(self) -> bool:
        """Whether something cannot be used, and what was read before holds."""
        return self._are_files_stale or self._is_stored_broken

    @override
    def startService(self) -> None:
        """Begin to watch the files, when there are any."""
        super().startService()
        self._watch()

    def _watch(self) -> None:
        if self._place.files and self.running and not list(self):
            watch = TimerService(LOOK_EVERY, self._look)
            watch.clock = self._clock
            watch.setServiceParent(self)

    def load(self) -> None:
        """Read everything now.  Blocks: at start, before the reactor runs.

        Raises: RelayProblem.
        """
        self._seen = _state(self._place.files)
        self._take(read_sources(self._place, (), self._directory().relay_rules))

    def rules(self) -> RelayRules:
        """What holds now."""
        directory = self._directory()
        if directory is not self._of:
            before, self._of = self._of, directory
            if before is None or _matters(before) != _matters(directory):
                self._combine(directory)
        return self._rules

    def _combine(self, directory: Directory) -> None:
        """Take what the directory says, too; what cannot be read of it changes nothing."""
        try:
            stored = read_stored(directory.relay_rules)
        except RelayProblem as problem:
            self._log.error("relay hosts stay as they are: {reason}", reason=str(problem))
            self._is_stored_broken = True
            stored = self._sources.stored
        else:
            self._is_stored_broken = False
        domains = sorted(directory.domains)
        self._sources = evolve(self._sources, managed_domains=domains, stored=stored)
        self._rules = self._sources.rules()
        for warning in self._rules.warnings:
            if warning not in self._warned:
                self._log.warn("relay hosts: {warning}", warning=str(warning))
        self._warned = tuple(self._rules.warnings)

    def reconfigure(self, place: RelayPlace) -> None:
        """Go by what ``place`` says, from the next look on."""
        if place != self._place:
            self._place, self._seen = place, ()
            self._watch()
            self._look()

    def _look(self) -> Deferred[object]:
        place = self._place
        looked = self._executor.run(_read_if_changed, place, self._seen)

        def read(found: tuple[Seen, RelaySources | None]) -> None:
            if place == self._place:
                self._seen, sources = found
                self._are_files_stale = False
                if sources is not None:
                    self._take(sources)
                    self._log.info("the relay hosts are read again")

        looked.addCallbacks(read, self._broken)
        return looked.addErrback(lambda f: self._log.failure("relay hosts cannot be read", f))

    def _take(self, sources: RelaySources) -> None:
        self._sources = evolve(sources, stored=self._sources.stored)
        self._of, self._warned = None, ()
        self.rules()

    def _broken(self, failure: Failure) -> None:
        failure.trap(RelayProblem, OSError)
        if not self._are_files_stale:
            self._log.error("relay hosts stay as they are: {reason}", reason=str(failure.value))
        self._are_files_stale = True


def _matters(directory: Directory) -> tuple[object, object]:
    """What of a directory rules are made of."""
    return directory.domains.keys(), directory.relay_rules


def _read_if_changed(place: RelayPlace, seen: Seen) -> tuple[Seen, RelaySources | None]:
    now = _state(place.files)
    return now, None if now == seen else read_sources(place, ())


def _state(files: Sequence[Path]) -> Seen:
    """What changes when a file does."""
    states: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:
            states.append(None)
        else:
            states.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return states
