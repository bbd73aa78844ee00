"""``/templates``: what messages are written with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from attrs import evolve, frozen
from msgspec import Meta, field

from mailrelay.control.answers import Inside
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.templates import (
    StoredTemplate,
    TemplateControl,
    TemplateFilter,
    UnusableTemplate,
)
from mailrelay.directory.keys import Scope
from mailrelay.templates.model import (
    MOST_SOURCE_CHARACTERS,
    MOST_SUBJECT_CHARACTERS,
    MOST_VERSIONS,
    Source,
    Template,
    Written,
)
from mailrelay.templates.rendering import MOST_OUTPUT
from mailrelay.templates.variables import Variables
from mailrelay.webapi.v1.fields import Id, Limit, Position, TemplateName, TemplateVersion
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, NO_SUCH, Problem
from mailrelay.webapi.v1.times import Time, time_at

T = TypeVar("T")

SubjectSource: TypeAlias = Annotated[str, Meta(max_length=MOST_SUBJECT_CHARACTERS)]
BodySource: TypeAlias = Annotated[str, Meta(max_length=MOST_SOURCE_CHARACTERS)]
Made: TypeAlias = Annotated[str, Meta(max_length=2 * MOST_OUTPUT["text"])]

MOST_BODY_BYTES = 4 * 1024 * 1024
"""Two sources and the variables, with what JSON makes of them."""


class TemplateIn(Strict, frozen=True):
    """A template, in a part of jinja2's language; see docs/api.md.  Text, HTML or both.

    Without a text each message's is made of its HTML.
    """

    name: TemplateName
    subject: SubjectSource = ""
    text: BodySource = ""
    html: BodySource = ""


class TemplateRow(Strict, frozen=True):
    """A template, as it is listed.  ``version`` is the newest, which is used."""

    id: Id
    name: TemplateName
    version: TemplateVersion
    created_at: Time


class TemplateOut(Strict, frozen=True):
    """A template and what it says in ``version``, since ``changed_at``."""

    id: Id
    name: TemplateName
    version: TemplateVersion
    created_at: Time
    changed_at: Time
    subject: SubjectSource
    text: BodySource
    html: BodySource


class TemplatesQuery(Strict, frozen=True):
    """Those behind the cursor."""

    cursor: Position = 0
    limit: Limit = 50


class TemplatePage(Strict, frozen=True):
    """By id.  ``next_cursor`` is for those that follow, null when there are none."""

    templates: Annotated[list[TemplateRow], Meta(max_length=100)]
    next_cursor: Id | None


class VersionQuery(Strict, frozen=True):
    """The newest, when none is named."""

    version: TemplateVersion | None = None


class VersionRow(Strict, frozen=True):
    """What a template said from ``created_at`` on."""

    version: TemplateVersion
    created_at: Time


class VersionList(Strict, frozen=True):
    """The versions that are kept, newest first."""

    versions: Annotated[list[VersionRow], Meta(max_length=MOST_VERSIONS)]


class PreviewIn(Strict, frozen=True):
    """What a template is filled with, in its newest version unless one is named."""

    variables: Variables = field(default_factory=dict)
    version: TemplateVersion | None = None


class SourcePreviewIn(Strict, frozen=True):
    """A template that is not stored, and what it is filled with."""

    subject: SubjectSource = ""
    text: BodySource = ""
    html: BodySource = ""
    variables: Variables = field(default_factory=dict)


class PreviewOut(Strict, frozen=True):
    """The message that would be sent."""

    subject: Annotated[str, Meta(max_length=MOST_OUTPUT["subject"])]
    text: Made
    html: Made


@frozen
class TemplateOperations:
    """``/templates``.  ``control`` makes the templates' for whoever is named in the audit."""

    control: Callable[[str], TemplateControl]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        return [*self._reading(), *self._writing(), *self._previews()]

    def _reading(self) -> Sequence[Operation]:
        return [
            Operation(
                name="template_list",
                method="GET",
                path="/templates",
                about="The account's templates, without what they say.",
                work=self.list,
                answers={200: TemplatePage},
                scope=Scope.READ,
                query=TemplatesQuery,
            ),
            Operation(
                name="template_get",
                method="GET",
                path="/templates/{id}",
                about="A template and what it says.",
                work=self.get,
                answers={200: TemplateOut},
                scope=Scope.READ,
                query=VersionQuery,
            ),
            Operation(
                name="template_versions",
                method="GET",
                path="/templates/{id}/versions",
                about="The versions of a template that are kept.",
                work=self.versions,
                answers={200: VersionList},
                scope=Scope.READ,
            ),
        ]

    def _writing(self) -> Sequence[Operation]:
        return [
            Operation(
                name="template_create",
                method="POST",
                path="/templates",
                about="Store a template.",
                work=self.create,
                answers={201: TemplateOut},
                scope=Scope.MANAGE,
                body=TemplateIn,
                problems=[CONFLICT],
                most_body_bytes=MOST_BODY_BYTES,
            ),
            Operation(
                name="template_replace",
                method="PUT",
                path="/templates/{id}",
                about="A new version of a template, unless its newest says the same.",
                work=self.replace,
                answers={200: TemplateOut},
                scope=Scope.MANAGE,
                body=TemplateIn,
                problems=[CONFLICT],
                most_body_bytes=MOST_BODY_BYTES,
            ),
            Operation(
                name="template_delete",
                method="DELETE",
                path="/templates/{id}",
                about="Remove a template with all its versions.",
                work=self.delete,
                answers={204: None},
                scope=Scope.MANAGE,
            ),
        ]

    def _previews(self) -> Sequence[Operation]:
        return [
            Operation(
                name="template_preview",
                method="POST",
                path="/templates/{id}/preview",
                about="What a template makes of variables. Nothing is sent.",
                work=self.preview,
                answers={200: PreviewOut},
                scope=Scope.READ,
                body=PreviewIn,
                most_body_bytes=MOST_BODY_BYTES,
                changes_nothing=True,
            ),
            Operation(
                name="template_preview_source",
                method="POST",
                path="/templates/preview",
                about="What a template that is not stored makes of variables.",
                work=self.preview_source,
                answers={200: PreviewOut},
                scope=Scope.READ,
                body=SourcePreviewIn,
                most_body_bytes=MOST_BODY_BYTES,
                changes_nothing=True,
            ),
        ]

    async def list(self, call: Call) -> Answer:
        """A page of the templates."""
        query: TemplatesQuery = call.query
        wanted = TemplateFilter(call.caller.account.name, query.limit, query.cursor)
        found = await self._control(call).find(wanted)
        rows = [_row(one) for one in found]
        more = len(found) == query.limit
        return Answer(200, TemplatePage(templates=rows, next_cursor=found[-1].id if more else None))

    async def get(self, call: Call) -> Answer:
        """A template."""
        query: VersionQuery = call.query
        control, account = self._control(call), call.caller.account.name
        return Answer(200, _out(await _asked(control.get(account, call.id, query.version))))

    async def versions(self, call: Call) -> Answer:
        """Its versions."""
        found = await _asked(self._control(call).versions(call.caller.account.name, call.id))
        rows = [VersionRow(version=v.version, created_at=time_at(v.created_at)) for v in found]
        return Answer(200, VersionList(versions=rows))

    async def create(self, call: Call) -> Answer:
        """One more."""
        body: TemplateIn = call.body
        source = Source(body.subject, body.text, body.html)
        control = self._control(call, lambda made, inside: Answer(201, _out(made)))
        work = control.add(call.caller.account.name, body.name, source)
        return Answer(201, _out(await _asked(work)))

    async def replace(self, call: Call) -> Answer:
        """A new version."""
        body: TemplateIn = call.body
        source = Source(body.subject, body.text, body.html)
        control = self._control(call, lambda changed, inside: Answer(200, _out(changed)))
        work = control.change(call.caller.account.name, call.id, body.name, source)
        return Answer(200, _out(await _asked(work)))

    async def delete(self, call: Call) -> Answer:
        """One less."""
        control = self._control(call, lambda gone, inside: Answer(204) if gone else None)
        await _asked(control.remove(call.caller.account.name, call.id))
        return Answer(204)

    async def preview(self, call: Call) -> Answer:
        """A message that is not sent."""
        body: PreviewIn = call.body
        control = self._control(call)
        found = await _asked(control.get(call.caller.account.name, call.id, body.version))
        return _shown(await _asked(control.preview(found.version.source, body.variables)))

    async def preview_source(self, call: Call) -> Answer:
        """A message of a template that is not stored."""
        body: SourcePreviewIn = call.body
        source = Source(body.subject, body.text, body.html)
        return _shown(await _asked(self._control(call).preview(source, body.variables)))

    def _control(
        self, call: Call, told: Callable[[Any, Inside], Answer | None] = lambda done, inside: None
    ) -> TemplateControl:
        control = self.control(call.caller.actor("api"))
        return evolve(control, records=call.with_answer(control.records, told))


async def _asked(work: Awaitable[T]) -> T:
    """What ``work`` comes to.  Raises: Problem."""
    try:
        return await work
    except NoSuch as error:
        raise Problem(NO_SUCH, str(error).partition(":")[0]) from None
    except UnusableTemplate as error:
        variable = f".{error.variable}" if error.variable else ""
        raise Problem(INVALID_FIELD, str(error), error.field + variable) from None
    except Refusal as error:
        raise Problem(CONFLICT, str(error)) from None


def _row(one: Template) -> TemplateRow:
    at = time_at(one.created_at)
    return TemplateRow(id=one.id, name=one.name, version=one.version, created_at=at)


def _out(stored: StoredTemplate) -> TemplateOut:
    template, version = stored.template, stored.version
    return TemplateOut(
        id=template.id,
        name=template.name,
        version=version.version,
        created_at=time_at(template.created_at),
        changed_at=time_at(version.created_at),
        subject=version.source.subject,
        text=version.source.text,
        html=version.source.html,
    )


def _shown(made: Written) -> Answer:
    return Answer(200, PreviewOut(subject=made.subject, text=made.text, html=made.html))
