"""An operation: what it takes and answers.  The API does it, the document tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import field, frozen
from msgspec import Struct

from mailrelay.control.answers import Inside, MadeOf
from mailrelay.directory.keys import Scope
from mailrelay.queue.entry import StoredAnswer
from mailrelay.web.request import Request, Response
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.problems import (
    ALWAYS,
    IN_FLIGHT,
    INVALID_FIELD,
    MALFORMED,
    NO_SUCH,
    OTHER_REQUEST,
    TOO_LARGE,
    Kind,
)

R = TypeVar("R")

SMALL_BODY_BYTES = 64 * 1024

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the API takes and answers: nothing but the fields that are named."""


@frozen
class Call:
    """A request that was judged: who asks, and what for."""

    caller: Caller
    request: Request
    body: Any = None
    query: Any = None
    id: int = 0
    keep: Callable[[Answer], StoredAnswer] | None = None
    """What is to be stored with what was done, when the answer may be asked for again."""
    keeping: Callable[[Any, MadeOf], Any] | None = None
    """See AnswerStore."""
    _told: list[Answer] = field(factory=list, init=False)

    def with_answer(self, records: R, told: Callable[[Any, Inside], Answer | None]) -> R:
        """``records``: what their write comes to is kept with it, as ``told`` answers it.

        ``told`` is called in the writer's thread.  None is no answer: nothing was done, or it is
        another write than the one that is asked for.
        """
        keep, keeping = self.keep, self.keeping
        if keep is None or keeping is None:
            return records

        def made_of(result: Any, inside: Inside) -> StoredAnswer | None:
            answer = told(result, inside)
            if answer is None:
                return None
            self._told[:] = [answer]
            return keep(answer)

        kept: R = keeping(records, made_of)
        return kept

    @property
    def kept(self) -> Answer | None:
        """The answer that was kept with what was done."""
        return self._told[0] if self._told else None


@frozen
class Answer:
    """``body`` is what the operation says it answers; None for none.

    ``stream`` stands in place of a body: parts without an end, sent as the client reads them.
    ``kept`` is what is kept of it for repetitions, where it is not the body itself; ``is_kept``
    when it is done; ``encoded`` is a body that was kept.  ``response`` is all of the answer, where
    it is no JSON.
    """

    status: int
    body: Struct | None = None
    headers: Mapping[str, str] = field(factory=dict)
    encoded: bytes | None = None
    kept: Struct | None = None
    is_kept: bool = False
    stream: AsyncIterator[bytes] | None = None
    response: Response | None = None


@frozen(kw_only=True)
class Operation:
    """``work`` answers one of ``answers``, or raises a Problem of one of ``problems``.

    ``scope`` is what a key must be for; ``header`` names a header field that it reads, with the
    schema of its value.  ``content_type`` is the answer's: EVENT_STREAM makes what it answers the
    data of each event.  ``changes_nothing`` says of a POST that it only tells.
    """

    name: str
    method: str
    path: str
    about: str
    work: Callable[[Call], Awaitable[Answer]]
    answers: Mapping[int, type[Struct] | None]
    scope: Scope | None = None
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    problems: Sequence[Kind] = ()
    most_body_bytes: int = SMALL_BODY_BYTES
    header: tuple[str, Mapping[str, object]] | None = None
    content_type: str = JSON
    changes_nothing: bool = False

    @property
    def is_write(self) -> bool:
        """Whether it changes something, and may have an Idempotency-Key."""
        return self.method != "GET" and not self.changes_nothing

    @property
    def kinds(self) -> Sequence[Kind]:
        """All that can go wrong."""
        kinds = [*self.problems, *ALWAYS, MALFORMED]
        if self.is_write:
            kinds += [INVALID_FIELD, IN_FLIGHT, OTHER_REQUEST]
        if self.body or self.query:
            kinds.append(INVALID_FIELD)
        if self.body:
            kinds.append(TOO_LARGE)
        if "{id}" in self.path:
            kinds.append(NO_SUCH)
        return list(dict.fromkeys(kinds))
