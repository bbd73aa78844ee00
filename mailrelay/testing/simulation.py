"""A seeded simulation of acceptance, queue and delivery in virtual time.

``python -m mailrelay.testing.simulation SEED`` repeats a seed and prints its trace.  A run is the
real server on a real SQLite store; network, clocks, threads and chance are simulated.  Crashes
are not left to chance: each seed tries three of the ``CRASHES``, so that all come about in turn.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from mailrelay.config.settings import (
    ListenerSection,
    LogSection,
    Settings,
    SMTPOutSection,
    StorageSection,
)
from mailrelay.config.transports import (
    ChainSection,
    HopSection,
    RelayingSection,
    RouteSection,
    TransportSection,
)
from mailrelay.control.bootstrap import FirstAccount, bootstrap
from mailrelay.control.peers import PeerDetails
from mailrelay.directory.peers import PeerProtocol
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.net.tls import TLSLevel
from mailrelay.policy.limits import Limits
from mailrelay.queue.destination import BackOff
from mailrelay.queue.schedule import RetryProfile
from mailrelay.queue.scheduler import QueueSettings, Scheduler
from mailrelay.queue.transport import Job, Transport
from mailrelay.service.controls import open_control
from mailrelay.testing.simulated.http_hops import (
    APPLICATION,
    KEY_ID,
    KEYED,
    PEER,
    PLACES,
    SECOND,
    SECRET,
    Application,
    Peer,
)
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
from mailrelay.testing.simulated.world import EPOCH, World

MAILS = 20
CRASHES_PER_SEED = 3
LONGEST = 6 * 3600.0
"""Virtual seconds after which a run that is not quiet is stuck."""

HTTP_TIMEOUT = 40.0
FALLBACK_AFTER = 15.0
LOOPBACK = ("127.0.0.0/8",)

RETRIES = RetryProfile(
    first_after=20.0,
    longest_after=60.0,
    give_up_after=150.0,
    least_attempts=4,
    delay_dsn_after=60.0,
)


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
    folder = Path(tempfile.mkdtemp(dir=_fast_folder()))
    try:
        shutil.copy(_template(), folder / "mailrelay.db")
        simulation = Simulation(World(seed), _settings(folder), make_server)
        with simulation.failures_seen():
            simulation.run()
        world = simulation.world
        return Report(seed, world.violations, world.counts, world.trace)
    finally:
        shutil.rmtree(folder)


def _fast_folder() -> str | None:
    """Memory, where there is such a file system: what fsync is for is simulated anyway."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@cache
def _template() -> Path:
    """A migrated store with one domain and one account, made once a process."""
    folder = Path(tempfile.mkdtemp(dir=_fast_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    control = open_control(_settings(folder), "simulation", lambda: EPOCH, Random(1))
    first = FirstAccount("user", "example.org", "user", "password", "admin password")
    Deferred.fromCoroutine(bootstrap(control.directory, first))
    options: dict[str, object] = {"allowed_networks": LOOPBACK, "timeout": HTTP_TIMEOUT}
    away = {"fallback": "peer:peer", "fallback_after": FALLBACK_AFTER}
    key = f"{KEY_ID}:{SECRET.hex()}"
    for name, domain, more in (("peer", PEER, {}), ("second", SECOND, away)):
        details = PeerDetails(url=_url(domain), options={**options, **more})
        added = control.peers.add(name, PeerProtocol.MAILRELAY, details, key)
        failed: list[Any] = []
        Deferred.fromCoroutine(added).addErrback(failed.append)
        for failure in failed:
            failure.raiseException()
    control.close()
    return folder / "mailrelay.db"


def _url(domain: str) -> str:
    host, port = PLACES[domain]
    return f"http://{host}:{port}"


def _settings(folder: Path) -> Settings:
    hops = [HopSection(f"[{ADDRESSES[domain]}]:25") for domain in CHAIN]
    return Settings(
        "mx.example.org",
        folder,
        trusted_networks=("10.9.0.0/16",),
        listener=[
            ListenerSection("mx", f"tcp:25:interface={IP}"),
            ListenerSection("submission", f"tcp:587:interface={IP}"),
        ],
        storage=StorageSection(min_free_bytes=0),
        limits=Limits(errors=1000),
        smtp_out=SMTPOutSection(mx_tls=TLSLevel.NONE, command_timeout=40.0, connect_timeout=10.0),
        log=LogSection(mail_log=""),
        stop_grace=5.0,
        relaying=RelayingSection(chain=[ChainSection(hops, f"@{CHAIN[0]}")]),
        transport=[TransportSection(name, peer=name) for name in ("peer", "second")],
        route=[
            RouteSection(transport="peer", to_domain=[PEER]),
            RouteSection(transport="second", to_domain=[SECOND]),
        ],
        handoff=[
            HandOffSettings(
                "app",
                f"{_url(APPLICATION)}/in",
                [APPLICATION],
                timeout=HTTP_TIMEOUT,
                permanent_statuses=[422],
                allowed_networks=LOOPBACK,
            )
        ],
    )


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
    _sharing: list[Peer] = field(init=False)

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
        self._sharing = [Peer(domain, self.peers) for domain in (PEER, SECOND)]
        path = database_path(self.settings)
        self.promises = Promises(world, path, self.submitters, self.peers, RETRIES)
        self.operator = Operator(world, self.settings.data_dir, self.promises)
        self._plans = [self._plan(i) for i in range(CRASHES_PER_SEED)]

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
