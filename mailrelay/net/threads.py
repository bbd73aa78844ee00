"""Where blocking work runs: an executor that is passed in, never the reactor thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Executor(Protocol):
    """Runs blocking work elsewhere; the Deferred fires in the reactor thread."""

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Start ``work``; its result or its exception is the Deferred's."""


class ThreadExecutor:
    """Up to ``threads`` pieces of work at once on threads of its own."""

    def __init__(self, reactor: IReactorFromThreads, threads: int, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)
        self._started = False

    def stop(self) -> None:
        """Wait for the work under way; blocks."""
        if self._started:
            self._pool.stop()

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See Executor.  The threads start with the first work: after a daemon's fork."""
        if not self._started:
            self._started = True
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)


class AtOnce:
    """Runs the work in the caller's thread, before ``run`` returns: for commands and tests."""

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See Executor."""
        return execute(work, *args, **kwargs)


class Draining:
    """Another executor, which knows when nothing is under way there any more.

    Work whose Deferred was canceled counts as long as it runs.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._under_way = 0
        self._idle: list[Deferred[None]] = []

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See Executor."""
        answer: Deferred[Any] = Deferred()
        self._under_way += 1

        def over(result: object) -> None:
            self._under_way -= 1
            answer.callback(result)
            self._tell()

        self._executor.run(work, *args, **kwargs).addBoth(over)
        return answer

    def drained(self) -> Deferred[None]:
        """Fires when nothing is under way."""
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        self._tell()
        return done

    def _tell(self) -> None:
        while self._idle and not self._under_way:
            self._idle.pop(0).callback(None)


class Wanted:
    """Another executor, where work is not begun whose Deferred was canceled before its turn."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See Executor."""
        canceled: list[object] = []
        answer: Deferred[Any] = Deferred(canceled.append)

        def begin() -> T:
            if canceled:
                raise CancelledError
            return work(*args, **kwargs)

        def over(result: object) -> None:
            if not canceled:
                answer.callback(result)

        self._executor.run(begin).addBoth(over)
        return answer
