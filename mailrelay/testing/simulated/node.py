"""A node and its lives: the server as it is composed, on simulated surroundings that can crash."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import event
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailrelay.config.settings import Settings
from mailrelay.net.resolver import LookupFailed, MXHost, NoSuchDomain
from mailrelay.net.surroundings import Surroundings
from mailrelay.observe.events import NewEvent
from mailrelay.queue.scheduler import QueueSettings
from mailrelay.queue.transport import Job, Result, Transport
from mailrelay.service.server import Server
from mailrelay.storage.upkeep import Intervals
from mailrelay.testing.simulated.http_hops import PLACES
from mailrelay.testing.simulated.network import Network, NodeReactor
from mailrelay.testing.simulated.peers import CHAIN, CHARACTERS
from mailrelay.testing.simulated.world import World

IP = "10.0.0.1"

STEPS = (
    "add",
    "begin",
    "finish",
    "deliver",
    "claim_due",
    "release_claims",
    "step_times",
    "_append",
    "_finish",
    "_remove_files",
)
"""Every kind of durable step: the writer's operations, and what is done to spool files."""

CRASHES = tuple((step, when) for step in STEPS for when in ("before", "after"))

_FILE_STEPS = ("_append", "_finish", "_remove_files", "_abandon")


@define
class CrashPlan:
    """Crash at the ``nth`` step of a kind: before it, or between it and its callback."""

    step: str
    when: str
    nth: int = 1

    def strikes(self, steps: Sequence[str], when: str) -> bool:
        """Whether this is the moment; counts it if not."""
        if when != self.when or self.step not in steps:
            return False
        self.nth -= 1
        return self.nth <= 0


class SlowExecutor:
    """Runs work after a while, and tells of it after another while; ``threads`` at once."""

    def __init__(self, life: Life, threads: int) -> None:
        self._life, self._free = life, threads
        self._waiting: list[tuple[Callable[[], Any], Sequence[str], Deferred[Any]]] = []

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        done: Deferred[Any] = Deferred()
        self._waiting.append((lambda: work(*args, **kwargs), _steps_of(work, args), done))
        self._next()
        return done

    def _next(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            life = self._life
            life.reactor.callLater(life.latency(), self._do, *self._waiting.pop(0))

    def _do(self, work: Callable[[], Any], steps: Sequence[str], done: Deferred[Any]) -> None:
        life = self._life
        if life.strikes(steps, "before"):
            return
        answer: Any
        try:
            if life.world.disk_full and steps[0] in ("_append", "_finish"):
                raise OSError(errno.ENOSPC, "No space left on device")
            answer = work()
        except Exception as error:
            answer = Failure(error)
        for step in steps:
            life.world.count(f"step {step}")
        if life.strikes(steps, "after"):
            return
        life.reactor.callLater(life.latency(), self._tell, done, answer)

    def _tell(self, done: Deferred[Any], answer: Any) -> None:
        self._free += 1
        self._next()
        done.callback(answer)


def _steps_of(work: Any, args: Sequence[Any]) -> list[str]:
    """What kinds of steps a piece of work is."""
    if getattr(work, "__name__", "") != "_commit":
        return [_name(work)]
    members = args[1]
    kinds = [m.operation.name if m.operation is not None else _name(m.work) for m in members]
    return list(dict.fromkeys(kinds))


def _name(work: Any) -> str:
    qualified: str = getattr(work, "__qualname__", type(work).__name__)
    return qualified.partition(".<locals>")[0].rpartition(".")[2]


@define(eq=False)
class SlowResolver:
    """Every domain is its own mail host; some look-ups fail, in the virtual time they take."""

    life: Life
    addresses_of: dict[str, str]

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""
        return self._answer(domain, [MXHost(10, domain)])

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        return self._answer(host, [self.addresses_of.get(host, "")])

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        return self._answer(name, [])

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See Resolver."""
        return self._answer(ip, [])

    def _answer(self, name: str, answer: Any) -> Deferred[Any]:
        found: Deferred[Any] = Deferred()
        world = self.life.world
        if name not in self.addresses_of:
            answer = Failure(NoSuchDomain(f"{name} does not exist"))
        elif world.seconds() < world.calm_after and world.chance(0.03):
            world.count("failed look-up")
            answer = Failure(LookupFailed(f"looking up {name}: Timeout"))
        self.life.reactor.callLater(self.life.latency(), found.callback, answer)
        return found


ADDRESSES = {domain: f"10.1.0.{i + 1}" for i, domain in enumerate(CHARACTERS)} | {
    "dead.example": "10.1.1.1",
    **{host: host for host, _ in PLACES.values()},
}
ADDRESSES |= {ADDRESSES[domain]: ADDRESSES[domain] for domain in CHAIN}


class SimulatedServer(Server):
    """The server itself; its transport is watched, and its upkeep fits the length of a run.

    Most of it is less frequent, but what a crash left in the spool goes within a life.
    """

    intervals = Intervals(
        checkpoint=120.0,
        sweep=90.0,
        changes=15.0,
        heartbeat=60.0,
        space=120.0,
        orphans=10.0,
        statistics=90.0,
        reports=1e9,
    )
    watched: Callable[[Transport], Transport]
    heard: Callable[[Sequence[NewEvent]], None]

    def _open(self) -> None:
        super()._open()
        self.stores.orphans.left_alone_for = 20.0

    def _transport(self) -> Transport:
        return self.watched(super()._transport())

    def _committed(self, events: Sequence[NewEvent]) -> None:
        self.heard(events)
        super()._committed(events)


@define(eq=False)
class Life:
    """From one start of the process to its end."""

    world: World
    network: Network
    settings: Settings
    queue_settings: QueueSettings
    watch: Callable[[Life, Transport], Transport]
    heard: Callable[[Sequence[NewEvent]], None]
    crashed: Callable[[], None]
    make_server: Callable[[Surroundings, Settings], SimulatedServer] = SimulatedServer
    plan: CrashPlan | None = None
    number: int = field(init=False, default=0)
    reactor: NodeReactor = field(init=False)
    server: SimulatedServer = field(init=False)
    is_over: bool = field(init=False, default=False)

    def start(self) -> None:
        """Start the server on what the last life left."""
        world = self.world
        world.lives += 1
        self.number = world.lives
        self.reactor = NodeReactor(self.network, IP)
        surroundings = Surroundings(
            self.reactor,
            self.reactor,
            world.now,
            Random(world.random.getrandbits(64)),
            SlowResolver(self, ADDRESSES),
            SlowExecutor(self, 1),
            SlowExecutor(self, 4),
        )
        world.note(f"life {self.number} begins, plan {self.plan}")
        self.server = self.make_server(surroundings, self.settings)
        self.server.watched = lambda transport: self.watch(self, transport)
        self.server.heard = self.heard
        self.server.privilegedStartService()
        self.server.startService()
        self.server.scheduler.reconfigure(self.queue_settings)
        engine = self.server.stores.database.engine
        event.listen(engine, "commit", self._committing)

    def _committing(self, connection: object) -> None:
        if self.world.disk_full:
            raise sqlite3.OperationalError("database or disk is full")

    def latency(self) -> float:
        """How long a thread takes to begin, or its answer to arrive."""
        return self.world.random.uniform(0.0005, 0.02)

    def strikes(self, steps: Sequence[str], when: str) -> bool:
        """Crash if it was planned for now."""
        if self.plan is None or not self.plan.strikes(steps, when):
            return self.is_over
        self.world.count(f"crash {when} {self.plan.step}")
        self.crash(f"{when} {self.plan.step}")
        return True

    def crash(self, where: str) -> None:
        """kill -9."""
        world = self.world
        self.is_over = True
        world.crashes.append(world.seconds())
        world.ends.append(world.seconds())
        world.count("crash")
        world.note(f"crash of life {self.number} {where}")
        self.reactor.die()
        self._let_go()
        self.crashed()

    def _let_go(self) -> None:
        database = self.server.stores.database
        database.writer.close()
        database.engine.dispose()

    def stop(self, stopped: Callable[[], None]) -> None:
        """An orderly stop; ``stopped`` is called at its end, unless it crashes meanwhile."""
        world = self.world
        world.note(f"life {self.number} is asked to stop")

        def over(result: object) -> None:
            if isinstance(result, Failure):
                world.violated(f"the stop failed: {result.getTraceback()}")
            if self.is_over:
                return
            self.is_over = True
            world.ends.append(world.seconds())
            world.note(f"life {self.number} stopped")
            left = self.reactor.left()
            if left:
                world.violated(f"delayed calls left after the stop: {left}")
            if self.reactor.open_ends:
                world.violated("connections left after the stop")
            self.reactor.die()
            stopped()

        self.server.stopService().addBoth(over)


@define(eq=False)
class WatchedTransport:
    """Tells of every attempt before it is made and after."""

    transport: Transport
    begins: Callable[[Job], None]
    ended: Callable[[Job, Result], None]

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        self.begins(job)

        def done(result: Result) -> Result:
            self.ended(job, result)
            return result

        return self.transport.attempt(job).addCallback(done)


def database_path(settings: Settings) -> Path:
    """Where the store is."""
    return settings.data_dir / "mailrelay.db"
