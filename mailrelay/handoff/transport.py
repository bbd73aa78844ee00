"""The transport to applications: one POST of the whole message for each recipient.

Invariants:

- Only a 2xx says that the application has it; everything that is not understood is tried again.
- All attempts for one recipient of a message have one Idempotency-Key.
- The token goes to the URL that it was configured with: no redirect is followed.
- Neither it nor the URL's query is in what an attempt tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from urllib.parse import quote

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.handoff.settings import JSON, HandOffSettings
from mailrelay.handoff.signing import digest_of, signature_fields, signing_key
from mailrelay.handoff.told import JSONBodies, front_of
from mailrelay.message.trace import date_field
from mailrelay.net.http import CallFailed, HTTPAnswer, HTTPClient, StreamedBody
from mailrelay.queue.copy import copy_of
from mailrelay.queue.entry import Content, Entry
from mailrelay.queue.outcome import (
    Deferral,
    Delivered,
    Outcome,
    PermanentFailure,
    Reach,
    outcome_of_error,
)
from mailrelay.queue.transport import Attempt, Job, Result
from mailrelay.routing.ways import ToEndpoint
from mailrelay.smtp.reply import printable, reply
from mailrelay.webhooks.request import asked_wait

NO_SUCH_ENDPOINT = reply(451, "4.3.5", "no [[handoff]] of that name any more")
TOO_LARGE = reply(552, "5.3.4", "the application takes no message of this size")

ASKED_FOR_TIME = reply(451, "4.3.2", "the application asked for time")

_REFUSED_LOGIN = frozenset({401, 403, 404, 407})
"""The token, or the path, is wrong: the operator's to mend, and no reason to bounce mail."""


@frozen
class HandOff:
    """An endpoint, and what it is called with."""

    settings: HandOffSettings
    client: HTTPClient


@frozen
class _Unstored:
    """The content of a message that is in no store, and what the application knows it by."""

    content: Content
    key: str


@frozen
class HandOffTransport:
    """Posts to the endpoint that the way names."""

    hostname: str
    endpoints: Callable[[str], HandOff | None]
    now: Callable[[], float]
    content: Callable[[int], Deferred[Content]]
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    seconds: Callable[[], float]
    as_json: JSONBodies
    _rests: dict[str, float] = field(factory=dict, init=False)  # by name, until monotonic
    _log = Logger()

    def attempt(self, job: Job) -> Deferred[Result]:
        """See Transport."""
        return Deferred.fromCoroutine(self._attempt(job))

    def attempt_unstored(self, job: Job, content: Content, key: str) -> Deferred[Result]:
        """As ``attempt``, of a message that is in no store yet."""
        return Deferred.fromCoroutine(self._attempt(job, _Unstored(content, key)))

    async def _attempt(self, job: Job, unstored: _Unstored | None = None) -> Result:
        way = job.destination.way
        assert isinstance(way, ToEndpoint)
        started = self.now()
        endpoint = self.endpoints(way.name)
        if endpoint is None:
            outcomes: list[Outcome] = [Deferral(NO_SUCH_ENDPOINT)] * len(job.entries)
            return Result(outcomes, Attempt(started, self.now()))
        outcomes, failed, said = [], False, []
        for entry in job.entries:
            outcome, host_failed, line = await self._handed(endpoint, job, entry, unstored)
            outcomes.append(outcome)
            said.append(line)
            failed = failed or host_failed
        attempt = Attempt(started, self.now(), host=_shown(endpoint.settings.url), transcript=said)
        return Result(outcomes, attempt, host_failed=failed)

    async def _handed(
        self, endpoint: HandOff, job: Job, entry: Entry, unstored: _Unstored | None
    ) -> tuple[Outcome, bool, str]:
        """What came of one recipient, whether the endpoint is out of order, and what was said."""
        settings = endpoint.settings
        if settings.most_bytes and job.message.size_bytes > settings.most_bytes:
            return PermanentFailure(TOO_LARGE), False, "not posted: too large"
        if self.seconds() < self._rests.get(settings.name, 0.0):
            return Deferral(ASKED_FOR_TIME), True, "not posted: the application asked for time"
        try:
            key = unstored.key if unstored else idempotency_key(self.hostname, entry)
            content = unstored.content if unstored else await self.content(job.message.id)
            copy = await copy_of(content, entry.edit, self.read_spool)
            is_json = settings.body == JSON
            body = await self.as_json.of(entry, copy) if is_json else self._body(entry, copy)
            headers = await self._signed(settings, self._headers(settings, job, entry, key), body)
            answer = await endpoint.client.post(settings.url, headers, body, settings.timeout)
        except CallFailed as error:
            why = printable(str(error), 300)
            return Deferral(reply(451, "4.4.2", f"the application: {why}")), True, why
        except Exception as error:
            self._log.failure("a message cannot be handed off")
            return outcome_of_error(error), False, "not posted: a reason of our own"
        outcome = outcome_of_answer(answer, settings)
        wait = asked_wait(answer.status, answer.headers, self.now())
        if wait is not None:
            self._rests[settings.name] = self.seconds() + wait
        out_of_order = answer.status in _REFUSED_LOGIN or 300 <= answer.status < 400
        if out_of_order:
            self._log.error(
                "the application {name} answers {status}", name=settings.name, status=answer.status
            )
        line = f"POST {_shown(settings.url)} answered {answer.status} {_start(answer)}".rstrip()
        return outcome, out_of_order or answer.status >= 500, line

    def _body(self, entry: Entry, content: Content) -> bytes | StreamedBody:
        head = front_of(entry) + content.prefix
        if content.body is not None:
            return head + content.body
        name = content.spool_name
        assert name is not None
        return StreamedBody(
            head,
            len(head) + content.body_size_bytes,
            lambda offset, size: self.read_spool(name, content.body_from + offset, size),
        )

    def _headers(
        self, settings: HandOffSettings, job: Job, entry: Entry, key: str
    ) -> Mapping[str, str]:
        message = job.message
        fields = {
            "Content-Type": "application/json" if settings.body == JSON else "message/rfc822",
            "Idempotency-Key": key,
            "X-Mailrelay-Id": str(message.id),
            "X-Mailrelay-Attempt": str(entry.attempts + 1),
            "X-Mailrelay-Mail-From": _percent(str(entry.reverse_path or "")),
            "X-Mailrelay-Rcpt-To": _percent(str(entry.recipient)),
            "X-Mailrelay-Received-At": date_field(message.received_at),
        }
        if message.remote_ip:
            fields["X-Mailrelay-Client"] = message.remote_ip
        if settings.token:
            fields["Authorization"] = f"Bearer {settings.token}"
        return fields

    async def _signed(
        self, settings: HandOffSettings, fields: Mapping[str, str], body: bytes | StreamedBody
    ) -> Mapping[str, str]:
        """``fields``, with those that sign them and ``body`` where the endpoint has a key."""
        if not settings.sign_key:
            return fields
        key, digest = signing_key(settings.sign_key), await digest_of(body)
        return {**fields, **signature_fields(key, settings.url, fields, digest, self.now())}


def idempotency_key(hostname: str, entry: Entry) -> str:
    """The same for every attempt of an entry, and for no other entry of any server."""
    recipient = hashlib.sha256(str(entry.recipient).encode()).hexdigest()[:16]
    return f"{hostname[:80]}.{entry.id}.{recipient}"


def _percent(text: str) -> str:
    return quote(text, safe="!#$&'*+-/=?^_`{|}~.@\"() ,:;<>[]\\")


def outcome_of_answer(answer: HTTPAnswer, settings: HandOffSettings) -> Outcome:
    """What an answer means for the message.  Pure."""
    status, start = answer.status, _start(answer)
    told = f"the application answered {status}" + (f": {start}" if start else "")
    if 200 <= status < 300:
        if settings.required_text and settings.required_text.encode() not in answer.body_start:
            return Deferral(reply(451, "4.5.0", f"{told}, without the text that it must have"))
        return Delivered(reply(250, "2.0.0", told), Reach.MAILBOX)
    if status in settings.permanent_statuses:
        return PermanentFailure(reply(550, "5.3.0", told), is_answer=True)
    if status in _REFUSED_LOGIN:
        return Deferral(reply(451, "4.7.8", told), is_answer=True)
    return Deferral(reply(451, "4.3.0", told), is_answer=True)


def _shown(url: str) -> str:
    """As senders and the log see it: many a query has a secret."""
    return url.partition("#")[0].partition("?")[0]


def _start(answer: HTTPAnswer) -> str:
    """The start of what the application says, in one line."""
    return printable(answer.body_start[:200].decode("utf-8", "replace").strip(), 200)
