"""Templates as accounts and operators make and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.net.threads import Executor
from mailrelay.templates.model import (
    NAME,
    BadTemplate,
    CannotRender,
    Source,
    Template,
    Version,
    Written,
)
from mailrelay.templates.rendering import compiled, rendered


class UnusableTemplate(Refusal):
    """It cannot be stored, or filled; ``field`` is what is wrong, ``variable`` what is missing."""

    def __init__(self, field: str, text: str, variable: str = "") -> None:
        super().__init__(text)
        self.field, self.variable = field, variable


@frozen
class StoredTemplate:
    """A template and what it says in one of its versions."""

    template: Template
    version: Version


@frozen
class TemplateFilter:
    """Which templates of an account, by id."""

    account: str
    limit: int = 100
    after_id: int = 0


class TemplateRecords(Protocol):
    """The templates' rows.  Every change is audited as ``actor``'s.

    What is another account's is not there.  Methods fail with Refusal's kinds, NoSuch for an
    account or a template that is not there, and with StoreUnavailable.
    """

    def find(self, wanted: TemplateFilter) -> Deferred[Sequence[Template]]:
        """The templates, by id."""

    def get(
        self, account: str, which: int | str, version: int | None
    ) -> Deferred[StoredTemplate | None]:
        """That of an id or a name; in its newest version when none is named."""

    def versions(self, account: str, template_id: int) -> Deferred[Sequence[Version]]:
        """Those that are kept, newest first, without what they say."""

    def add(self, actor: str, account: str, name: str, source: Source) -> Deferred[StoredTemplate]:
        """A new template, of version 1."""

    def change(
        self, actor: str, account: str, template_id: int, name: str, source: Source
    ) -> Deferred[StoredTemplate]:
        """Another name, and a new version unless the newest says the same."""

    def remove(self, actor: str, account: str, template_id: int) -> Deferred[bool]:
        """Remove a template with all versions; False when it is not there."""


@frozen
class TemplateControl:
    """What may be asked of templates, and by whom it was.  Compiling and filling is a worker's."""

    records: TemplateRecords
    executor: Executor
    actor: str

    async def find(self, wanted: TemplateFilter) -> Sequence[Template]:
        """A page of an account's templates.  Raises: NoSuch."""
        return await self.records.find(wanted)

    async def get(
        self, account: str, which: int | str, version: int | None = None
    ) -> StoredTemplate:
        """A template.  Raises: NoSuch."""
        found = await self.records.get(account, which, version)
        if found is None:
            raise _no_such(account, which, version)
        return found

    async def versions(self, account: str, template_id: int) -> Sequence[Version]:
        """What was kept of a template.  Raises: NoSuch."""
        found = await self.records.versions(account, template_id)
        if not found:
            raise _no_such(account, template_id)
        return found

    async def add(self, account: str, name: str, source: Source) -> StoredTemplate:
        """A new template.  Raises: Refusal, UnusableTemplate."""
        await self.check(name, source)
        return await self.records.add(self.actor, account, name, source)

    async def change(
        self, account: str, template_id: int, name: str, source: Source
    ) -> StoredTemplate:
        """What a template says from now on.  Raises: Refusal, UnusableTemplate."""
        await self.check(name, source)
        return await self.records.change(self.actor, account, template_id, name, source)

    async def remove(self, account: str, template_id: int) -> None:
        """Remove a template.  Raises: NoSuch."""
        if not await self.records.remove(self.actor, account, template_id):
            raise _no_such(account, template_id)

    async def preview(self, source: Source, variables: Mapping[str, Any]) -> Written:
        """What ``source`` makes of ``variables``.  Raises: UnusableTemplate."""
        try:
            return await self.executor.run(_preview, source, variables)
        except BadTemplate as error:
            raise UnusableTemplate(error.part, str(error)) from None
        except CannotRender as error:
            raise UnusableTemplate("variables", str(error), error.variable) from None

    async def check(self, name: str, source: Source) -> None:
        """Raises: UnusableTemplate, when it cannot be stored."""
        if not NAME.fullmatch(name):
            said = "must be up to 100 of A-Z a-z 0-9 _ . : / @ + - and space, the first one no mark"
            raise UnusableTemplate("name", said)
        try:
            await self.executor.run(compiled, source)
        except BadTemplate as error:
            raise UnusableTemplate(error.part, str(error)) from None


def _preview(source: Source, variables: Mapping[str, Any]) -> Written:
    return rendered(compiled(source), variables)


def _no_such(account: str, which: int | str, version: int | None = None) -> NoSuch:
    of = "" if version is None else f" of version {version}"
    return NoSuch(f"no template {which}{of}: mailrelay template list {account}")
