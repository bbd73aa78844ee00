"""The whole directory read at once, and changed in steps: see control/apply.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, exists, insert, select
from twisted.internet.defer import Deferred

from mailrelay.control import steps
from mailrelay.control.declaring import ListedTemplate, Stored
from mailrelay.control.endpoints import ListedEndpoint
from mailrelay.storage import alias_rows as aliases
from mailrelay.storage import directory as rows
from mailrelay.storage import holds, keys, tables
from mailrelay.storage.call_rows import endpoint_of
from mailrelay.storage.database import Database
from mailrelay.storage.endpoints import load_endpoints
from mailrelay.templates.model import Source
from mailrelay.webhooks.call import Endpoint, EndpointKind


@frozen
class DatabaseDeclared:
    """DeclaredRecords over one database."""

    database: Database
    now: Callable[[], float]

    def load(self) -> Deferred[Stored]:
        """See DeclaredRecords."""
        return self.database.read(_load)

    def change(self, actor: str, wanted: Sequence[steps.DirectoryStep]) -> Deferred[None]:
        """See DeclaredRecords."""

        def work(connection: Connection) -> None:
            now = self.now()
            for step in wanted:
                if isinstance(step, steps.SetDomain):
                    rows.set_domain(connection, step.subject, step.values, now)
                else:
                    _TAKEN[type(step)](connection, step)
                rows.record_audit(connection, now, actor, step.action, step.subject)
            for kind in ("directory", "suppression", "holds"):  # accounts may have gone
                rows.tell(connection, now, kind)

        return self.database.write(work)


def _load(connection: Connection) -> Stored:
    endpoint, mailbox, message = tables.webhook_endpoint, tables.mailbox, tables.mailbox_message
    kinds = [kind.value for kind in (EndpointKind.OUTGOING, EndpointKind.INCOMING)]
    endpoints: dict[int, list[Endpoint]] = {}
    wanted = select(endpoint).where(endpoint.c.kind.in_(kinds)).order_by(endpoint.c.id)
    for row in connection.execute(wanted):
        endpoints.setdefault(row.account_id, []).append(endpoint_of(row))
    has_messages = exists().where(message.c.mailbox_id == mailbox.c.id)
    owners = connection.execute(select(mailbox.c.account_id).where(has_messages)).scalars()
    directory = rows.load(connection)
    names = {id_: account.name for id_, account in directory.accounts.items()}
    return Stored(
        directory,
        endpoints,
        holds.load(connection),
        frozenset(owners),
        [
            ListedEndpoint(one, names[one.account_id])
            for one in load_endpoints(connection).values()
            if one.account_id in names
        ],
        _templates(connection, names),
    )


def _templates(connection: Connection, names: Mapping[int, str]) -> list[ListedTemplate]:
    template, version = tables.template, tables.template_version
    newest = (version.c.template_id == template.c.id) & (version.c.version == template.c.version)
    columns = (template.c.account_id, template.c.id, template.c.name)
    parts = (version.c.subject, version.c.text, version.c.html)
    found = connection.execute(select(*columns, *parts).join(version, newest))
    return [
        ListedTemplate(names[owner], id_, name, Source(*source))
        for owner, id_, name, *source in found
        if owner in names
    ]


def _add_address(connection: Connection, step: steps.AddAddress) -> None:
    if step.is_moved:
        rows.remove_address(connection, step.localpart, step.domain)
    rows.add_address(connection, step.localpart, step.domain, step.account)


def _add_key(connection: Connection, step: steps.AddKey) -> None:
    values = keys.values_of(step.key) | {"account_id": rows.account_id(connection, step.account)}
    connection.execute(insert(tables.api_key).values(values))


_TAKEN: Mapping[type[Any], Callable[[Connection, Any], object]] = {
    steps.AddDomain: lambda c, s: rows.add_domain(c, s.domain),
    steps.RemoveDomain: lambda c, s: rows.remove_domain(c, s.subject),
    steps.AddAccount: lambda c, s: rows.add_account(c, s.subject, s.values),
    steps.SetAccount: lambda c, s: rows.set_account(c, s.subject, s.values, s.endpoints),
    steps.RemoveAccount: lambda c, s: rows.remove_account(c, s.subject),
    steps.AddAddress: _add_address,
    steps.RemoveAddress: lambda c, s: rows.remove_address(c, s.localpart, s.domain),
    steps.SetDuty: lambda c, s: rows.write_setting(
        c, s.subject, str(rows.account_id(c, s.account))
    ),
    steps.AddAlias: lambda c, s: aliases.add_alias(c, s.key, s.values, s.members),
    steps.SetAlias: lambda c, s: aliases.change_alias(c, s.key, s.values, s.removed, s.added),
    steps.RemoveAlias: lambda c, s: aliases.remove_alias(c, s.key),
    steps.AddKey: _add_key,
    steps.SetKey: lambda c, s: keys.set_key(c, s.key),
    steps.RemoveKey: lambda c, s: keys.remove_key(c, s.id),
}
