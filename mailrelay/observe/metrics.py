"""Metrics in Prometheus' words; ``docs/operating.md`` lists them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.core import HistogramMetricFamily

from mailrelay.observe.events import NewEvent

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@frozen
class Spread:
    """Values by size: ``counts`` has one more than ``bounds``, of those above them all."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """None when there was none."""
        return self.sum / self.count if self.count else None

    def since(self, before: Spread) -> Spread:
        """What came after ``before``."""
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        return Spread(self.bounds, counts, self.sum - before.sum)

    def below(self, part: float) -> float | None:
        """A bound that ``part`` of the values do not exceed; None when there is none so large."""
        wanted, so_far = part * self.count, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            so_far += count
            if so_far >= wanted:
                return bound
        return None


class Buckets:
    """A histogram that costs a bisection to observe; its sums are made when it is scraped."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    @property
    def spread(self) -> Spread:
        """What there was until now."""
        return Spread(tuple(self._bounds), tuple(self._counts), self._sum)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        totals = accumulate(self._counts)
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], list(zip(names, totals, strict=True)), self._sum)
        yield family


class Metrics:
    """The process's own registry: none of the library's global one."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._events = Counter("mailrelay_events", "Events, by kind", ["kind"], registry=registry)
        self._by_kind: dict[str, Counter] = {}
        self._requests = Counter(
            "mailrelay_http_requests",
            "HTTP requests, by route and status",
            ["route", "status"],
            registry=registry,
        )
        self._calls = Counter(
            "mailrelay_webapi_calls",
            "Calls of the webapi, by method and result",
            ["method", "result"],
            registry=registry,
        )
        self._webhooks = Counter(
            "mailrelay_webhook_calls",
            "Webhook calls, by the answer's code, 0 when there was none",
            ["code"],
            registry=registry,
        )
        self._synchronous = Counter(
            "mailrelay_synchronous_answers",
            "What applications answered while the sender waited: taken, refused, deferred",
            ["answer"],
            registry=registry,
        )
        self._turned_away = Counter(
            "mailrelay_refused_mail",
            "Refusals of mail of strangers, by what judged it",
            ["reason"],
            registry=registry,
        )
        self._reports = Counter(
            "mailrelay_reports",
            "Reports, by kind and what became of them: sent, failed, received, foreign, unreadable",
            ["kind", "result"],
            registry=registry,
        )
        self.webhook_seconds = self._buckets(
            "mailrelay_webhook_seconds", "Length of webhook calls", _SECONDS
        )
        self._by_route: dict[tuple[str, int], Counter] = {}
        self.accept_seconds = self._buckets(
            "mailrelay_accept_seconds", "From the start of content to its acceptance", _SECONDS
        )
        self.attempt_seconds = self._buckets("mailrelay_attempt_seconds", "Attempts", _SECONDS)
        self.commit_seconds = self._buckets(
            "mailrelay_commit_seconds", "Commits of the writer, fsync included", _SECONDS
        )
        self.commit_size = self._buckets(
            "mailrelay_commit_size", "Pieces of work committed together", _SIZES
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

    def _buckets(self, name: str, text: str, bounds: Sequence[float]) -> Buckets:
        buckets = Buckets(name, text, bounds)
        self.registry.register(buckets)
        return buckets

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

    def answered(self, route: str, status: int) -> None:
        """An HTTP request ended; ``route`` is empty when there is none for its path."""
        counter = self._by_route.get((route, status))
        if counter is None:
            counter = self._requests.labels(route or "none", str(status))
            self._by_route[(route, status)] = counter
        counter.inc()

    def called(self, method: str, result: str) -> None:
        """A call of the webapi ended: ok, badauth, or an error's code."""
        self._calls.labels(method, result).inc()

    def application_answered(self, answer: str) -> None:
        """An application was asked while the sender waited."""
        self._synchronous.labels(answer).inc()

    def turned_away(self, reason: str) -> None:
        """Mail of a stranger was refused."""
        self._turned_away.labels(reason).inc()

    def reported(self, kind: str, result: str) -> None:
        """A report was sent, or came."""
        self._reports.labels(kind, result).inc()

    def told(self) -> Mapping[str, int]:
        """Events until now, by kind."""
        return {
            sample.labels["kind"]: int(sample.value)
            for metric in self._events.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    def value(self, name: str) -> float | None:
        """A gauge as of now; None when there is none of that name."""
        for metric in self.registry.restricted_registry([name]).collect():
            for sample in metric.samples:
                return float(sample.value)
        return None

    def webhook_called(self, code: int, seconds: float) -> None:
        """A webhook was called; ``code`` is 0 when there was no answer."""
        self._webhooks.labels(str(code)).inc()
        self.webhook_seconds.observe(seconds)

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
