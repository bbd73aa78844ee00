"""Several messages stored in one transaction, and the answer to who asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mailrelay.queue.entry import NewMessage
from mailrelay.queue.store import AnsweredBefore, NotStored, Together
from mailrelay.storage.conditions import refusals_of
from mailrelay.storage.idempotency import find_answer, keep_answer


def judged(
    connection: Connection, messages: Sequence[NewMessage], together: Together
) -> Sequence[NotStored | None]:
    """Why each must not be stored; what is to be kept with the others is.

    Raises: NotStored, when nothing may be stored.
    """
    refusals = refusals_of(connection, messages)
    refused = [refusal for refusal in refusals if refusal is not None]
    if refused and together.all_or_nothing:
        raise refused[0]
    if together.answer is not None and len(refused) < len(messages):
        answer = together.answer(refusals)
        now = messages[0].message.received_at
        if find_answer(connection, answer.account_id, answer.key, now) is not None:
            raise AnsweredBefore(answer.key)
        keep_answer(connection, answer)
    return refusals
