"""What a server waits for while it stops."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime

LOOK_EVERY = 0.02
"""Seconds."""


def when_empty(clock: IReactorTime, sessions: Collection[object]) -> Deferred[None]:
    """When the last of ``sessions`` has left."""
    gone: Deferred[None] = Deferred()

    def look() -> None:
        if sessions:
            clock.callLater(LOOK_EVERY, look)
        else:
            gone.callback(None)

    look()
    return gone


def in_turn(*steps: Callable[[], Any]) -> Deferred[None]:
    """Each step once the one before it is done."""

    async def all_of_them() -> None:
        for step in steps:
            await maybeDeferred(step)

    return Deferred.fromCoroutine(all_of_them())
