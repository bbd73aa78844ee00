"""``/messages/batch``: many personalised messages in one request."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore

from mailrelay.acceptance.several import Several
from mailrelay.directory.keys import Scope
from mailrelay.webapi.v1.batch_fields import MOST_RECIPIENTS, Batch, BatchAnswer
from mailrelay.webapi.v1.mailing import Mailing
from mailrelay.webapi.v1.one_click import NO_PUBLIC_URL
from mailrelay.webapi.v1.operations import Answer, Call, Operation
from mailrelay.webapi.v1.problems import (
    INVALID_FIELD,
    LIMIT_REACHED,
    NOT_ACCEPTED,
    OVERLOADED,
    Problem,
)
from mailrelay.webapi.v1.writing import Desk

MOST_BODY_BYTES = 64 * 1024 * 1024

AT_ONCE = 2
"""Batches whose messages are in memory."""

MOST_WAITING = 20


@frozen
class BatchOperations:
    """What sends many messages."""

    desk: Desk
    several: Several
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), init=False)

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="message_send_batch",
                method="POST",
                path="/messages/batch",
                about="Send up to 1,000 messages. Those that are not right are told of, in order.",
                work=self.send,
                scope=Scope.SEND,
                body=Batch,
                answers={202: BatchAnswer, 200: BatchAnswer},
                problems=(NOT_ACCEPTED, LIMIT_REACHED, NO_PUBLIC_URL),
                most_body_bytes=MOST_BODY_BYTES,
            ),
        ]

    async def send(self, call: Call) -> Answer:
        """Send what is right of a batch.  Raises: Problem."""
        batch: Batch = call.body
        if batch.recipients > MOST_RECIPIENTS:
            text = f"have more than {MOST_RECIPIENTS} recipients in all: send them in parts"
            raise Problem(INVALID_FIELD, text, "messages")
        if not self._turns.tokens and len(self._turns.waiting) >= MOST_WAITING:
            text = "too many batches are under way, try again later"
            raise Problem(OVERLOADED, text, headers={"Retry-After": "5"})
        await self._turns.acquire()
        try:
            return await Mailing(self.desk, self.several, call, batch).sent()
        finally:
            self._turns.release()
