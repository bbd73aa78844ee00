"""Work that somebody waits for, and for so long only."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


async def in_time(
    clock: IReactorTime,
    seconds: float,
    work: Coroutine[Any, Any, T],
    late: T,
    failed: Callable[[], object],
) -> T:
    """What ``work`` gives within ``seconds``; ``late`` when it does not, or fails.

    It is broken off then.  ``failed`` is called while its failure is handled, to log it.
    """
    working = Deferred.fromCoroutine(work)
    working.addTimeout(max(0.0, seconds), clock)
    try:
        return await working
    except TimeoutError:
        return late
    except Exception:
        failed()
        return late
