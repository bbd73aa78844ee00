"""Templates' rows: one for each, one for each version of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, delete, func, insert, literal, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.control.templates import StoredTemplate, TemplateFilter
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import account_id, record_audit
from mailrelay.templates.model import (
    MOST_KEPT_CHARACTERS,
    MOST_TEMPLATES,
    MOST_VERSIONS,
    Source,
    Template,
    Version,
)

_template, _version = tables.template, tables.template_version


@frozen
class DatabaseTemplateRecords:
    """TemplateRecords over one database."""

    database: Database
    now: Callable[[], float]

    def find(self, wanted: TemplateFilter) -> Deferred[Sequence[Template]]:
        """See TemplateRecords."""

        def work(connection: Connection) -> Sequence[Template]:
            own = account_id(connection, wanted.account)
            page = (
                select(_template)
                .where(_template.c.account_id == own, _template.c.id > wanted.after_id)
                .order_by(_template.c.id)
                .limit(wanted.limit)
            )
            return [_template_of(row) for row in connection.execute(page)]

        return self.database.read(work)

    def get(
        self, account: str, which: int | str, version: int | None
    ) -> Deferred[StoredTemplate | None]:
        """See TemplateRecords."""

        def work(connection: Connection) -> StoredTemplate | None:
            found = _found(connection, account_id(connection, account), which)
            return None if found is None else _stored(connection, found, version)

        return self.database.read(work)

    def versions(self, account: str, template_id: int) -> Deferred[Sequence[Version]]:
        """See TemplateRecords."""

        def work(connection: Connection) -> Sequence[Version]:
            if _found(connection, account_id(connection, account), template_id) is None:
                return []
            columns = (_version.c.template_id, _version.c.version, _version.c.created_at)
            wanted = select(*columns).where(_version.c.template_id == template_id)
            rows = connection.execute(wanted.order_by(_version.c.version.desc()))
            return [Version(row.template_id, row.version, row.created_at, Source()) for row in rows]

        return self.database.read(work)

    def add(self, actor: str, account: str, name: str, source: Source) -> Deferred[StoredTemplate]:
        """See TemplateRecords."""

        def work(connection: Connection) -> StoredTemplate:
            own, now = account_id(connection, account), self.now()
            counted = select(func.count()).where(_template.c.account_id == own)
            if connection.execute(counted).scalar_one() >= MOST_TEMPLATES:
                raise Refusal(f"the account has {MOST_TEMPLATES} templates: remove one")
            _check_name(connection, own, name)
            values = {"account_id": own, "name": name, "created_at": now, "version": 1}
            made = connection.execute(insert(_template).values(values).returning(_template.c.id))
            template = Template(int(made.scalar_one()), own, name, now, 1)
            stored = _write_version(connection, template, source, now)
            record_audit(connection, now, actor, "template add", f"{account} {name}")
            return stored

        return self.database.write(work)

    def change(
        self, actor: str, account: str, template_id: int, name: str, source: Source
    ) -> Deferred[StoredTemplate]:
        """See TemplateRecords."""

        def work(connection: Connection) -> StoredTemplate:
            own, now = account_id(connection, account), self.now()
            found = _found(connection, own, template_id)
            newest = None if found is None else _stored(connection, found, None)
            if found is None or newest is None:
                raise NoSuch(f"no template {template_id}: mailrelay template list {account}")
            if name != found.name:
                _check_name(connection, own, name)
            is_new = newest.version.source != source
            if not is_new and name == found.name:
                return newest
            number = found.version + is_new
            where = _template.c.id == template_id
            connection.execute(update(_template).where(where).values(name=name, version=number))
            changed = Template(found.id, own, name, found.created_at, number)
            record_audit(connection, now, actor, "template set", f"{account} {name}")
            if not is_new:
                return StoredTemplate(changed, newest.version)
            return _write_version(connection, changed, source, now)

        return self.database.write(work)

    def remove(self, actor: str, account: str, template_id: int) -> Deferred[bool]:
        """See TemplateRecords."""

        def work(connection: Connection) -> bool:
            found = _found(connection, account_id(connection, account), template_id)
            if found is None:
                return False
            connection.execute(delete(_version).where(_version.c.template_id == found.id))
            connection.execute(delete(_template).where(_template.c.id == found.id))
            record_audit(
                connection, self.now(), actor, "template remove", f"{account} {found.name}"
            )
            return True

        return self.database.write(work)


def _template_of(row: Row[Any]) -> Template:
    return Template(row.id, row.account_id, row.name, row.created_at, row.version)


def _found(connection: Connection, account: int, which: int | str) -> Template | None:
    column = _template.c.id if isinstance(which, int) else _template.c.name
    wanted = select(_template).where(_template.c.account_id == account, column == which)
    row = connection.execute(wanted).first()
    return None if row is None else _template_of(row)


def _stored(connection: Connection, found: Template, version: int | None) -> StoredTemplate | None:
    number = found.version if version is None else version
    wanted = select(_version).where(
        _version.c.template_id == found.id, _version.c.version == number
    )
    row = connection.execute(wanted).first()
    if row is None:
        return None
    source = Source(row.subject, row.text, row.html)
    return StoredTemplate(found, Version(found.id, row.version, row.created_at, source))


def _check_name(connection: Connection, account: int, name: str) -> None:
    if _found(connection, account, name) is not None:
        raise AlreadyThere(f"the account has a template {name}")


def _write_version(
    connection: Connection, template: Template, source: Source, now: float
) -> StoredTemplate:
    values = {
        "template_id": template.id,
        "version": template.version,
        "created_at": now,
        "subject": source.subject,
        "text": source.text,
        "html": source.html,
    }
    connection.execute(insert(_version).values(values))
    _remove_oldest(connection, template)
    return StoredTemplate(template, Version(template.id, template.version, now, source))


def _remove_oldest(connection: Connection, template: Template) -> None:
    """Keep as many versions as may be kept, and the newest in any case."""
    of_template = _version.c.template_id == template.id
    parts = (_version.c.subject, _version.c.text, _version.c.html)
    size = sum((func.length(part) for part in parts), start=literal(0))
    kept = select(_version.c.version, size).where(of_template).order_by(_version.c.version.desc())
    total = 0
    for count, (version, characters) in enumerate(connection.execute(kept).all()):
        total += int(characters)
        if count >= MOST_VERSIONS or (count and total > MOST_KEPT_CHARACTERS):
            connection.execute(delete(_version).where(of_template, _version.c.version <= version))
            return
