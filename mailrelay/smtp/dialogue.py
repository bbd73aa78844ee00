"""One mail transaction as a client, sans I/O: what to send next, what the replies mean.

``Transaction`` is told every reply in order and answers with the next step.  With PIPELINING
(RFC 2920) MAIL, all RCPT and DATA leave in one group; without, one command at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from attrs import define, field, frozen

from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.smtp.extensions import Extensions
from mailrelay.smtp.reply import MalformedReply, Reply, reply
from mailrelay.smtp.xtext import encode_xtext


@frozen
class OutgoingRecipient:
    """A forward-path and the DSN parameters it came with."""

    forward_path: Address
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None


@frozen
class OutgoingEnvelope:
    """What the transaction says of the message; ``size_bytes`` is the content's."""

    reverse_path: Address | None
    recipients: Sequence[OutgoingRecipient]
    size_bytes: int
    eight_bit: bool = False
    smtputf8: bool = False
    require_tls: bool = False
    ret: str | None = None
    envid: str | None = None


@frozen
class Send:
    """Write these bytes, then wait for replies."""

    data: bytes


@frozen
class SendContent:
    """Write the content: dot-stuffed and ended with the dot, or raw after a BDAT command."""

    chunked: bool


@frozen
class SendNothingAsContent:
    """Write a lone dot: nobody will get it, but the server waits for content (RFC 2920)."""


@frozen
class Wait:
    """More replies are to come."""


@frozen
class Done:
    """One reply per recipient, in order; the connection may be used again."""

    replies: Sequence[Reply]


Step = Send | SendContent | SendNothingAsContent | Wait | Done

NOT_SMTPUTF8 = reply(550, "5.6.7", "the next hop cannot take addresses or headers beyond ASCII")
NOT_REQUIRETLS = reply(550, "5.7.30", "the next hop does not offer REQUIRETLS")
NOT_8BITMIME = reply(554, "5.6.3", "the next hop does not take 8-bit content")
TOO_BIG = reply(552, "5.3.4", "message is larger than the next hop takes")


class _Expecting(Enum):
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "the content"
    RSET = "RSET"


def refusal_without_asking(envelope: OutgoingEnvelope, offered: Extensions) -> Reply | None:
    """Why the server cannot take the message, known from its EHLO answer alone."""
    if envelope.smtputf8 and "SMTPUTF8" not in offered:
        return NOT_SMTPUTF8  # RFC 6531 section 3.5
    if envelope.require_tls and "REQUIRETLS" not in offered:
        return NOT_REQUIRETLS  # RFC 8689 section 4.2.1
    if envelope.eight_bit and "8BITMIME" not in offered:
        return NOT_8BITMIME  # RFC 6152 section 3; bytes are never re-serialised, so no 7-bit copy
    if offered.size_bytes is not None and envelope.size_bytes > offered.size_bytes:
        return TOO_BIG  # RFC 1870 section 6.1
    return None


@define
class Transaction:
    """Feed ``start``, then every reply to ``take``; ends with Done."""

    envelope: OutgoingEnvelope
    offered: Extensions
    _expected: deque[_Expecting] = field(factory=deque, init=False)
    _rcpt_replies: list[Reply] = field(factory=list, init=False)
    _mail_reply: Reply | None = field(default=None, init=False)
    _final: Reply | None = field(default=None, init=False)
    content_begun: bool = field(default=False, init=False)

    @property
    def pipelined(self) -> bool:
        """Whether the commands leave in one group."""
        return "PIPELINING" in self.offered

    @property
    def awaits_data_reply(self) -> bool:
        """Whether the next reply is that to DATA, which has a timeout of its own."""
        return bool(self._expected) and self._expected[0] is _Expecting.DATA

    @property
    def _chunked(self) -> bool:
        return "CHUNKING" in self.offered

    @property
    def _wanted(self) -> bool:
        """Whether the content has anywhere to go."""
        mail_accepted = self._mail_reply is not None and self._mail_reply.is_positive
        return mail_accepted and any(r.is_positive for r in self._rcpt_replies)

    def start(self) -> Send:
        """The first bytes to send."""
        commands = [(_Expecting.MAIL, self._mail())]
        if self.pipelined:
            commands += [(_Expecting.RCPT, self._rcpt(r)) for r in self.envelope.recipients]
            if not self._chunked:
                commands.append((_Expecting.DATA, "DATA"))
        return self._send(commands)

    def _send(self, commands: list[tuple[_Expecting, str]]) -> Send:
        self._expected.extend(expecting for expecting, _ in commands)
        return Send("".join(f"{line}\r\n" for _, line in commands).encode())

    def take(self, answer: Reply) -> Step:
        """The step after ``answer``, the reply to the oldest unanswered command.

        Raises: MalformedReply when it can be no reply to that: the server lost count.
        """
        expecting = self._expected.popleft()
        if 300 <= answer.code < 400 and expecting is not _Expecting.DATA:
            raise MalformedReply(f"{answer.code} in answer to {expecting.value}")
        if expecting is _Expecting.MAIL:
            self._mail_reply = answer
        elif expecting is _Expecting.RCPT:
            self._rcpt_replies.append(answer)
        elif expecting is _Expecting.DATA:
            return self._data_answered(answer)
        elif expecting is _Expecting.CONTENT:
            self._final = answer
            return self._done()
        else:
            return self._done()
        return Wait() if self._expected else self._after_group()

    def _after_group(self) -> Step:
        """All that was sent is answered: what is next without a pipelined DATA."""
        assert self._mail_reply is not None
        asked = len(self._rcpt_replies)
        if self._mail_reply.is_positive and asked < len(self.envelope.recipients):
            return self._send([(_Expecting.RCPT, self._rcpt(self.envelope.recipients[asked]))])
        if not self._wanted:
            return self._send([(_Expecting.RSET, "RSET")])
        if self._chunked:
            self._expected.append(_Expecting.CONTENT)
            return self._send_content()
        return self._send([(_Expecting.DATA, "DATA")])

    def _send_content(self) -> SendContent:
        self.content_begun = True
        return SendContent(chunked=self._chunked)

    def _data_answered(self, answer: Reply) -> Step:
        if answer.code == 354:
            self._expected.append(_Expecting.CONTENT)
            return self._send_content() if self._wanted else SendNothingAsContent()
        self._final = answer if answer.code >= 400 else _bad_data_reply(answer)
        return self._send([(_Expecting.RSET, "RSET")])

    def broken_off(self, why: Reply) -> Done:
        """What the server's replies so far amount to; ``why``, a 4yz, is that of the rest.

        A refusal stays one though the server hung up after it, as many do.
        """
        if self._final is None:
            self._final = why
        return self._done()

    def _done(self) -> Done:
        mail = self._mail_reply
        refused = mail if mail is not None and not mail.is_positive else None
        final = refused or self._final
        replies = []
        for index in range(len(self.envelope.recipients)):
            own = self._rcpt_replies[index] if index < len(self._rcpt_replies) else None
            if refused is None and own is not None and not own.is_positive:
                replies.append(own)
            else:
                assert final is not None
                replies.append(final)
        return Done(replies)

    def _mail(self) -> str:
        envelope = self.envelope
        words = [f"MAIL FROM:<{envelope.reverse_path or ''}>"]
        if "SIZE" in self.offered:
            words.append(f"SIZE={envelope.size_bytes}")
        if envelope.eight_bit and "8BITMIME" in self.offered:
            words.append("BODY=8BITMIME")
        if envelope.smtputf8:
            words.append("SMTPUTF8")
        if envelope.require_tls:
            words.append("REQUIRETLS")
        if "DSN" in self.offered:
            words += [f"RET={envelope.ret}"] if envelope.ret else []
            words += [f"ENVID={encode_xtext(envelope.envid)}"] if envelope.envid else []
        return " ".join(words)

    def _rcpt(self, recipient: OutgoingRecipient) -> str:
        words = [f"RCPT TO:<{recipient.forward_path}>"]
        if "DSN" in self.offered:
            if recipient.notify:
                words.append(f"NOTIFY={','.join(sorted(n.value for n in recipient.notify))}")
            if recipient.orcpt:
                type_, _, value = recipient.orcpt.partition(";")
                # utf-8 addresses keep the escapes they came with (RFC 6533 section 3)
                value = value if type_.lower() == "utf-8" else encode_xtext(value)
                words.append(f"ORCPT={type_};{value}")
        return " ".join(words)


def _bad_data_reply(answer: Reply) -> Reply:
    return reply(451, "4.5.0", f"next hop answered DATA with {answer.code}, not 354")
