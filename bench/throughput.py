"""The scenarios that ask how many messages a second: accepted, or relayed end to end."""

import time
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench.load import Load, Sink
from bench.measurement import Metrics, Run
from bench.net import wait_until
from bench.secure_sink import PASSWORD, USERNAME, SecureSink
from bench.servers import Job, Server
from bench.surroundings import Surroundings

AnySink = Sink | SecureSink

DRAIN_SECONDS = 120.0
MOST_MESSAGES = 200_000


@attrs.frozen
class Throughput:
    """Sends for a while and counts what was acknowledged and what arrived."""

    name: str
    load: Load
    relay: bool = False
    fsync_delay_us: int = 0
    retention_seconds: float = 0.0
    warm_messages: int = 300
    warm_seconds: float = 0.0
    secure: bool = False

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run on a freshly started server."""
        with ExitStack() as stack:
            home = stack.enter_context(surroundings.home(kind.name))
            sink = self._sink(home) if self.relay else None
            if sink is not None:
                stack.enter_context(sink)
            job = Job(
                relay_port=sink.port if sink else None,
                relay_login=(USERNAME, PASSWORD) if self.secure else None,
                connections=self.load.sessions,
                fsync_delay_us=self.fsync_delay_us,
                retention_seconds=self.retention_seconds,
            )
            server = stack.enter_context(kind(job, home))
            course = _Course(self, server, sink)
            rate = course.warm_up()
            wanted = max(self.warm_messages, round(rate * surroundings.seconds))
            metrics = course.timed(min(wanted, MOST_MESSAGES))
            return Run(self.name, kind.name, metrics, course.sent, course.lost())

    def _sink(self, home: Path) -> AnySink:
        return SecureSink(home) if self.secure else Sink(home)


class _Course:
    """One run: keeps count of what was sent to one server."""

    def __init__(self, scenario: Throughput, server: Server, sink: AnySink | None) -> None:
        self.scenario = scenario
        self.server = server
        self.sink = sink
        self.sent = 0

    def send(self, messages: int) -> float:
        """Sends; seconds until all was answered, or had arrived where mail is relayed."""
        began = time.monotonic()
        seconds = self.scenario.load.send(self.server.port, messages)
        self.sent += messages
        if self.sink is None:
            return seconds
        wait_until(self._has_arrived, DRAIN_SECONDS, "relayed mail at the sink", every=0.005)
        return time.monotonic() - began

    def _has_arrived(self) -> bool:
        return self.arrived() >= self.sent

    def arrived(self) -> int:
        """Messages at the sink, or accepted where there is none."""
        return self.sink.received() if self.sink else self.server.accepted()

    def warm_up(self) -> float:
        """Starts workers and fills caches; the messages per second seen at the end of it."""
        messages = self.scenario.warm_messages
        self.send(messages)
        rate = messages / self.send(messages)
        if self.scenario.warm_seconds:
            messages = round(rate * self.scenario.warm_seconds)
            rate = messages / self.send(messages)
        self.drain()
        return rate

    def drain(self) -> None:
        """Waits until the server has nothing left to do."""
        wait_until(lambda: self.server.queued() == 0, DRAIN_SECONDS, "an empty queue", every=0.1)

    def timed(self, messages: int) -> Metrics:
        """The timed part; CPU time includes what the server does after its last answer."""
        cpu_before = self.server.cpu_seconds()
        seconds = self.send(messages)
        peak = self.server.peak_bytes()
        self.drain()
        cpu = self.server.cpu_seconds() - cpu_before
        megabytes = messages * self.scenario.load.message_bytes / 1e6
        return {
            "per_second": messages / seconds,
            "mb_per_second": megabytes / seconds,
            "cpu_per_1000": cpu / messages * 1000,
            "peak_mib": peak / 2**20,
        }

    def lost(self) -> int:
        """Messages that did not arrive, after a moment in which duplicates may."""
        time.sleep(0.2)
        return self.sent - self.arrived()
