"""The directory's rows: the snapshot, and what changes it.  Each function is one unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from mailrelay.control.account import EndpointChange
from mailrelay.control.bootstrap import EVERYTHING_TO, POSTMASTER
from mailrelay.control.errors import AlreadyThere, InUse, NoSuch
from mailrelay.directory.model import Account, Directory, DMARCPolicy, Domain, MTASTSMode
from mailrelay.routing.relay_chains import ACCOUNT
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.alias_rows import load_aliases
from mailrelay.storage.call_rows import endpoint_of, standard_of
from mailrelay.storage.directory_keys import load_keys
from mailrelay.storage.dkim_rows import load_dkim_keys
from mailrelay.storage.peer_rows import load_peers
from mailrelay.storage.relay_rows import load_relay_rules, remove_relay_rules
from mailrelay.storage.rows import stored_address
from mailrelay.webhooks.call import Endpoint, EndpointKind
from mailrelay.webhooks.endpoint import STANDARD

_domain, _account, _address = tables.domain, tables.account, tables.address
_endpoint = tables.webhook_endpoint

NEWEST_ACCOUNT = "newest_account"
"""The highest id that an account was given: no later one gets it, nor what is left of it."""


def load(connection: Connection) -> Directory:
    """Everything at this moment."""
    enabled = select(_endpoint).where(_endpoint.c.disabled_at.is_(None))
    endpoints = connection.execute(enabled).all()
    called = {(row.account_id, row.kind) for row in endpoints}
    standard = [standard_of(row) for row in endpoints if row.kind == STANDARD]
    told = {endpoint.account_id for endpoint in standard if endpoint.wants_received}
    domains = {row.name: _domain_of(row) for row in connection.execute(select(_domain))}
    accounts = {
        row.id: Account(
            row.id,
            row.name,
            row.full_name,
            row.login_disabled,
            row.password_hash,
            row.scram_verifier,
            row.quota_bytes,
            row.messages_per_day,
            frozenset(msgspec.json.decode(row.from_id_logins or "[]")),
            row.retired_kept_for,
            row.calls_kept_for,
            bool({(row.id, EndpointKind.OUTGOING.value), (row.id, STANDARD)} & called),
            (row.id, EndpointKind.INCOMING.value) in called,
            row.new_recipients_per_day,
            row.id in told,
            _forward(row, confirmed=True),
            row.forward_keeps_copy,
            _forward(row, confirmed=False),
            row.totp is not None,
        )
        for row in connection.execute(select(_account))
    }
    addresses = {
        (row.localpart, row.domain): row.account_id for row in connection.execute(select(_address))
    }
    return Directory(
        domains,
        accounts,
        addresses,
        _account_setting(connection, POSTMASTER, accounts),
        _account_setting(connection, EVERYTHING_TO, accounts),
        keys={key.key_hash: key for key in load_keys(connection)},
        aliases=load_aliases(connection),
        peers=load_peers(connection),
        dkim_keys=load_dkim_keys(connection),
        relay_rules=load_relay_rules(connection),
    )


def _forward(row: Any, *, confirmed: bool) -> Address | None:
    """Where an account's mail goes, or would."""
    if row.forward_to is None or (row.forward_confirmed_at is not None) is not confirmed:
        return None
    return stored_address(row.forward_to)


def _account_setting(connection: Connection, name: str, accounts: dict[int, Account]) -> int | None:
    value = read_setting(connection, name)
    return int(value) if value is not None and int(value) in accounts else None


def read_setting(connection: Connection, name: str) -> str | None:
    """A setting kept in the database, None when unset."""
    setting = tables.setting
    value = connection.execute(select(setting.c.value).where(setting.c.name == name)).scalar()
    return str(value) if value is not None else None


def write_setting(connection: Connection, name: str, value: str) -> None:
    """Set a setting kept in the database."""
    setting = tables.setting
    changed = connection.execute(update(setting).where(setting.c.name == name).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(setting).values(name=name, value=value))


def _domain_of(row: Any) -> Domain:
    return Domain(
        row.id,
        row.name,
        row.separator,
        row.case_sensitive,
        row.disabled,
        DMARCPolicy(row.dmarc),
        MTASTSMode(row.mta_sts),
        row.mta_sts_changed_at,
    )


def add_domain(connection: Connection, domain: Domain) -> None:
    """Add a domain; its id is given here.  Raises: AlreadyThere."""
    if connection.execute(select(_domain.c.id).where(_domain.c.name == domain.name)).first():
        raise AlreadyThere(f"domain {domain.name} exists")
    connection.execute(
        insert(_domain).values(
            name=domain.name,
            separator=domain.separator,
            case_sensitive=domain.case_sensitive,
            disabled=domain.disabled,
            dmarc=domain.dmarc.value,
            mta_sts=domain.mta_sts.value,
        )
    )


def remove_domain(connection: Connection, name: str) -> None:
    """Remove a domain without addresses.  Raises: NoSuch, InUse."""
    used = connection.execute(
        select(func.count()).select_from(_address).where(_address.c.domain == name)
    ).scalar_one()
    if used:
        raise InUse(f"domain {name} has {used} addresses: remove them first")
    if any(domain == name for _, domain in load_aliases(connection)):
        raise InUse(f"domain {name} has aliases: mailrelay alias remove")
    connection.execute(delete(tables.dkim_key).where(tables.dkim_key.c.domain == name))
    if connection.execute(delete(_domain).where(_domain.c.name == name)).rowcount == 0:
        raise NoSuch(f"no domain {name}: mailrelay domain list")


def set_domain(connection: Connection, name: str, values: Mapping[str, object], now: float) -> None:
    """Change columns of a domain at ``now``.  Raises: NoSuch."""
    if "mta_sts" in values:
        values = {**values, "mta_sts_changed_at": now}
    plain = {key: one.value if isinstance(one, Enum) else one for key, one in values.items()}
    changed = connection.execute(update(_domain).where(_domain.c.name == name).values(plain))
    if changed.rowcount == 0:
        raise NoSuch(f"no domain {name}: mailrelay domain list")


def add_account(connection: Connection, name: str, values: Mapping[str, object]) -> int:
    """Add an account; its id.  Raises: AlreadyThere."""
    if connection.execute(select(_account.c.id).where(_account.c.name == name)).first():
        raise AlreadyThere(f"account {name} exists")
    newest = connection.execute(select(func.coalesce(func.max(_account.c.id), 0))).scalar_one()
    id_ = max(int(newest), int(read_setting(connection, NEWEST_ACCOUNT) or 0)) + 1
    write_setting(connection, NEWEST_ACCOUNT, str(id_))
    connection.execute(insert(_account).values(id=id_, name=name, **values))
    return id_


def account_id(connection: Connection, name: str) -> int:
    """The id of the account called ``name``.  Raises: NoSuch."""
    id_ = connection.execute(select(_account.c.id).where(_account.c.name == name)).scalar()
    if id_ is None:
        raise NoSuch(f"no account {name}: mailrelay account list")
    return int(id_)


def set_account(
    connection: Connection,
    name: str,
    values: Mapping[str, object],
    endpoints: Sequence[EndpointChange] = (),
) -> None:
    """Change columns and webhooks of an account.  Raises: NoSuch."""
    id_ = account_id(connection, name)
    if values:
        connection.execute(update(_account).where(_account.c.id == id_).values(values))
    for change in endpoints:
        if not _changed_endpoint(connection, id_, change):
            kind = change.kind.value
            raise NoSuch(f"account {name} has no {kind} webhook: --{kind}-webhook gives it one")


def _changed_endpoint(connection: Connection, id_: int, change: EndpointChange) -> bool:
    """Make ``change``; False when there is nothing to be changed."""
    where = (_endpoint.c.account_id == id_, _endpoint.c.kind == change.kind.value)
    if change.is_removed or change.url is not None:
        removed = connection.execute(delete(_endpoint).where(*where)).rowcount
        if change.url is None:
            return removed > 0
        made = {
            "account_id": id_,
            "kind": change.kind.value,
            "url": change.url,
            "authorization": change.authorization or "",
            "events": msgspec.json.encode(change.events or []).decode(),
            "has_every_event": bool(change.has_every_event),
        }
        connection.execute(insert(_endpoint).values(made))
        return True
    changed: dict[str, object] = {}
    if change.authorization is not None:
        changed["authorization"] = change.authorization
    if change.events is not None:
        changed["events"] = msgspec.json.encode(change.events).decode()
    if change.has_every_event is not None:
        changed["has_every_event"] = change.has_every_event
    return connection.execute(update(_endpoint).where(*where).values(changed)).rowcount > 0


def endpoints_of(connection: Connection, name: str) -> list[Endpoint]:
    """The webhooks of mox's kinds of the account called ``name``.  Raises: NoSuch."""
    wanted = select(_endpoint).where(_endpoint.c.account_id == account_id(connection, name))
    wanted = wanted.where(_endpoint.c.kind != STANDARD)
    return [endpoint_of(row) for row in connection.execute(wanted.order_by(_endpoint.c.id))]


def remove_account(connection: Connection, name: str) -> None:
    """Remove an account that has neither addresses nor messages, and all that is its own.

    What was sent for it stays visible until its retention ends.  Raises: NoSuch, InUse.
    """
    id_ = account_id(connection, name)
    box = tables.mailbox_message
    for table, what in ((_address, "addresses"), (box, "messages")):
        owned = connection.execute(
            select(func.count()).select_from(table).where(table.c.account_id == id_)
        ).scalar_one()
        if owned:
            raise InUse(f"account {name} has {owned} {what}: remove them first")
    sending = select(tables.peer.c.name).where(tables.peer.c.account_id == id_)
    if (peer := connection.execute(sending).scalar()) is not None:
        raise InUse(f"the mail of peer {peer} is of account {name}: mailrelay peer set {peer}")
    application = (_endpoint, tables.suppression, tables.api_key, tables.idempotency_key)
    for own in (*application, tables.mailbox, tables.hold_rule):
        connection.execute(delete(own).where(own.c.account_id == id_))
    connection.execute(delete(tables.sent_to).where(tables.sent_to.c.account_id == id_))
    _remove_templates(connection, id_)
    remove_relay_rules(connection, {f"{ACCOUNT}{name}"})
    connection.execute(delete(_account).where(_account.c.id == id_))


def _remove_templates(connection: Connection, account: int) -> None:
    template, version = tables.template, tables.template_version
    own = select(template.c.id).where(template.c.account_id == account)
    connection.execute(delete(version).where(version.c.template_id.in_(own)))
    connection.execute(delete(template).where(template.c.account_id == account))


def add_address(connection: Connection, localpart: str, domain: str, account: str) -> None:
    """Give ``account`` an address.  Raises: NoSuch, AlreadyThere."""
    if not connection.execute(select(_domain.c.id).where(_domain.c.name == domain)).first():
        raise NoSuch(f"no domain {domain}: add it first")
    id_ = account_id(connection, account)
    where = (_address.c.localpart == localpart, _address.c.domain == domain)
    if connection.execute(select(_address.c.id).where(*where)).first():
        raise AlreadyThere(f"address {localpart}@{domain} exists")
    if (localpart, domain) in load_aliases(connection):
        raise AlreadyThere(f"{localpart}@{domain} is an alias: mailrelay alias remove")
    connection.execute(insert(_address).values(account_id=id_, localpart=localpart, domain=domain))


def remove_address(connection: Connection, localpart: str, domain: str) -> None:
    """Take an address away.  Raises: NoSuch."""
    where = (_address.c.localpart == localpart, _address.c.domain == domain)
    if connection.execute(delete(_address).where(*where)).rowcount == 0:
        raise NoSuch(f"no address {localpart}@{domain}: mailrelay address list")


# Changes that running processes are told of


def tell(connection: Connection, at: float, kind: str, subject: object = None) -> None:
    """Record a change in the transaction that makes it; running processes read these rows."""
    connection.execute(
        insert(tables.change).values(
            at=at, kind=kind, subject=msgspec.json.encode(subject).decode()
        )
    )


def changes_after(connection: Connection, position: int) -> list[tuple[int, str]]:
    """Id and kind of the changes behind ``position``, in order."""
    change = tables.change
    rows = connection.execute(
        select(change.c.id, change.c.kind).where(change.c.id > position).order_by(change.c.id)
    )
    return [(row.id, row.kind) for row in rows]


def newest_change(connection: Connection) -> int:
    """The position of the last change, 0 when there is none."""
    return int(
        connection.execute(select(func.coalesce(func.max(tables.change.c.id), 0))).scalar_one()
    )


def record_audit(connection: Connection, at: float, actor: str, action: str, subject: str) -> None:
    """Who did what, in the transaction that did it."""
    connection.execute(
        insert(tables.audit).values(at=at, actor=actor, action=action, subject=subject)
    )
