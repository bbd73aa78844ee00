"""Several messages accepted in one transaction: all of them whose conditions hold.

Invariant: when ``accept`` fires, what it tells of is on stable storage; when it fails, nothing is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.acceptance.accept import Acceptance
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import NotStored, Together

AT_ONCE = 20
"""Messages that are looked at before the reactor has its turn."""


@frozen
class Prepared:
    """A message that could be accepted; its content is durable if it is large."""

    new: NewMessage
    incoming: IncomingContent

    def abandon(self) -> None:
        """Forget it."""
        self.incoming.abandon()


@frozen
class Several:
    """Accepts what was prepared.  ``breathe`` fires when the reactor had its turn."""

    acceptance: Acceptance
    breathe: Callable[[], Awaitable[None]]

    async def prepare(
        self, source: Source, envelope: Envelope, incoming: IncomingContent
    ) -> Prepared:
        """What acceptance makes of a message.  Raises: Refused; the content is abandoned then."""
        return Prepared(await self.acceptance.prepare(source, envelope, incoming), incoming)

    async def accept(
        self, prepared: Sequence[Prepared], together: Together
    ) -> Sequence[NotStored | None]:
        """Why each is not ours, None when it is.

        Raises: Refused, NotStored: then none is, and all of the content is abandoned.
        """
        storing: Deferred[Sequence[NotStored | None]]
        storing = self.acceptance.store.add_all([one.new for one in prepared], together)
        try:
            refusals = await self.acceptance.unless_refused(storing)
        except BaseException:
            for one in prepared:
                one.abandon()
            raise
        for number, (one, refusal) in enumerate(zip(prepared, refusals, strict=True), 1):
            if refusal is None:
                self.acceptance.committed(one.new)
            else:
                one.abandon()
            if number % AT_ONCE == 0:
                await self.breathe()
        return refusals
