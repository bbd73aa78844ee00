"""Command order as data (RFC 5321 section 4.1.4, RFC 3030, RFC 3207, RFC 4954)."""

from __future__ import annotations

from enum import Enum, auto

from attrs import define

from mailrelay.smtp.reply import Reply, reply


class Phase(Enum):
    """What the session waits for."""

    GREETED = auto()  # EHLO or HELO
    READY = auto()  # no mail transaction under way
    MAIL_GIVEN = auto()  # reverse-path accepted, no recipient yet
    RCPT_GIVEN = auto()  # at least one forward-path accepted
    CHUNKS = auto()  # BDAT chunks are arriving: nothing but BDAT may follow (RFC 3030 section 2)


_READY = {
    "EHLO": Phase.READY,
    "HELO": Phase.READY,
    "RSET": Phase.READY,
    "STARTTLS": Phase.GREETED,  # RFC 3207 section 4.2: all knowledge is discarded
}

# What may follow what, and where an accepted command leads.  Anything absent is a 503.
ALLOWED: dict[Phase, dict[str, Phase]] = {
    Phase.GREETED: {
        "EHLO": Phase.READY,
        "HELO": Phase.READY,
        "RSET": Phase.GREETED,
        "STARTTLS": Phase.GREETED,
    },
    Phase.READY: {**_READY, "MAIL": Phase.MAIL_GIVEN, "AUTH": Phase.READY},
    Phase.MAIL_GIVEN: {
        "EHLO": Phase.READY,
        "HELO": Phase.READY,
        "RSET": Phase.READY,
        "RCPT": Phase.RCPT_GIVEN,
    },
    Phase.RCPT_GIVEN: {
        "EHLO": Phase.READY,
        "HELO": Phase.READY,
        "RSET": Phase.READY,
        "RCPT": Phase.RCPT_GIVEN,
        "DATA": Phase.READY,
        "BDAT": Phase.CHUNKS,
    },
    Phase.CHUNKS: {
        "EHLO": Phase.READY,
        "HELO": Phase.READY,
        "BDAT": Phase.CHUNKS,
        "RSET": Phase.READY,
    },
}

# These lead nowhere and are allowed everywhere (RFC 5321 section 4.1.4).
ANYTIME = frozenset({"NOOP", "HELP", "VRFY", "EXPN", "QUIT"})

BAD_SEQUENCE = reply(503, "5.5.1", "bad sequence of commands")
_NEEDED = {
    Phase.GREETED: "EHLO first",
    Phase.READY: "MAIL first",
    Phase.MAIL_GIVEN: "RCPT first",
}


@define
class Sequencer:
    """Command order only: no bytes, no sockets, no policy."""

    phase: Phase = Phase.GREETED

    def refuse(self, verb: str) -> Reply | None:
        """The reply to an out-of-order ``verb``, or None if it may go ahead."""
        if verb in ANYTIME or verb in ALLOWED[self.phase]:
            return None
        need = _NEEDED.get(self.phase)
        if need is None or (verb == "MAIL" and self.phase is not Phase.GREETED):
            return BAD_SEQUENCE
        return reply(503, "5.5.1", f"bad sequence of commands: {need}")

    def accepted(self, verb: str) -> None:
        """Record that ``verb`` got a 2yz; a refused command must not move us."""
        if verb not in ANYTIME:
            self.phase = ALLOWED[self.phase][verb]

    def transaction_over(self) -> None:
        """The mail transaction ended, accepted or not."""
        if self.phase is not Phase.GREETED:
            self.phase = Phase.READY
