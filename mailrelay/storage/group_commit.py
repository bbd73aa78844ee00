"""Group commit: what is asked for while a commit runs is committed together by the next one.

Invariants:

- A Deferred fires only after the COMMIT of its work is on stable storage.
- Merged operations (fresh ids, guarded updates) go first, by rank; other work runs in the order
  it was given.  Who needs an order between two pieces waits for the first.
- Bad data fails alone; trouble of the store fails every member of the batch, once.
- A COMMIT whose answer was lost is asked for by its transaction's id, where the database has one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from attrs import define, frozen
from sqlalchemy import Connection, Engine, Transaction, exc
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.net.threads import Executor
from mailrelay.queue.store import StoreUnavailable

I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

GATHER_FROM = 12
"""Members of a batch that tell of a busy time."""

GATHER_SECONDS = 0.004
"""In a busy time, how long the next batch is gathered.

A commit costs the same for few and for many, and the writer's thread and the reactor's share one
interpreter lock: measured with 50 lock-step sessions, gathering makes relaying 1.2 times as fast
and takes an eighth off the CPU time of a message; beyond 5 ms the sessions begin to wait.
"""

GATHER_ENOUGH = 24
"""Members that end the gathering.

Without it all sessions of a busy time fall into step: one commit takes them all, and nothing is
left to do for the reactor's thread while it runs.
"""

_Answers = list[Any]

TRANSACTION_ID = "transaction_id"
"""In the connection's ``info``: what the database calls the transaction under way."""

_ASK_TIMES, _ASK_EVERY = 20, 0.5
"""How often, and after how many seconds again, a lost COMMIT is asked for."""

_END_BACKEND = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = %s::xid8::xid"
)


class Apply(Protocol[I_contra, R_co]):
    """Does all ``items`` in one transaction; one result each, in order."""

    def __call__(self, connection: Connection, items: Sequence[I_contra]) -> Sequence[R_co]:
        """Called in the writer's thread."""


@frozen(eq=False)
class Operation(Generic[I_contra, R_co]):
    """List-wise work: ``apply`` answers one result per item.  Lower ``rank`` runs first."""

    name: str
    rank: int
    apply: Apply[I_contra, R_co]


@define(eq=False)
class _Member:
    work: Callable[[Connection], Any] | None
    operation: Operation[Any, Any] | None
    item: Any
    fired: Deferred[Any]


@frozen
class _Failed:
    error: BaseException


@define
class _HeldConnection:
    """The writer's own connection: its page cache stays warm.  Used in the writer's thread."""

    engine: Engine
    _connection: Connection | None = None

    def connection(self) -> Connection:
        """The connection, opened anew after trouble."""
        if self._connection is None or self._connection.closed:
            self._connection = self.engine.connect()
            if self.engine.dialect.name == "sqlite":
                # A batch is small: what undoes one of its statements needs no file of its own.
                self._connection.connection.cursor().execute("PRAGMA temp_store = MEMORY")
        return self._connection

    def drop(self) -> None:
        """Close the connection without another word on it."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def has_committed(self, transaction_id: str) -> bool:
        """Whether a transaction was committed that our connection did not survive.

        False also when the database does not come back to tell.
        """
        for _ in range(_ASK_TIMES):
            try:
                with self.engine.connect().execution_options(read_only=True) as connection:
                    status = connection.exec_driver_sql(
                        "SELECT pg_xact_status(%s::xid8)", (transaction_id,)
                    ).scalar()
                    if status == "in progress":
                        # Nobody speaks to that backend any more: it need not find out by itself.
                        connection.exec_driver_sql(_END_BACKEND, (transaction_id,))
            except exc.DBAPIError:
                status = None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            time.sleep(_ASK_EVERY)
        return False

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class GroupCommit:
    """The one writer of a process.  Create and use it in the reactor thread."""

    _log = Logger()

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        committed: Callable[[int, float], None] = lambda size, seconds: None,
        seconds: Callable[[], float] = lambda: 0.0,
        later: Callable[[float, Callable[[], None]], IDelayedCall] | None = None,
    ) -> None:
        self._held, self._executor = _HeldConnection(engine), executor
        self._committed, self._seconds, self._later = committed, seconds, later
        self._waiting: list[_Member] = []
        self._busy = False  # a batch is being committed, or gathered
        self._gathering: IDelayedCall | None = None
        self._idle: list[Deferred[None]] = []

    def write(self, work: Callable[[Connection], T]) -> Deferred[T]:
        """Run ``work`` in the next batch, in order; its own exception fails it alone."""
        return self._submit(_Member(work, None, None, Deferred()))

    def merge(self, operation: Operation[I_contra, R_co], item: I_contra) -> Deferred[R_co]:
        """Have ``item`` done with the other items of ``operation`` in the next batch."""
        return self._submit(_Member(None, operation, item, Deferred()))

    def outside(self, work: Callable[[Engine], T]) -> Deferred[T]:
        """Run ``work`` in the writer's thread, outside of any transaction."""
        return self._executor.run(work, self._held.engine)

    def close(self) -> None:
        """Let the connection go; nothing may be under way."""
        self._held.close()

    def drained(self) -> Deferred[None]:
        """Fires when nothing waits and nothing is being committed."""
        done: Deferred[None] = Deferred()
        if self._busy:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def _submit(self, member: _Member) -> Deferred[Any]:
        self._waiting.append(member)
        if not self._busy:
            self._next_batch()
        elif self._gathering is not None and len(self._waiting) >= GATHER_ENOUGH:
            self._gathering.cancel()
            self._gathered()
        return member.fired

    def _gathered(self) -> None:
        self._gathering = None
        self._next_batch()

    def _next_batch(self) -> None:
        if not self._waiting:
            self._busy = False
            idle, self._idle = self._idle, []
            for done in idle:
                done.callback(None)
            return
        self._busy = True
        batch, self._waiting = self._waiting, []
        started = self._seconds()
        running = self._executor.run(_commit, self._held, batch)

        def ended(answers: _Answers | Failure) -> None:
            if isinstance(answers, Failure):  # the executor itself failed
                error = StoreUnavailable(f"{answers.value}")
                answers = [_Failed(error)] * len(batch)
            self._committed(len(batch), self._seconds() - started)
            busy_time = len(batch) >= GATHER_FROM and len(self._waiting) < GATHER_ENOUGH
            if self._later is not None and busy_time:
                self._gathering = self._later(GATHER_SECONDS, self._gathered)
            else:  # before this one's callers run: they overlap
                self._next_batch()
            for member, answer in zip(batch, answers, strict=True):
                self._fire(member, answer)

        running.addBoth(ended)
        running.addErrback(lambda failure: self._log.failure("a caller failed", failure))

    def _fire(self, member: _Member, answer: object) -> None:
        if isinstance(answer, _Failed):
            member.fired.errback(Failure(answer.error))
        else:
            member.fired.callback(answer)


def _commit(held: _HeldConnection, batch: Sequence[_Member]) -> _Answers:
    """Commit ``batch``; one answer, or _Failed, per member.  Runs in the writer's thread."""
    try:
        try:
            return _run(held, batch, _merged)
        except Exception as error:
            if is_store_trouble(error):
                raise
        return _run(held, batch, _each_alone)
    except Exception as error:
        if not is_store_trouble(error):
            raise
        trouble = StoreUnavailable(str(error).split("\n")[0])
        return [_Failed(trouble)] * len(batch)


def _run(
    held: _HeldConnection,
    batch: Sequence[_Member],
    run_merged: Callable[[Connection, Operation[Any, Any], Sequence[_Member]], _Answers],
) -> _Answers:
    answers: dict[int, Any] = {}
    connection = held.connection()
    try:
        transaction = connection.begin()
        by_operation: dict[Operation[Any, Any], list[_Member]] = {}
        for member in batch:
            if member.operation is not None:
                by_operation.setdefault(member.operation, []).append(member)
        for operation in sorted(by_operation, key=lambda o: o.rank):
            members = by_operation[operation]
            results = run_merged(connection, operation, members)
            answers.update(zip(map(id, members), results, strict=True))
        for member in batch:
            if member.work is not None:
                answers[id(member)] = _alone(connection, member.work)
        _end(held, connection, transaction)
    except BaseException as error:
        if is_store_trouble(error):
            held.drop()  # SQLITE_FULL has rolled back already: touch nothing
        else:
            connection.rollback()
        raise
    return [answers[id(member)] for member in batch]


def _end(held: _HeldConnection, connection: Connection, transaction: Transaction) -> None:
    """COMMIT, and know whether it was done."""
    transaction_id = connection.info.get(TRANSACTION_ID)
    try:
        transaction.commit()
    except Exception as error:
        if transaction_id is None or not is_store_trouble(error):
            raise
        held.drop()
        if not held.has_committed(transaction_id):
            raise


def _merged(
    connection: Connection, operation: Operation[Any, Any], members: Sequence[_Member]
) -> _Answers:
    return list(operation.apply(connection, [member.item for member in members]))


def _each_alone(
    connection: Connection, operation: Operation[Any, Any], members: Sequence[_Member]
) -> _Answers:
    answers = []
    for member in members:
        answer = _alone(connection, partial(operation.apply, items=[member.item]))
        answers.append(answer if isinstance(answer, _Failed) else answer[0])
    return answers


def _alone(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    """Run ``work`` in a savepoint of its own: what fails there is undone there."""
    savepoint = connection.begin_nested()
    try:
        answer = work(connection)
    except Exception as error:
        if is_store_trouble(error):
            raise
        savepoint.rollback()
        return _Failed(error)
    savepoint.commit()
    return answer


_DATA_TROUBLE = {"DataError", "IntegrityError", "ProgrammingError", "NotSupportedError"}
_STORE_TROUBLE = {"OperationalError", "InterfaceError", "InternalError", "DatabaseError"}


def is_store_trouble(error: BaseException) -> bool:
    """Whether ``error`` is the store's (full, I/O, lost connection), not the data's."""
    if isinstance(error, StoreUnavailable | OSError):
        return True
    # Core's errors and every driver's own have the same names (PEP 249); psycopg raises
    # subclasses of them, such as DiskFull.
    names = {cls.__name__ for cls in type(error).__mro__}
    return not names & _DATA_TROUBLE and bool(names & _STORE_TROUBLE)
