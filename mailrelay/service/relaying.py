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
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.routing.relay_rules import RelayRules, RelaySources

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
        self._domains: frozenset[str] | None = None
        self._rules = RelayRules()
        self.is_stale = False

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
        self._take(read_sources(self._place, ()))

    def rules(self) -> RelayRules:
        """What holds now."""
        domains = self._directory().domains
        if self._domains is None or domains.keys() != self._domains:
            self._domains = frozenset(domains)
            self._rules = evolve(self._sources, managed_domains=sorted(self._domains)).rules()
        return self._rules

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
                self.is_stale = False
                if sources is not None:
                    self._take(sources)
                    self._log.info("the relay hosts are read again")

        looked.addCallbacks(read, self._broken)
        return looked.addErrback(lambda f: self._log.failure("relay hosts cannot be read", f))

    def _take(self, sources: RelaySources) -> None:
        self._sources, self._domains = sources, None
        for warning in self.rules().warnings:
            self._log.warn("relay hosts: {warning}", warning=str(warning))

    def _broken(self, failure: Failure) -> None:
        failure.trap(RelayProblem, OSError)
        if not self.is_stale:
            self._log.error("relay hosts stay as they are: {reason}", reason=str(failure.value))
        self.is_stale = True


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
