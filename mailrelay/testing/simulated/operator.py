"""The simulated node's operator: holds mail, and puts addresses on lists, by the store alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from mailrelay.net.threads import AtOnce
from mailrelay.policy.suppression import SERVER, Suppression
from mailrelay.storage.database import Database, open_engine
from mailrelay.storage.group_commit import GroupCommit
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue_records import DatabaseQueueRecords
from mailrelay.storage.suppression import add, remove
from mailrelay.testing.simulated.promises import Promises
from mailrelay.testing.simulated.world import World

T = TypeVar("T")


@define(eq=False)
class Operator:
    """Works on the node's store beside it.  ``listed`` is what it put on the list, or took off."""

    world: World
    data_dir: Path
    promises: Promises
    listed: dict[str, bool] = field(factory=dict)
    _opened: Database | None = None

    def close(self) -> None:
        """Let the store go."""
        if self._opened is not None:
            self._opened.writer.close()
            self._opened.engine.dispose()

    def list_somebody(self) -> None:
        """Put somebody who gets no mail here on the server's suppression list, or take him off."""
        world = self.world
        address = f"{world.random.choice('ab')}@elsewhere.example"
        is_listed = not self.listed.get(address)
        if world.disk_full or (address not in self.listed and not is_listed):
            return

        def change(connection: Connection) -> None:
            if is_listed:
                add(connection, Suppression(0, SERVER, address, address, world.now(), manual=True))
            else:
                remove(connection, SERVER, address, world.now())

        self._asked(self._database().write(change))
        self.listed[address] = is_listed
        world.note(f"operator lists {address}: {is_listed}")

    def hold_something(self, which: str) -> None:
        """Hold what an operator might see, and release it later; the command line's way in."""
        world = self.world
        ready = self.promises.store.execute(
            f"SELECT id FROM entry WHERE state = 0 AND {which} ORDER BY next_attempt_at, id LIMIT 9"
        ).fetchall()
        ids = [row[0] for row in ready if world.chance(0.7)]
        if not ids or world.disk_full:
            return
        changed = self._operate(lambda records: records.hold("operator", ids, world.now()))
        for id_ in changed:
            self.promises.held_since[id_] = world.seconds()
        world.count("hold")
        world.note(f"operator holds {changed}")
        world.clock.callLater(world.random.uniform(5, 60), self._release, changed)

    def _release(self, ids: Sequence[int]) -> None:
        world = self.world
        if world.disk_full:
            world.clock.callLater(5.0, self._release, ids)
            return
        changed = self._operate(lambda records: records.release("operator", ids, world.now()))
        for id_ in ids:
            self.promises.held_since.pop(id_, None)
        self.promises.timetable.released(changed)
        world.note(f"operator releases {changed}")

    def _operate(
        self, ask: Callable[[DatabaseQueueRecords], Deferred[Sequence[int]]]
    ) -> Sequence[int]:
        return self._asked(
            ask(DatabaseQueueRecords(self._database(), lambda: Node(0, 0), lambda names: None))
        )

    def _database(self) -> Database:
        if self._opened is None:
            executor = AtOnce()
            engine = open_engine("sqlite:///mailrelay.db", self.data_dir)
            self._opened = Database(engine, GroupCommit(engine, executor), executor)
        return self._opened

    def _asked(self, asking: Deferred[T]) -> T:
        found: list[T] = []
        failures: list[Any] = []
        asking.addCallbacks(found.append, failures.append)
        for failure in failures:
            failure.raiseException()
        return found[0]
