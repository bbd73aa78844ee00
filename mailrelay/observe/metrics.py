"""Metrics in Prometheus' words; ``docs/operating.md`` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mailrelay.observe.events import NewEvent

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The process's own registry: none of the library's global one."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._events = Counter("mailrelay_events", "Events, by kind", ["kind"], registry=registry)
        self._by_kind: dict[str, Counter] = {}
        self.accept_seconds = Histogram(
            "mailrelay_accept_seconds",
            "From the start of content to its acceptance",
            registry=registry,
            buckets=_SECONDS,
        )
        self.attempt_seconds = Histogram(
            "mailrelay_attempt_seconds", "Attempts", registry=registry, buckets=_SECONDS
        )
        self.commit_seconds = Histogram(
            "mailrelay_commit_seconds",
            "Commits of the writer, fsync included",
            registry=registry,
            buckets=_SECONDS,
        )
        self.commit_size = Histogram(
            "mailrelay_commit_size",
            "Pieces of work committed together",
            registry=registry,
            buckets=_SIZES,
        )
        self._entries = Gauge(
            "mailrelay_queue_entries",
            "Entries, by state: ready, held, due, claimed",
            ["state"],
            registry=registry,
        )
        self._oldest = Gauge(
            "mailrelay_queue_oldest_seconds", "Age of the oldest ready entry", registry=registry
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is asked when it is scraped, in the reactor thread."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def count(self, events: Sequence[NewEvent]) -> None:
        """Count committed events."""
        for event in events:
            kind = event.kind.value
            counter = self._by_kind.get(kind)
            if counter is None:
                counter = self._by_kind[kind] = self._events.labels(kind)
            counter.inc()

    def committed(self, size: int, seconds: float) -> None:
        """A commit ended."""
        self.commit_size.observe(size)
        self.commit_seconds.observe(seconds)

    def queue(self, sizes: Mapping[str, int], oldest_seconds: float) -> None:
        """What the store says of the queue."""
        for state, size in sizes.items():
            self._entries.labels(state).set(size)
        self._oldest.set(oldest_seconds)

    def text(self) -> bytes:
        """Everything, in the exposition format."""
        return generate_latest(self.registry)
