"""What a sender is told of a message that is not accepted."""

from __future__ import annotations

from twisted.python.failure import Failure

from mailrelay.acceptance.again import AcceptedBefore, reply_again
from mailrelay.policy.daily import OVER_NEW_RECIPIENTS
from mailrelay.policy.from_id import NOT_UNIQUE
from mailrelay.queue.entry import StoredAnswer
from mailrelay.queue.store import (
    AllOverQuota,
    AnsweredBefore,
    FromIDTaken,
    NotStored,
    TooManyNewRecipients,
)
from mailrelay.smtp.reply import Reply, reply

STORE_FULL = reply(452, "4.3.1", "cannot store mail right now, try again later")
ALL_OVER_QUOTA = reply(452, "4.2.2", "no mailbox behind the alias has room")
LOCAL_ERROR = reply(451, "4.3.0", "local error in processing")

_NOT_STORED: dict[type[NotStored], Reply] = {
    FromIDTaken: NOT_UNIQUE,
    TooManyNewRecipients: OVER_NEW_RECIPIENTS,
    AllOverQuota: ALL_OVER_QUOTA,
}


class Refused(Exception):
    """The message is not accepted; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def answered_before(failure: Failure, mine: StoredAnswer) -> Failure:
    """An errback: a key that was used before is told as it was then.  Raises: see told_again."""
    if not isinstance(failure.value, AnsweredBefore):
        return failure
    raise told_again(failure.value, mine)


def told_again(before: AnsweredBefore, mine: StoredAnswer) -> AcceptedBefore | Refused:
    """What a submission fails with whose key was used before."""
    told = reply_again(before, mine)
    return AcceptedBefore(told) if told.is_positive else Refused(told)


def refused_by(reason: NotStored) -> Refused:
    """What the sender is told of a message whose conditions do not hold."""
    return Refused(_NOT_STORED.get(type(reason), LOCAL_ERROR))


def refused_reply(failure: Failure) -> Reply:
    """What an SMTP client is told of its refused message; other failures stay failures."""
    failure.trap(Refused, AcceptedBefore)
    assert isinstance(failure.value, Refused | AcceptedBefore)
    return failure.value.reply
