"""A seeded simulation of acceptance, queue and delivery in virtual time.

``python -m mailrelay.testing.simulation SEED`` repeats a seed and prints its trace.  A run is the
real server on a real SQLite store; network, clocks, threads and chance are simulated.  Crashes
are not left to chance: each seed tries three of the ``CRASHES``, so that all come about in turn.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from mailrelay.config.settings import Settings
from mailrelay.queue.destination import BackOff
from mailrelay.queue.scheduler import QueueSettings, Scheduler
from mailrelay.queue.transport import Job, Transport
from mailrelay.testing.simulated.configuration import (
    HTTP_PORT,
    PUBLIC_URL,
    RETRIES,
    fast_folder,
    node_settings,
    template,
)
from mailrelay.testing.simulated.handing_in import HandingIn
from mailrelay.testing.simulated.http_calls import Caller
from mailrelay.testing.simulated.http_hops import (
    APPLICATION,
    KEYED,
    PEER,
    PLACES,
    PUSHING,
    SECOND,
    SITE,
    Application,
)
from mailrelay.testing.simulated.mailrelay_peers import Peer, PushingPeer
from mailrelay.testing.simulated.network import Network
from mailrelay.testing.simulated.node import (
    ADDRESSES,
    CRASHES,
    IP,
    CrashPlan,
    Life,
    SimulatedServer,
    WatchedTransport,
    database_path,
)
from mailrelay.testing.simulated.operator import Operator
from mailrelay.testing.simulated.peers import CHAIN, CHARACTERS, Peers
from mailrelay.testing.simulated.promises import Promises
from mailrelay.testing.simulated.submitters import Mail, Submitters
from mailrelay.testing.simulated.world import World
from mailrelay.testing.simulated.zotonic_site import Site

MAILS, HANDED_IN = 20, 4
CRASHES_PER_SEED = 3
LONGEST = 2 * 3600.0
"""Virtual seconds after which a run that is not quiet is stuck."""


@frozen
class Report:
    """What became of a seed."""

    seed: int
    violations: Sequence[str]
    counts: Counter[str]
    trace: Sequence[str] = field(repr=False)

    def __str__(self) -> str:
        tail = "\n".join(self.trace[-60:])
        broken = "\n".join(self.violations)
        return (
            f"seed {self.seed}:\n{broken}\n{tail}\n"
            f"repeat it with: python -m mailrelay.testing.simulation {self.seed}"
        )


def simulate(seed: int, make_server: Callable[..., SimulatedServer] = SimulatedServer) -> Report:
    """Run one seed to its end."""
    folder = Path(tempfile.mkdtemp(dir=fast_folder()))
    try:
        shutil.copy(template(), folder / "mailrelay.db")
        simulation = Simulation(World(seed), node_settings(folder), make_server)
        with simulation.failures_seen():
            simulation.run()
        world = simulation.world
        return Report(seed, world.violations, world.counts, world.trace)
    finally:
        shutil.rmtree(folder)


@define(eq=False)
class Simulation:
    """One run: a node with several lives, its clients, its peers, its operator."""

    world: World
    settings: Settings
    make_server: Callable[..., SimulatedServer] = SimulatedServer
    queue_settings: QueueSettings = field(init=False)
    network: Network = field(init=False)
    submitters: Submitters = field(init=False)
    peers: Peers = field(init=False)
    promises: Promises = field(init=False)
    life: Life | None = field(init=False, default=None)
    _plans: list[CrashPlan] = field(init=False, factory=list)
    _fill_after: list[float] = field(init=False, factory=list)
    _hold_after: list[float] = field(init=False, factory=list)
    _most: int = field(init=False, default=0)  # entries in memory
    operator: Operator = field(init=False)
    _sharing: list[Peer | Site] = field(init=False)  # told of suppression

    def __attrs_post_init__(self) -> None:
        world = self.world
        window = world.random.choice((5, 10_000))
        self.queue_settings = QueueSettings(
            profile=RETRIES,
            retired_kept_for=30 * 86400.0,
            concurrency=2,
            window=window,
            window_per_lane=world.random.choice((2, 1000)),
            claim_batch=world.random.choice((3, 500)),
            back_off=BackOff(first_after=10.0, longest_after=40.0),
        )
        self.network = Network(world)
        self.submitters = Submitters(world, self.network, IP)
        self.peers = Peers(world)
        pushing = PushingPeer(
            PUSHING, self.peers, caller=self._caller(PUSHING), answers_too=world.chance(0.5)
        )
        site = Site(SITE, self.peers, caller=self._caller(SITE), report_to=PUBLIC_URL)
        self._sharing = [*(Peer(one, self.peers) for one in (PEER, SECOND)), pushing, site]
        path = database_path(self.settings)
        self.promises = Promises(world, path, self.submitters, self.peers, RETRIES)
        self.operator = Operator(world, self.settings.data_dir, self.promises)
        self._plans = [self._plan(i) for i in range(CRASHES_PER_SEED)]

    def _caller(self, domain: str) -> Caller:
        return Caller(self.world, self.network, PLACES[domain][0], (IP, HTTP_PORT))

    def _plan(self, index: int) -> CrashPlan:
        step, when = CRASHES[(self.world.seed * CRASHES_PER_SEED + index) % len(CRASHES)]
        # Few lives remove files more than once.
        nth = 1 if step == "_remove_files" else self.world.random.choice((1, 1, 2, 3, 6))
        return CrashPlan(step, when, nth)

    @contextmanager
    def failures_seen(self) -> Iterator[None]:
        """A failure that is logged is a bug, and breaks the run's promises."""

        @implementer(ILogObserver)
        def observe(event: dict[str, Any]) -> None:
            if event.get("log_failure") is not None:
                text = event["log_failure"].getTraceback()
                self.world.violated(f"a failure was logged: {event.get('log_format')}\n{text}")

        globalLogPublisher.addObserver(observe)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(observe)

    # The run

    def run(self) -> None:
        """Until nothing more happens and everything is checked."""
        world = self.world
        for domain in CHARACTERS:
            self.network.listen(ADDRESSES[domain], 25, self.peers.factory(domain))
        for hop in (Application(APPLICATION, self.peers), *self._sharing):
            self.network.listen(*PLACES[hop.domain], hop.factory())
        self.submitters.begin([(world.random.uniform(0, 60), self._mail(i)) for i in range(MAILS)])
        handing_in = HandingIn(self.submitters, self._caller(APPLICATION))
        handing_in.begin([world.random.uniform(0, 100) for _ in range(HANDED_IN)])
        self._begin_faults()
        world.calm_after = 150.0
        self._begin_life()
        looked_at = 0.0
        while world.run_next() and not world.violations:
            self._check_life()
            if world.seconds() - looked_at >= 10.0:
                looked_at = world.seconds()
                if self._is_quiet():
                    break
            if world.seconds() > LONGEST:
                break
        if not world.violations:
            self._end()
        self.promises.close()
        self.operator.close()

    def _mail(self, number: int) -> Mail:
        chance = self.world.random
        everywhere = [
            *CHARACTERS,
            *KEYED,
            *KEYED,
            SECOND,
            SECOND,
            PUSHING,
            SITE,
            "dead.example",
            "nowhere.example",
            "unknown",
        ]
        domains = [
            chance.choice((*everywhere, "example.org", "example.org", "flaky.example"))
            for _ in range(chance.choice((1, 1, 1, 2, 4)))
        ]
        large = number % 10 == 3
        return Mail(
            number,
            chance.choice(
                (None, "example.org", "good.example", "flaky.example", "strict.example", *CHAIN)
            ),
            domains,
            chance.choice(("", "", "NEVER", "SUCCESS,FAILURE", "DELAY")),
            chance.randrange(70_000, 400_000) if large else chance.randrange(10, 4000),
            chance.choice((0, 0, 0, 0, 100)),
            chance.random() < 0.7,
        )

    def _begin_faults(self) -> None:
        world, clock = self.world, self.world.clock
        chance = world.random
        # Two that come while an outcome is on its way, and a hold of what waits in memory.
        self._fill_after = [chance.uniform(5, 60), chance.uniform(60, 150)]
        self._hold_after = [chance.uniform(5, 40), chance.uniform(40, 100)]
        for _ in range(2):
            step = chance.choice((-600.0, -200.0, -20.0, 20.0, 200.0, 3600.0))
            clock.callLater(chance.uniform(10, 150), world.step_wall_clock, step)
        clock.callLater(chance.uniform(5, 120), self.operator.hold_something, "node_id = 0")
        for _ in range(3):
            clock.callLater(chance.uniform(5, 120), self.operator.list_somebody)
        for where in (*PLACES.values(), (ADDRESSES[CHAIN[0]], 25)):
            for _ in range(chance.choice((0, 1, 2))):
                clock.callLater(chance.uniform(5, 120), self._take_down, where)

    def _take_down(self, where: tuple[str, int]) -> None:
        world = self.world
        world.count("next hop down")
        world.note(f"{where[0]} is down")
        self.network.take_down(where, world.random.uniform(1, 60))

    def _begin_life(self) -> None:
        world = self.world
        self.promises.check_store()
        plan = self._plans.pop(0) if self._plans else None
        life = Life(
            world,
            self.network,
            self.settings,
            self.queue_settings,
            self._watch,
            self.promises.heard,
            self._crashed,
            self.make_server,
            plan,
        )
        self.life = life
        life.start()
        if plan is None:
            return
        if plan.step == "step_times":
            world.clock.callLater(world.random.uniform(5, 30), world.step_wall_clock, 600.0)
        world.clock.callLater(world.random.uniform(60, 150), self._crash_anyway, life)

    def _crash_anyway(self, life: Life) -> None:
        if not life.is_over:
            self.world.count("crash at random")
            life.crash("at random")

    def _crashed(self) -> None:
        self.world.clock.callLater(self.world.random.uniform(0.5, 20), self._begin_life)

    def _restart(self, life: Life) -> None:
        """An orderly stop, and a life after it."""
        if life.is_over:
            return

        def stopped() -> None:
            self.world.count("orderly stop")
            self._plans.append(CrashPlan("finish", "before", 3))  # the crash it was to have
            self._crashed()

        life.stop(stopped)

    def _watch(self, life: Life, transport: Transport) -> Transport:
        promises = self.promises

        def begins(job: Job) -> None:
            promises.attempt_begins(life, job)
            if not job.destination.is_local and self._is_time(self._fill_after):
                self.world.fill_disk(self.world.random.uniform(0.5, 8.0))

        return WatchedTransport(
            transport, begins, lambda job, result: promises.attempt_ended(life, job, result)
        )

    def _is_time(self, times: list[float]) -> bool:
        """Whether the first of ``times`` has come; it is taken off then."""
        if times and self.world.seconds() >= times[0]:
            del times[0]
            return True
        return False

    def _check_life(self) -> None:
        life = self.life
        if life is None or life.is_over:
            return
        self._check_window(life.server.scheduler)
        if not any(backlog.size for backlog in life.server.scheduler.backlogs()):
            return
        if life.plan is not None and life.plan.step == "release_claims" and life.server.running:
            life.plan.nth = 1
            self._restart(life)
        elif self._is_time(self._hold_after):
            self.operator.hold_something("node_id <> 0")

    def _check_window(self, scheduler: Scheduler) -> None:
        """Beyond the window is only what was on its way while there still was room in it.

        That is what clients wait to be answered for, two DSNs for each attempt, and claims, of
        which several may follow each other before we look again.
        """
        settings = self.queue_settings
        if not 0 <= scheduler.in_memory <= max(settings.window, self._most):
            self.world.violated(
                f"{scheduler.in_memory} entries in memory, of {settings.window} and {self._most}"
            )
        if 0 <= scheduler.in_memory < settings.window <= len(CHARACTERS) * MAILS:
            attempts = sum(backlog.active for backlog in scheduler.backlogs())
            claim = min(settings.window, settings.claim_batch)
            claimed = max(scheduler.in_memory + claim, settings.window)
            self._most = claimed + self.submitters.under_way + 2 * attempts

    def _is_quiet(self) -> bool:
        crashed = self.life is None or self.life.is_over or self.life.plan is not None
        if self.submitters.waiting or crashed or self.promises.unretired():
            return False
        if not self.promises.is_all_told():
            return False
        untold = "SELECT count(*) FROM peer_suppression WHERE NOT is_told"
        return bool(self.promises.store.execute(untold).fetchone() == (0,))

    def _end(self) -> None:
        """Stop in order, then look at everything."""
        world, life = self.world, self.life
        if life is None or life.is_over:
            world.violated("no life at the end")
            return
        life.plan = None
        over: list[None] = []
        life.stop(lambda: over.append(None))
        until = world.seconds() + 120.0
        while not over and world.seconds() < until and world.run_next():
            pass
        if not over:
            world.violated("the server does not stop")
        self.promises.check_end()
        for peer in self._sharing:
            if peer.suppressed != self.operator.listed:
                world.violated(f"{peer.domain} knows {peer.suppressed}, not {self.operator.listed}")


def main(arguments: Sequence[str]) -> int:
    """Repeat seeds, print their traces; 1 when one breaks a promise."""
    failed = False
    for seed in map(int, arguments):
        report = simulate(seed)
        print("\n".join(report.trace))
        print(f"seed {seed}:", "; ".join(report.violations) or "all promises kept")
        print(", ".join(f"{name}: {count}" for name, count in sorted(report.counts.items())))
        failed = failed or bool(report.violations)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
