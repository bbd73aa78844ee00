"""Submissions that may come again: one Idempotency-Key, one message, one reply.

A client that lost the connection before the reply sends the same again, with the same field in the
header.  The first to be stored is the message; whoever repeats it within a day is told what the
first was told, and nothing is sent a second time.
"""

from __future__ import annotations

import hashlib
import re

from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.message.header import Header
from mailrelay.queue.entry import ANSWERS_KEPT_FOR, Message, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.smtp.reply import Reply, reply

FIELD = "idempotency-key"
BAD_KEY = reply(
    554,
    "5.6.0",
    "Idempotency-Key is of 1 to 255 printable ASCII characters, there once, and near the top",
)
OTHER_MESSAGE = reply(554, "5.6.0", "another message had this Idempotency-Key: use a new one")

_KEY = re.compile(r"[!-~]{1,255}")


class AcceptedBefore(Exception):
    """The same message was ours already; ``reply`` is what it was answered."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class BadKey(Exception):
    """The field cannot be obeyed; see BAD_KEY."""


def answer_to_keep(
    source: Source, envelope: Envelope, header: Header, incoming: IncomingContent, message: Message
) -> StoredAnswer | None:
    """What is told whoever submits ``message`` again, None where that was not asked for.

    Raises: BadKey.
    """
    if source.door != "submission" or not header.count(FIELD) or message.account_id is None:
        return None
    key, digest = header.first(FIELD) or "", incoming.digest()
    if header.count(FIELD) > 1 or not _KEY.fullmatch(key) or digest is None:
        raise BadKey
    return StoredAnswer(
        message.account_id,
        key,
        _hash(envelope, digest),
        250,
        queued_text(message.id).encode(),
        message.received_at + ANSWERS_KEPT_FOR,
    )


def _hash(envelope: Envelope, digest: bytes) -> bytes:
    """What tells one submission from another of the same key."""
    recipients = sorted(str(recipient.forward_path) for recipient in envelope.recipients)
    head = "\0".join(["submission", str(envelope.reverse_path or ""), *recipients, ""])
    return hashlib.sha256(head.encode("utf-8", "surrogateescape") + digest).digest()


def queued_text(message_id: int) -> str:
    """What a client is told of its accepted message."""
    return f"queued as {message_id}"


def reply_again(before: AnsweredBefore, mine: StoredAnswer) -> Reply:
    """The reply to a submission whose key was used before."""
    found = before.found
    if found is None or found.request_hash != mine.request_hash:
        return OTHER_MESSAGE
    return reply(250, "2.0.0", found.answer.decode())
