"""What an attempt came to: a value, classified in one place."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from attrs import frozen
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost

from mailrelay.net.resolver import LookupFailed, NoSuchDomain
from mailrelay.smtp.reply import MalformedReply, Reply, reply


class Reach(Enum):
    """How far a delivered message went, for success DSNs (RFC 3461 section 5.2)."""

    MAILBOX = "mailbox"  # final delivery
    PASSED_ON = "passed on"  # to a server that took over the duty to report
    RELAYED = "relayed"  # to a server that does not know DSN


@frozen
class Delivered:
    """The next hop, or the mailbox, has it."""

    reply: Reply
    reach: Reach = Reach.PASSED_ON


@frozen
class HandedOver:
    """A peer has it, and the duty to report; it tells what becomes of it."""

    reply: Reply


@frozen
class Deferral:
    """Try again later: a 4yz reply, a dropped or refused connection, DNS trouble.

    ``is_answer`` when ``reply`` is the next hop's own, of this recipient.
    """

    reply: Reply
    is_answer: bool = False


@frozen
class PermanentFailure:
    """Never try again: a 5yz reply, a null MX, or the lifetime is spent.

    ``is_answer`` as in Deferral.
    """

    reply: Reply
    is_answer: bool = False


@frozen
class Refrained:
    """Nothing was tried: the account is not to send to this recipient."""

    reply: Reply


Outcome: TypeAlias = Delivered | HandedOver | Deferral | PermanentFailure | Refrained


class Undeliverable(Exception):
    """What stops an attempt for good; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Postponed(Exception):
    """What stops an attempt for now; ``reply`` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def outcome_of_reply(answer: Reply, reach: Reach = Reach.PASSED_ON) -> Outcome:
    """Classify a next hop's final reply."""
    if answer.is_positive:
        return Delivered(answer, reach)
    if answer.is_permanent:
        return PermanentFailure(answer, is_answer=True)
    return Deferral(answer, is_answer=True)


def outcome_of_error(error: BaseException) -> Deferral | PermanentFailure:
    """Classify what stopped an attempt.  An unknown error is ours, so it is transient."""
    match error:
        case Undeliverable():
            return PermanentFailure(error.reply)
        case Postponed():
            return Deferral(error.reply)
        case NoSuchDomain():
            return PermanentFailure(reply(550, "5.1.2", f"no such domain: {error}"))
        case LookupFailed():
            return Deferral(reply(451, "4.4.3", f"host lookup failed: {error}"))
        case MalformedReply():
            return Deferral(reply(451, "4.5.0", f"{error}"))
        case ConnectionLost() | ConnectionDone():
            return Deferral(reply(451, "4.4.2", f"connection lost: {error}"))
        case ConnectError() | OSError():
            return Deferral(reply(451, "4.4.1", f"no answer from host: {error}"))
        case _:
            return Deferral(reply(451, "4.3.0", "local error; the log has its traceback"))
