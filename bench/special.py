"""Scenarios that do not ask for messages per second: S4, S5 and the dead host."""

import statistics
import time
from contextlib import suppress

import attrs

from bench.connections import connects_per_second, idle_connections
from bench.load import LIVE_DOMAIN, Load, Sink, finish
from bench.measurement import Run
from bench.net import TooSlow, free_port, wait_until
from bench.servers import Job, Server
from bench.surroundings import Surroundings


@attrs.frozen
class ManyRecipients:
    """S4: one message to many recipients at a time, until the sink has named them all."""

    name: str
    recipients: int = 500
    messages: int = 9

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """The median time of several messages, one after another."""
        load = Load(sessions=1, recipients=self.recipients)
        times = []
        with (
            surroundings.home(kind.name) as home,
            Sink(home, dump=True) as sink,
            kind(Job(relay_port=sink.port), home) as server,
        ):
            for sent in range(1, self.messages + 2):
                began = time.monotonic()
                sending = load.start(server.port, 1)
                expected = sent * self.recipients

                def have_all(expected: int = expected) -> bool:
                    return sink.recipients() >= expected

                wait_until(have_all, 60, "all recipients at the sink", every=0.001)
                times.append(time.monotonic() - began)
                # Exim keeps a session open for a while after QUIT: that is not relaying.
                finish(sending)
            wait_until(lambda: server.queued() == 0, 60, "an empty queue")
            metrics = {
                "seconds": statistics.median(times[1:]),
                "peak_mib": server.peak_bytes() / 2**20,
            }
            return Run(self.name, kind.name, metrics, expected, expected - sink.recipients())


@attrs.frozen
class IdleConnections:
    """S5: memory of idle connections, and how fast others are greeted meanwhile."""

    name: str
    connections: int = 1000
    connects: int = 3000

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """Connects a while first, so that the memory before holds what any traffic costs."""
        with (
            surroundings.home(kind.name) as home,
            kind(Job(connections=self.connections), home) as server,
        ):
            connects_per_second(server.port, self.connects)
            before = server.pss_bytes()
            with idle_connections(server.port, self.connections):
                grown = server.pss_bytes() - before
                rate = connects_per_second(server.port, self.connects)
                peak = server.peak_bytes()
        metrics = {
            "kb_per_connection": grown / 1000 / self.connections,
            "connects_per_second": rate,
            "peak_mib": peak / 2**20,
        }
        return Run(self.name, kind.name, metrics)


@attrs.frozen
class DeadHost:
    """A long queue for a relay host that nobody answers at, and a restart with it."""

    name: str
    entries: int
    probe: int = 5000

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """Fills the queue, then restarts and lets one message through to a live host."""
        load = Load(reuse=True, message_bytes=1000)
        with surroundings.home(kind.name) as home, Sink(home) as sink:
            job = Job(relay_port=free_port(), live_port=sink.port)
            with kind(job, home) as server:
                empty = self.probe / load.send(server.port, self.probe)
                load.send(server.port, self.entries - 2 * self.probe)
                full = self.probe / load.send(server.port, self.probe)
                memory = server.peak_bytes()
                lost = _missing(server, self.entries)
                server.stop()
                began = time.monotonic()
                server.start()
                banner = time.monotonic() - began
                Load(sessions=1, domain=LIVE_DOMAIN).send(server.port, 1)
                wait_until(lambda: sink.received() >= 1, 120, "a delivery after the restart")
                first = time.monotonic() - began
                memory = max(memory, server.peak_bytes())
        metrics = {
            "accept_empty": empty,
            "accept_full": full,
            "accept_ratio": full / empty,
            "queued_mib": memory / 2**20,
            "banner_seconds": banner,
            "first_delivery_seconds": first,
        }
        return Run(self.name, kind.name, metrics, self.entries, lost)


def _missing(server: Server, expected: int) -> int:
    """How many are not queued, after some time for entries that are just being moved."""
    with suppress(TooSlow):
        wait_until(lambda: server.queued() == expected, 10, "the whole queue", every=0.5)
    return expected - server.queued()
