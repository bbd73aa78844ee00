"""Many letters in one request: what they share, what each has of its own, what came of each."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from mailrelay.templates.variables import Variables
from mailrelay.webapi.v1.fields import Id, Line, Tags, Text, Word
from mailrelay.webapi.v1.letter import (
    Attachment,
    Extra,
    HeaderField,
    Letter,
    Long,
    People,
    Person,
    TemplateUse,
)
from mailrelay.webapi.v1.one_click import UnsubscribeWish
from mailrelay.webapi.v1.operations import Strict
from mailrelay.webapi.v1.outgoing import Queued
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem
from mailrelay.webapi.v1.times import Time

MOST_MESSAGES = 1000
MOST_RECIPIENTS = 2000
"""In all: they are stored in one transaction."""


class Shared(Strict, frozen=True):
    """What a letter may have of its own, or of its batch."""

    from_: Person | UnsetType = field(name="from", default=UNSET)
    reply_to: Annotated[list[Person], Meta(max_length=100)] | UnsetType = UNSET
    subject: Annotated[str, Meta(max_length=10_000)] | UnsetType = UNSET
    text: Long | UnsetType = UNSET
    html: Long | UnsetType = UNSET
    template: TemplateUse | UnsetType = UNSET
    headers: Annotated[list[HeaderField], Meta(max_length=200)] | UnsetType = UNSET
    attachments: Annotated[list[Attachment], Meta(max_length=200)] | UnsetType = UNSET
    extra: Extra | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    send_at: Time | UnsetType = UNSET
    require_tls: bool | UnsetType = UNSET
    unsubscribe: UnsubscribeWish | UnsetType = UNSET


class BatchItem(Shared, frozen=True):
    """A message.  What it gives stands in place of what the batch gives.

    ``variables`` are for the batch's template, in place of those of the same name there.
    """

    to: People = field(default_factory=list)
    cc: People = field(default_factory=list)
    bcc: People = field(default_factory=list)
    variables: Variables | UnsetType = UNSET


class Batch(Shared, frozen=True, kw_only=True):
    """Up to 1,000 messages, to 2,000 recipients in all; priority is never theirs.

    With ``all_or_nothing`` a mistake in one is the answer, and nothing is sent.
    """

    messages: Annotated[list[BatchItem], Meta(min_length=1, max_length=MOST_MESSAGES)]
    all_or_nothing: bool = False

    @property
    def recipients(self) -> int:
        """How many there are."""
        return sum(len(one.to) + len(one.cc) + len(one.bcc) for one in self.messages)


class ItemProblem(Strict, frozen=True):
    """Why a message was not taken: as in problem details; ``field`` is the message's."""

    status: Annotated[int, Meta(ge=400, le=599)]
    code: Word
    detail: Text
    field: Line


class BatchResult(Strict, frozen=True):
    """What came of a message: its id and entries, or a problem."""

    id: Id | None = None
    message_id: Line = ""
    entries: Annotated[list[Queued], Meta(max_length=MOST_RECIPIENTS)] = []
    problem: ItemProblem | None = None


class BatchAnswer(Strict, frozen=True):
    """In the order of the messages."""

    accepted: Annotated[int, Meta(ge=0, le=MOST_MESSAGES)]
    results: Annotated[list[BatchResult], Meta(max_length=MOST_MESSAGES)]


def letter_of(batch: Batch, item: BatchItem) -> Letter:
    """A message of the batch, whole.  Raises: Problem."""
    given: dict[str, Any] = {}
    for name in Shared.__struct_fields__:
        value = getattr(item, name)
        if value is UNSET:
            value = getattr(batch, name)
        if value is not UNSET:
            given[name] = value
    if "from_" not in given:
        raise Problem(INVALID_FIELD, "is required: in the message or in the batch", "from")
    if item.variables is not UNSET:
        given["template"] = _with_variables(given.get("template"), item.variables)
    return Letter(to=item.to, cc=item.cc, bcc=item.bcc, **given)


def _with_variables(template: TemplateUse | None, variables: Variables) -> TemplateUse:
    if template is None:
        text = "are for a template: there is none, in the message or in the batch"
        raise Problem(INVALID_FIELD, text, "variables")
    merged = {**template.variables, **variables}
    return msgspec.structs.replace(template, variables=merged)


def item_problem(problem: Problem) -> BatchResult:
    """A message that was not taken, as it is answered."""
    kind = problem.kind
    told = ItemProblem(
        status=kind.status,
        code=kind.code,
        detail=problem.detail[:2000],
        field=problem.field[:500],
    )
    return BatchResult(problem=told)
