"""Asking rspamd about mail of strangers, over HTTP.

Invariants: its time is bounded; what it cannot be asked about is taken or put off, as configured;
fields that say of a message that it is or is no spam are ours alone, whoever put some in.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.acceptance.greylisting import Greylist
from mailrelay.acceptance.judging import Arrived, Judgement
from mailrelay.acceptance.peer_judges import junked, noted_in
from mailrelay.acceptance.rspamd_answer import (
    OURS,
    Action,
    RspamdAnswer,
    UnusableAnswer,
    fields_of,
    read_answer,
)
from mailrelay.message.edit import Stretch
from mailrelay.message.places import any_fields
from mailrelay.net.http import Body, CallFailed, HTTPAnswer, StreamedBody
from mailrelay.smtp.reply import Reply, printable, reply

MOST_ANSWER_BYTES = 512 * 1024
MOST_RECIPIENTS = 100
"""That rspamd is told of."""

NOT_JUDGED = reply(451, "4.7.1", "the message cannot be judged now, try again later")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


class OnReject(Enum):
    """What becomes of what rspamd would reject."""

    REJECT = "reject"
    JUNK = "junk"


class OnFailure(Enum):
    """What becomes of mail when rspamd does not answer."""

    ACCEPT = "accept"
    DEFER = "defer"


@frozen
class RspamdSettings:
    """``[rspamd]``."""

    url: str = field(
        default="",
        metadata=_doc("of rspamd's normal or proxy worker, such as http://127.0.0.1:11333"),
    )
    password: str = field(default="", metadata=_doc("its password, if it wants one"))
    password_file: str = field(default="", metadata=_doc("file whose first line is the password"))
    timeout: float = field(default=10.0, metadata=_doc("seconds for an answer"))
    max_bytes: int = field(
        default=20 * 1024 * 1024, metadata=_doc("about larger messages it is not asked")
    )
    on_reject: OnReject = field(
        default=OnReject.REJECT, metadata=_doc("what becomes of what it rejects")
    )
    on_failure: OnFailure = field(
        default=OnFailure.ACCEPT,
        metadata=_doc("without an answer: take the mail, or refuse it for now (451 4.7.1)"),
    )


class Caller(Protocol):
    """What makes requests; see HTTPClient."""

    async def post(
        self, url: str, headers: dict[str, str], body: Body, timeout: float
    ) -> HTTPAnswer:
        """The answer.  Raises: CallFailed."""


class Rspamd:
    """A judge.  ``greylist`` is asked where rspamd would have the sender come again."""

    _log = Logger()

    def __init__(
        self,
        settings: RspamdSettings,
        http: Caller,
        hostname: str,
        token: Callable[[], str],
        greylist: Greylist,
    ) -> None:
        self._settings, self._http, self._hostname = settings, http, hostname
        self._url = f"{settings.url.rstrip('/')}/checkv2"
        self._token, self._greylist = token, greylist
        self.is_away = False

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        if arrived.size_bytes > self._settings.max_bytes:
            return _hiding(_noted(found, "too large for rspamd"), arrived, OURS)
        try:
            answer = await self._asked(arrived)
        except (CallFailed, UnusableAnswer) as error:
            return self._without(_hiding(found, arrived, OURS), str(error))
        if self.is_away:
            self.is_away = False
            self._log.info("rspamd answers again")
        found = _hiding(_noted(found, str(answer)), arrived, (*OURS, *answer.removed))
        found = evolve(found, fields=found.fields + fields_of(answer))
        return await self._obeyed(answer, arrived, found)

    async def _asked(self, arrived: Arrived) -> RspamdAnswer:
        settings = self._settings
        answer = await self._http.post(
            self._url, self._headers(arrived), _body(arrived), settings.timeout
        )
        if answer.status != 200:
            raise UnusableAnswer(f"it answers {answer.status}")
        if not answer.is_whole:
            raise UnusableAnswer("its answer is too long, or broke off")
        return read_answer(answer.body_start)

    def _headers(self, arrived: Arrived) -> dict[str, str]:
        source, envelope = arrived.source, arrived.envelope
        told = {
            "Flags": "milter",
            "MTA-Name": self._hostname,
            "Queue-Id": self._token()[:16],
            "From": str(envelope.reverse_path or ""),
            "Rcpt": ", ".join(
                str(one.forward_path) for one in envelope.recipients[:MOST_RECIPIENTS]
            ),
            "IP": source.peer_ip or "",
            "Helo": source.helo or "",
            "Password": self._settings.password,
        }
        return {name: _header_value(value) for name, value in told.items() if value}

    def _without(self, found: Judgement, why: str) -> Judgement:
        """What becomes of mail that rspamd says nothing of."""
        if not self.is_away:
            self.is_away = True
            self._log.warn("rspamd does not answer: {why}", why=why)
        found = _noted(found, f"rspamd does not answer: {why}")
        if self._settings.on_failure is OnFailure.ACCEPT:
            return found
        return evolve(found, refusal=NOT_JUDGED, refused_by="rspamd")

    async def _obeyed(self, answer: RspamdAnswer, arrived: Arrived, found: Judgement) -> Judgement:
        match answer.action:
            case Action.NONE:
                return found
            case Action.SOFT_REJECT:
                text = answer.message or "try again later"
                return _refused(found, reply(451, "4.7.1", f"not now: {text}"))
            case Action.REJECT if self._settings.on_reject is OnReject.REJECT:
                text = answer.message or "it looks like spam"
                return _refused(found, reply(550, "5.7.1", f"the message is refused: {text}"))
            case Action.GREYLIST:
                refusal = await self._greylisted(arrived)
                return found if refusal is None else _refused(found, refusal)
        return evolve(found, verdict=junked(found.verdict, str(answer)))

    async def _greylisted(self, arrived: Arrived) -> Reply | None:
        """The refusal of a message some recipient of which is to get it later."""
        ip, path = arrived.source.peer_ip or "", arrived.envelope.reverse_path
        for recipient in arrived.envelope.recipients:
            answer = self._greylist.refuse(ip, path, recipient.forward_path)
            if isinstance(answer, Deferred):
                answer = await answer
            if answer is not None:
                return answer
        return None


def _noted(found: Judgement, line: str) -> Judgement:
    return evolve(found, verdict=noted_in(found.verdict, line))


def _refused(found: Judgement, refusal: Reply) -> Judgement:
    return evolve(found, refusal=refusal, refused_by="rspamd")


def _hiding(found: Judgement, arrived: Arrived, names: tuple[str, ...]) -> Judgement:
    """``found`` without the fields of ``names``, which others put in."""
    taken = {stretch[:2] for stretch in found.hidden}
    mine: list[Stretch] = [
        (at, end, b"")
        for name, at, end in any_fields(arrived.head[: arrived.body_at])
        if name in names and (at, end) not in taken
    ]
    if not mine:
        return found
    return evolve(found, hidden=tuple(sorted([*found.hidden, *mine])))


def _body(arrived: Arrived) -> Body:
    name = arrived.spool_name
    if name is None:
        return arrived.head
    return StreamedBody(
        b"", arrived.size_bytes, lambda at, size: arrived.read_spool(name, at, size)
    )


def _header_value(text: str) -> str:
    """UTF-8 as HTTP carries it, without what would end the field."""
    return printable(text, 8000).encode("utf-8", "replace").decode("latin-1")
