"""Answers that are stored by the change that they tell of, in its transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailrelay.queue.entry import StoredAnswer

R = TypeVar("R")
T = TypeVar("T")


class Inside(Protocol):
    """What is seen within a transaction, before its end."""

    def __call__(self, records: R, /) -> R:
        """``records`` that read there; their Deferreds have fired.  Nothing is written by them."""


MadeOf: TypeAlias = Callable[[Any, Inside], StoredAnswer | None]
"""The answer to what a change came to, None when there is none to keep; in the writer's thread."""


def settled(work: Awaitable[T]) -> T:
    """What ``work`` comes to, which waits for nothing but what has fired."""
    outcome: list[T] = []
    trouble: list[Failure] = []
    waiting = Deferred.fromCoroutine(_awaited(work))
    waiting.addCallbacks(outcome.append, trouble.append)
    for failure in trouble:
        failure.raiseException()
    [result] = outcome
    return result


async def _awaited(work: Awaitable[T]) -> T:
    return await work
