"""``/explain``: what would become of a message of the account's, and what was decided of one.

Invariant: an account is told of its own mail.  Who the members of a list are, what relay hosts are
logged in to with, what others send and by whose rules, is not said.
"""

from __future__ import annotations

from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Annotated, Literal

from attrs import frozen
from msgspec import Meta, field

from mailrelay.control.explain import (
    ExplainControl,
    Explained,
    Limit,
    Question,
    WasDecided,
    WouldBe,
    attempt_of,
    decided,
)
from mailrelay.control.history import AccountHistory
from mailrelay.directory.keys import Scope
from mailrelay.observe.events import Event
from mailrelay.policy.relay import Submitter
from mailrelay.routing.ways import (
    ByMX,
    ByRelayHost,
    Discard,
    Fail,
    Refrain,
    ToEndpoint,
    ToMailbox,
    ToPeer,
)
from mailrelay.smtp.address import Address, MalformedAddress
from mailrelay.webapi.v1.fields import LARGEST_ID, Id, Line, Text, Word
from mailrelay.webapi.v1.history import State, no_such
from mailrelay.webapi.v1.letter import AddressText
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.times import Time, time_at

MOST_BODY_BYTES = 4 * 1024 * 1024

Way = Literal[
    "mailbox", "mx", "relay_host", "application", "peer", "discard", "fail", "refrain", ""
]
Number = Annotated[int, Meta(ge=0, le=LARGEST_ID)]
Code = Annotated[int, Meta(ge=0, le=999)]

_WAYS: dict[type[object], Way] = {
    ToMailbox: "mailbox",
    ByMX: "mx",
    ByRelayHost: "relay_host",
    ToEndpoint: "application",
    ToPeer: "peer",
    Discard: "discard",
    Fail: "fail",
    Refrain: "refrain",
}


class ExplainAsked(Strict, frozen=True):
    """A message from an address of the account; an empty ``from`` is the null reverse-path."""

    to: AddressText
    from_: Annotated[str, Meta(max_length=320)] = field(name="from", default="")


class ExplainMessage(ExplainAsked, frozen=True):
    """``raw`` is base64 of the whole message; one that is like others when it is empty."""

    raw: Annotated[str, Meta(max_length=MOST_BODY_BYTES)] = ""


class LimitOut(Strict, frozen=True):
    """What is left of 24 hours' limit before this message, and whether it would count."""

    name: Literal["messages_per_day", "new_recipients_per_day"]
    most: Number
    used: Number
    left: Number
    counts: bool


class HostOut(Strict, frozen=True):
    """A relay host."""

    host: Line
    port: Annotated[int, Meta(ge=0, le=65535)]
    tls: Word
    implicit_tls: bool
    rests: bool


class CopyOut(Strict, frozen=True):
    """Where a copy goes; of a list's members nothing is said.  ``rests_for`` is in seconds."""

    recipient: Line
    is_list: bool = False
    way: Way = ""
    because: Word = ""
    held: bool = False
    tls: Word = ""
    hosts: Annotated[list[HostOut], Meta(max_length=100)] = []
    answers_at_once: bool = False
    failures: Number = 0
    rests_for: Annotated[float, Meta(ge=0, le=1e9)] = 0.0


class ExplainOut(Strict, frozen=True):
    """What would happen.  ``refused_at`` is the SMTP command that ``reply`` would be to."""

    accepted: bool
    refused_at: Literal["", "MAIL", "RCPT", "DATA"]
    code: Code
    reply: Text
    limits: Annotated[list[LimitOut], Meta(max_length=10)]
    copies: Annotated[list[CopyOut], Meta(max_length=1000)]


class AttemptOut(Strict, frozen=True):
    """One attempt: why it was made by that way, and what came of it."""

    at: Time
    kind: Word
    because: Word
    host: Line
    ip: Word
    tls: Line
    tls_policy: Word
    tls_because: Line
    certificate: Line
    code: Code
    reply: Text


class KeptOut(Strict, frozen=True):
    """What else was done to it: held, released, reported."""

    at: Time
    kind: Word
    by: Line


class DecidedOut(Strict, frozen=True):
    """One recipient: every attempt, as it was decided."""

    entry_id: Id
    recipient: Line
    state: State
    kept: Annotated[list[KeptOut], Meta(max_length=100_000)]
    attempts: Annotated[list[AttemptOut], Meta(max_length=100_000)]


class MessageExplained(Strict, frozen=True):
    """What was decided of a message."""

    id: Id
    came_by: Word
    accepted_at: Time
    recipients: Annotated[list[DecidedOut], Meta(max_length=10_000)]


@frozen
class ExplainOperations:
    """What explains."""

    control: ExplainControl
    history: AccountHistory

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [
            Operation(
                name="explain",
                method="GET",
                path="/explain",
                about="What would become of a message from one address to another. None is sent.",
                work=self.of_addresses,
                answers={200: ExplainOut},
                scope=Scope.READ,
                query=ExplainAsked,
            ),
            Operation(
                name="explain_message",
                method="POST",
                path="/explain",
                about="What would become of this very message. It is not sent, and not kept.",
                work=self.of_message,
                answers={200: ExplainOut},
                scope=Scope.READ,
                body=ExplainMessage,
                most_body_bytes=MOST_BODY_BYTES,
                changes_nothing=True,
            ),
            Operation(
                name="message_explain",
                method="GET",
                path="/messages/{id}/explain",
                about="What was decided of a message, recipient by recipient.",
                work=self.of_past,
                answers={200: MessageExplained},
                scope=Scope.READ,
            ),
        ]

    async def of_addresses(self, call: Call) -> Answer:
        """From the query."""
        return await self._answer(call, call.query, None)

    async def of_message(self, call: Call) -> Answer:
        """From the body."""
        asked: ExplainMessage = call.body
        return await self._answer(call, asked, _content(asked.raw) if asked.raw else None)

    async def _answer(self, call: Call, asked: ExplainAsked, message: bytes | None) -> Answer:
        sender = _address("from", asked.from_) if asked.from_ else None
        account = call.caller.account
        submitter = Submitter(account, login=call.caller.login or str(sender or ""))
        question = Question(sender, _address("to", asked.to), submitter, message=message)
        return Answer(200, _explain_out(await self.control.explain(question)))

    async def of_past(self, call: Call) -> Answer:
        """What was decided of a message of the account's."""
        account_id = call.caller.account.id
        sent = await self.history.message(account_id, call.id)
        timeline = await self.history.timeline(account_id, call.id)
        if sent is None or timeline is None:
            raise no_such()
        message = sent.message
        return Answer(
            200,
            MessageExplained(
                id=message.id,
                came_by=message.door,
                accepted_at=time_at(message.received_at),
                recipients=[_decided_out(decided(view, timeline.events)) for view in sent.entries],
            ),
        )


def _address(place: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except MalformedAddress as error:
        raise Problem(INVALID_FIELD, str(error), place) from None


def _content(raw: str) -> bytes:
    try:
        content = a2b_base64(raw, strict_mode=True)
    except (NotBase64, ValueError):
        raise Problem(INVALID_FIELD, "is not base64", "raw") from None
    return b"\r\n".join(content.replace(b"\r\n", b"\n").split(b"\n"))


def _explain_out(found: WouldBe) -> ExplainOut:
    reply = found.reply
    copies = [_copy_out(copy) for copy in found.copies if _is_own(copy)]
    passed_on = next((copy.routed.entry.alias for copy in found.copies if not _is_own(copy)), None)
    if found.alias is not None and found.accepted:
        copies.append(CopyOut(recipient=str(found.alias), is_list=True))
    elif passed_on is not None and not copies:  # an account's, who has it forwarded
        copies.append(CopyOut(recipient=str(passed_on), way="mailbox", because="mailbox"))
    return ExplainOut(
        accepted=found.accepted,
        refused_at=found.refused_at,  # type: ignore[arg-type]
        code=reply.code if reply is not None else 250,
        reply=str(reply)[:2000] if reply is not None else "",
        limits=[_limit_out(limit) for limit in found.limits],
        copies=copies,
    )


def _is_own(copy: Explained) -> bool:
    """Whether it is for whom it was sent to: where an alias or an account has it go is theirs."""
    return copy.routed.entry.alias is None


def _limit_out(limit: Limit) -> LimitOut:
    return LimitOut(
        name=limit.name,  # type: ignore[arg-type]
        most=limit.most,
        used=limit.used,
        left=limit.left,
        counts=limit.counts,
    )


def _copy_out(copy: Explained) -> CopyOut:
    decision, state = copy.routed.decision, copy.state
    way = decision.destination.way
    hosts = way.relay_hosts if isinstance(way, ByRelayHost) else ()
    resting = state.resting_hosts if state is not None else ()
    return CopyOut(
        recipient=str(copy.routed.entry.recipient),
        way=_WAYS.get(type(way), ""),
        because=decision.because.word,
        held=bool(copy.held_by),
        tls=copy.tls[:40],
        hosts=[
            HostOut(
                host=host.host,
                port=host.port,
                tls=host.tls.value,
                implicit_tls=host.implicit_tls,
                rests=host.host in resting,
            )
            for host in hosts
        ],
        answers_at_once=copy.answers_at_once,
        failures=state.failures if state is not None else 0,
        rests_for=state.rests_for if state is not None else 0.0,
    )


def _decided_out(was: WasDecided) -> DecidedOut:
    entry = was.view.entry
    return DecidedOut(
        entry_id=entry.id,
        recipient=str(entry.told_as),
        state=was.state,  # type: ignore[arg-type]
        kept=[
            KeptOut(at=time_at(e.at), kind=e.kind.value, by=str(e.data.get("by", ""))[:1000])
            for e in was.kept
        ],
        attempts=[_attempt_out(event) for event in was.attempts],
    )


def _attempt_out(event: Event) -> AttemptOut:
    data = attempt_of(event)

    def text(name: str, most: int = 1000) -> str:
        return str(data.get(name, ""))[:most]

    code = data.get("code")
    return AttemptOut(
        at=time_at(event.at),
        kind=event.kind.value,
        because=text("because", 40),
        host=text("host"),
        ip=text("ip", 40),
        tls=text("tls"),
        tls_policy=text("tls_policy", 40),
        tls_because=text("tls_because"),
        certificate=text("certificate"),
        code=code if isinstance(code, int) and 0 <= code <= 999 else 0,
        reply=text("reply"),
    )
