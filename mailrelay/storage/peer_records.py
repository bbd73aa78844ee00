"""Peers as ``control/`` asks for them: each change tells others, and is audited."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from sqlalchemy import Connection, delete, func, insert, or_, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.errors import AlreadyThere, InUse, NoSuch, Refusal
from mailrelay.control.peer_checks import PEER_FALLBACK
from mailrelay.control.peers import PeerState
from mailrelay.directory.peers import Peer, PeerKey
from mailrelay.storage import tables
from mailrelay.storage.audited import AuditedRecords
from mailrelay.storage.peer_rows import load_peers, stored_options

_peer, _key, _state = tables.peer, tables.peer_key, tables.peer_state


@frozen
class DatabasePeers(AuditedRecords):
    """PeerRecords over one database."""

    def states(self) -> Deferred[Mapping[int, PeerState]]:
        """See PeerRecords."""
        wanted = select(
            *(_state.c.peer_id, _state.c.alarm, _state.c.alarm_since, _state.c.last_contact_at)
        )

        def read(connection: Connection) -> Mapping[int, PeerState]:
            return {row[0]: PeerState(*row[1:]) for row in connection.execute(wanted)}

        return self.database.read(read)

    def add(self, actor: str, peer: Peer) -> Deferred[None]:
        """See PeerRecords."""
        return self._change(actor, "peer add", peer.name, lambda c: _add(c, peer))

    def set(self, actor: str, peer: Peer) -> Deferred[None]:
        """See PeerRecords."""
        return self._change(actor, "peer set", peer.name, lambda c: _set(c, peer))

    def add_key(
        self, actor: str, name: str, key: PeerKey, others_end_at: float, most: int
    ) -> Deferred[None]:
        """See PeerRecords."""
        direction = "ours" if key.is_ours else "theirs"
        return self._change(
            actor,
            "peer rotate",
            f"{name} {direction} {key.key_id}",
            lambda c: _rotate(c, name, key, others_end_at, most),
        )

    def remove(self, actor: str, name: str) -> Deferred[None]:
        """See PeerRecords."""
        return self._change(actor, "peer remove", name, lambda c: _remove(c, name))


def _add(connection: Connection, peer: Peer) -> None:
    if connection.execute(select(_peer.c.id).where(_peer.c.name == peer.name)).first():
        raise AlreadyThere(f"peer {peer.name} exists")
    made = insert(_peer).values(**_values(peer), name=peer.name, created_at=peer.created_at)
    id_ = int(connection.execute(made.returning(_peer.c.id)).scalar_one())
    connection.execute(insert(_state).values(peer_id=id_))
    for key in peer.keys:
        _add_key(connection, id_, key)


def _set(connection: Connection, peer: Peer) -> None:
    changed = update(_peer).where(_peer.c.name == peer.name).values(_values(peer))
    if connection.execute(changed).rowcount == 0:
        raise _no_such(peer.name)


def _values(peer: Peer) -> dict[str, object]:
    return {
        "protocol": peer.protocol.value,
        "url": peer.url,
        "callback_url": peer.callback_url,
        "account_id": peer.account_id,
        "disabled": peer.disabled,
        "options": stored_options(peer.options),
    }


def _add_key(connection: Connection, peer_id: int, key: PeerKey) -> None:
    same = select(_key.c.id).where(_key.c.key_id == key.key_id, _key.c.is_ours == key.is_ours)
    if key.is_ours:
        same = same.where(_key.c.peer_id == peer_id)
    if connection.execute(same).first():
        raise AlreadyThere(f"there is a key {key.key_id}: the other side makes another one")
    connection.execute(
        insert(_key).values(
            peer_id=peer_id,
            is_ours=key.is_ours,
            key_id=key.key_id,
            secret=key.secret,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )


def _rotate(
    connection: Connection, name: str, key: PeerKey, others_end_at: float, most: int
) -> None:
    id_ = _id(connection, name)
    own = (_key.c.peer_id == id_, _key.c.is_ours == key.is_ours)
    connection.execute(delete(_key).where(*own, _key.c.expires_at <= key.created_at))
    counted = connection.execute(select(func.count()).select_from(_key).where(*own)).scalar_one()
    if counted >= most:
        raise Refusal(f"{most} keys of {name} work: wait for one to end, or use --overlap 0")
    later = or_(_key.c.expires_at.is_(None), _key.c.expires_at > others_end_at)
    connection.execute(update(_key).where(*own, later).values(expires_at=others_end_at))
    _add_key(connection, id_, key)


def _remove(connection: Connection, name: str) -> None:
    id_ = _id(connection, name)
    for other in load_peers(connection).values():
        if other.options.fallback == f"{PEER_FALLBACK}{name}":
            raise InUse(f"peer {other.name} falls back to {name}: mailrelay peer set {other.name}")
    for table in (_key, _state):
        connection.execute(delete(table).where(table.c.peer_id == id_))
    connection.execute(delete(_peer).where(_peer.c.id == id_))


def _id(connection: Connection, name: str) -> int:
    found = connection.execute(select(_peer.c.id).where(_peer.c.name == name)).scalar()
    if found is None:
        raise _no_such(name)
    return int(found)


def _no_such(name: str) -> NoSuch:
    return NoSuch(f"no peer {name[:64]!r}: mailrelay peer list")
