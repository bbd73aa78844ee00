"""Aliases' rows: the snapshot's part, and what changes it.  Each function is one unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from mailrelay.control.aliases import Member
from mailrelay.control.errors import AlreadyThere, NoSuch, Refusal
from mailrelay.directory.aliases import Alias, OnDisabled, Rewrite
from mailrelay.smtp.address import Address
from mailrelay.storage import tables

Key = tuple[str, str]
MOST_MEMBERS = 1000

_alias, _member, _address = tables.alias, tables.alias_member, tables.address


def load_aliases(connection: Connection) -> dict[Key, Alias]:
    """All of them, as they are looked up."""
    rows = connection.execute(select(_alias)).all()
    if not rows:
        return {}
    members: dict[int, list[Address]] = {}
    listed = select(_member).order_by(_member.c.alias_id, _member.c.address)
    for one in connection.execute(listed):
        members.setdefault(one.alias_id, []).append(Address.parse(one.address))
    return {(row.localpart, row.domain): _alias_of(row, members.get(row.id, ())) for row in rows}


def _alias_of(row: object, members: Sequence[Address]) -> Alias:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    return Alias(
        **{
            **values,
            "members": tuple(members),
            "on_disabled": OnDisabled(values["on_disabled"]),
            "rewrite": Rewrite(values["rewrite"]),
            "owner": Address.parse(values["owner"]) if values["owner"] else None,
            "posters": frozenset(map(Address.parse, msgspec.json.decode(values["posters"]))),
        }
    )


def stored_values(values: Mapping[str, object]) -> dict[str, object]:
    """Fields of an Alias as columns have them."""
    stored = dict(values)
    if "owner" in stored:
        stored["owner"] = str(stored["owner"] or "")
    if "posters" in stored:
        posters: frozenset[Address] = stored["posters"]  # type: ignore[assignment]
        stored["posters"] = msgspec.json.encode(sorted(map(str, posters))).decode()
    if "on_disabled" in stored:
        stored["on_disabled"] = OnDisabled(str(stored["on_disabled"])).value
    if "rewrite" in stored:
        stored["rewrite"] = Rewrite(str(stored["rewrite"])).value
    return stored


def add_alias(
    connection: Connection, key: Key, values: Mapping[str, object], members: Sequence[Address]
) -> None:
    """Make an alias.  Raises: AlreadyThere."""
    localpart, domain = key
    for table, noun in ((_alias, "alias"), (_address, "address")):
        where = (table.c.localpart == localpart, table.c.domain == domain)
        if connection.execute(select(table.c.id).where(*where)).first():
            raise AlreadyThere(f"{noun} {localpart}@{domain} exists")
    row = {"localpart": localpart, "domain": domain, **stored_values(values)}
    connection.execute(insert(_alias).values(row))
    add_members(connection, key, members)


def set_alias(connection: Connection, key: Key, values: Mapping[str, object]) -> None:
    """Change columns.  Raises: NoSuch."""
    id_ = _id(connection, key)
    connection.execute(update(_alias).where(_alias.c.id == id_).values(stored_values(values)))


def change_alias(
    connection: Connection,
    key: Key,
    values: Mapping[str, object],
    removed: Sequence[Address],
    added: Sequence[Address],
) -> None:
    """Change columns and the list; somebody is in it after.  Raises: NoSuch, Refusal."""
    id_ = _id(connection, key)
    if values:
        set_alias(connection, key, values)
    for member in map(str, removed):
        own = (_member.c.alias_id == id_, _member.c.address == member)
        connection.execute(delete(_member).where(*own))
    if added:
        add_members(connection, key, added)


def remove_alias(connection: Connection, key: Key) -> None:
    """Remove an alias and its list.  Raises: NoSuch."""
    id_ = _id(connection, key)
    connection.execute(delete(_member).where(_member.c.alias_id == id_))
    connection.execute(delete(_alias).where(_alias.c.id == id_))


def add_members(connection: Connection, key: Key, members: Sequence[Address]) -> None:
    """List more members, all of them or none.  Raises: NoSuch, AlreadyThere, Refusal."""
    id_ = _id(connection, key)
    wanted = select(_member.c.address).where(_member.c.alias_id == id_)
    there = set(connection.execute(wanted).scalars())
    for member in map(str, members):
        if member in there:
            raise AlreadyThere(f"{member} is a member")
        there.add(member)
    if len(there) > MOST_MEMBERS:
        raise Refusal(f"an alias has at most {MOST_MEMBERS} members: nest aliases for more")
    rows = [{"alias_id": id_, "address": str(member)} for member in members]
    connection.execute(insert(_member), rows)


def remove_members(connection: Connection, key: Key, members: Sequence[Address]) -> None:
    """Take members off the list; one at least stays.  Raises: NoSuch, Refusal."""
    id_ = _id(connection, key)
    own = _member.c.alias_id == id_
    for member in map(str, members):
        gone = connection.execute(delete(_member).where(own, _member.c.address == member))
        if gone.rowcount == 0:
            raise NoSuch(f"{member} is no member of {key[0]}@{key[1]}")
    if connection.execute(select(_member.c.address).where(own)).first() is None:
        raise Refusal("an alias has one member at least: mailrelay alias remove")


def members_of(connection: Connection, key: Key) -> Sequence[Member]:
    """Who is listed, and whose mail fails.  Raises: NoSuch."""
    wanted = select(_member).where(_member.c.alias_id == _id(connection, key))
    return [
        Member(
            Address.parse(row.address),
            row.failures + row.late_failures,
            max((at for at in (row.failed_at, row.late_failed_at) if at), default=None),
        )
        for row in connection.execute(wanted.order_by(_member.c.address))
    ]


def _id(connection: Connection, key: Key) -> int:
    """Raises: NoSuch."""
    where = (_alias.c.localpart == key[0], _alias.c.domain == key[1])
    found = connection.execute(select(_alias.c.id).where(*where)).scalar()
    if found is None:
        raise NoSuch(f"no alias {key[0]}@{key[1]}: mailrelay alias list")
    return int(found)
