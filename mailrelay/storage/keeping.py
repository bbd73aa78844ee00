"""Databases that keep the answer to a request in the transaction of what it changed.

A records' class over one of these needs no parameter for it: whatever its method's one write
returns, the answer is made of.  Invariant: either the change and its answer are there, or neither;
and the change is undone when the request was answered before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from attrs import evolve, field, frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, execute

from mailrelay.control.answers import Inside, MadeOf
from mailrelay.queue.entry import StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.storage.database import Database
from mailrelay.storage.idempotency import find_answer, keep_answer

R = TypeVar("R")
T = TypeVar("T")


def keeping(records: R, made_of: MadeOf, now: Callable[[], float]) -> R:
    """``records``, which stand on a Database, with each write's answer kept with it."""
    fields = _fields(records)
    return _standing_on(records, KeepingDatabase(*fields, made_of=made_of, now=now))


@frozen
class KeepingDatabase(Database):
    """Reads as always; what is written keeps the answer that ``made_of`` makes of its result."""

    made_of: MadeOf = field(kw_only=True)
    now: Callable[[], float] = field(kw_only=True)

    def write(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """See GroupCommit.  Fails with AnsweredBefore, too."""

        def both(connection: Connection) -> T:
            done = work(connection)
            inside: Inside = partial(_inside, connection)
            answer = self.made_of(done, inside)
            if answer is not None:
                own = (answer.account_id, answer.key)
                if find_answer(connection, *own, self.now()) is not None:
                    raise AnsweredBefore(answer.key)
                keep_answer(connection, answer)
            return done

        return self.writer.write(both)


@frozen
class _DatabaseInside(Database):
    """Reads on the connection of a transaction that is under way, in the writer's thread."""

    connection: Connection = field(kw_only=True)

    def read(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run ``work`` at once."""
        return execute(work, self.connection)

    def write(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Nothing more is written there."""
        raise NotImplementedError


def _inside(connection: Connection, records: R, /) -> R:
    return _standing_on(records, _DatabaseInside(*_fields(records), connection=connection))


def _fields(records: Any) -> tuple[Any, ...]:
    database: Database = records.database
    return (database.engine, database.writer, database.readers, database.read_cap)


def _standing_on(records: R, database: Database) -> R:
    any_of_ours: Any = records  # each is an attrs class with a field ``database``
    changed: R = evolve(any_of_ours, database=database)
    return changed


@frozen
class DatabaseAnswers:
    """AnswerStore over one database."""

    database: Database
    now: Callable[[], float]

    def find(self, account_id: int, key: str) -> Deferred[StoredAnswer | None]:
        """See AnswerStore."""
        return self.database.read(lambda c: find_answer(c, account_id, key, self.now()))

    def keep(self, answer: StoredAnswer) -> Deferred[None]:
        """See AnswerStore."""
        return self.database.write(lambda c: keep_answer(c, answer))

    def keeping(self, records: R, made_of: MadeOf) -> R:
        """See AnswerStore."""
        return keeping(records, made_of, self.now)
