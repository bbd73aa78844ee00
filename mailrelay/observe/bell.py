"""Who waits for an account's next event, and is told when it is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


@define(eq=False)
class Bell:
    """Rung after a commit, in the reactor thread.  It tells that there is something, not what."""

    clock: IReactorTime
    _waiting: dict[int | None, list[Deferred[None]]] = field(factory=dict)
    _is_closed: bool = False

    def ring(self, account_ids: Iterable[int | None]) -> None:
        """Wake who waits for one of these accounts."""
        if not self._waiting:
            return
        for account_id in set(account_ids):
            for waiting in self._waiting.pop(account_id, ()):
                if not waiting.called:  # canceled by what an earlier one woke
                    waiting.callback(None)

    @property
    def is_closed(self) -> bool:
        """Whether it rings no more."""
        return self._is_closed

    def wait(self, account_id: int, seconds: float) -> Deferred[None]:
        """Fires when the account's bell rings, or after so many seconds.  May be canceled."""
        if self._is_closed:
            return succeed(None)
        waiting: Deferred[None] = Deferred(lambda canceled: self._forget(account_id, canceled))
        self._waiting.setdefault(account_id, []).append(waiting)
        over = self.clock.callLater(seconds, self._over, account_id, waiting)

        def ended(result: T) -> T:
            if over.active():
                over.cancel()
            return result

        return waiting.addBoth(ended)

    def _over(self, account_id: int, waiting: Deferred[None]) -> None:
        self._forget(account_id, waiting)
        waiting.callback(None)

    def _forget(self, account_id: int, waiting: Deferred[None]) -> None:
        others = self._waiting.get(account_id, [])
        if waiting in others:
            others.remove(waiting)
        if not others:
            self._waiting.pop(account_id, None)

    async def first(
        self, account_id: int, seconds: float, look: Callable[[], Awaitable[Sequence[T]]]
    ) -> Sequence[T]:
        """What ``look`` finds, as soon as that is something; nothing after so many seconds."""
        until = self.clock.seconds() + seconds
        while True:
            left = until - self.clock.seconds()
            if self._is_closed or left <= 0:
                return await look()
            # Asked for before the look: what is committed between the two rings it.
            rung = self.wait(account_id, left)
            found: Sequence[T] | None = None
            try:
                found = await look()
            finally:
                if found is None or found:
                    self.leave(account_id, rung)
            if found:
                return found
            await rung  # perhaps for something that ``look`` passes over

    def leave(self, account_id: int, waiting: Deferred[None]) -> None:
        """Wait no longer."""
        if waiting in self._waiting.get(account_id, ()):
            self._over(account_id, waiting)

    def close(self) -> None:
        """The server stops: nobody waits any longer, nor begins to."""
        self._is_closed = True
        self.ring_all()

    def ring_all(self) -> None:
        """Wake everybody: something changed, of whomever."""
        self.ring(list(self._waiting))
