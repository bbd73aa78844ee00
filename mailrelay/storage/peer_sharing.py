"""Changes of suppression lists for peers: noted in the transaction that makes them.

Invariant: what a peer said, or what came of its own attempts, is not told to it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import msgspec
from attrs import frozen
from sqlalchemy import Connection, delete, false, insert, select, true, update
from twisted.internet.defer import Deferred

from mailrelay.control.peer_sharing import SharedChange
from mailrelay.directory.peers import PeerOptions, PeerProtocol
from mailrelay.observe.events import EventKind
from mailrelay.policy.suppression import SERVER, is_whole_domain
from mailrelay.smtp.reply import printable
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_peer, _event, _change = tables.peer, tables.event, tables.peer_suppression

MOST_REASON_CHARACTERS = 300
LATELY = 500
"""Events of an account among which its peers are looked for."""


@frozen
class DatabasePeerShares:
    """PeerShares over one database."""

    database: Database

    def untold(self, limit: int) -> Deferred[Sequence[SharedChange]]:
        """See PeerShares."""
        columns = (
            *(_change.c.peer_id, _change.c.address, _change.c.is_suppressed),
            *(_change.c.reason, _change.c.changed_at),
        )
        wanted = select(*columns).where(_change.c.is_told == false())
        wanted = wanted.order_by(_change.c.changed_at, _change.c.address).limit(limit)
        return self.database.read(lambda c: [SharedChange(*row) for row in c.execute(wanted)])

    def told(self, change: SharedChange) -> Deferred[None]:
        """See PeerShares."""
        this = (
            _change.c.peer_id == change.peer_id,
            _change.c.address == change.address,
            _change.c.changed_at == change.changed_at,
        )

        def work(connection: Connection) -> None:
            connection.execute(update(_change).where(*this).values(is_told=true()))

        return self.database.write(work)


def share(
    connection: Connection,
    account_id: int,
    address: str,
    at: float,
    *,
    is_suppressed: bool,
    reason: str = "",
    but: str = "",
    is_manual: bool = True,
) -> None:
    """Note a change of a list for those that the account hands mail to, ``but`` one by its name.

    Zotonic relays hear of what people block, address by address, and of nothing else.
    """
    is_for_sites = is_manual and not is_whole_domain(address)
    protocols = [one.value for one in PeerProtocol if one in _ALL or is_for_sites]
    for peer_id in _sharing(connection, account_id, but, protocols):
        own = (_change.c.peer_id == peer_id, _change.c.address == address)
        known = select(_change.c.is_suppressed).where(*own)
        if connection.execute(known).scalar() == is_suppressed:
            continue
        connection.execute(delete(_change).where(*own))
        connection.execute(
            insert(_change).values(
                peer_id=peer_id,
                address=address,
                is_suppressed=is_suppressed,
                reason=printable(reason, MOST_REASON_CHARACTERS),
                changed_at=at,
                is_told=False,
            )
        )


_ALL = (PeerProtocol.MAILRELAY,)


def _sharing(
    connection: Connection, account_id: int, but: str, protocols: Sequence[str]
) -> Iterator[int]:
    wanted = select(_peer.c.id, _peer.c.name, _peer.c.options).where(
        _peer.c.protocol.in_(protocols),
        _peer.c.url != "",
        _peer.c.disabled == false(),
    )
    rows = connection.execute(wanted).all()
    used = _used(connection, account_id) if rows and account_id != SERVER else frozenset()
    for row in rows:
        options = msgspec.json.decode(row.options, type=PeerOptions)
        if row.name == but or not options.shares_suppression:
            continue
        if account_id == SERVER or row.name in used:
            yield row.id


def _used(connection: Connection, account_id: int) -> AbstractSet[str]:
    """The names of peers that have had mail of the account lately."""
    lately = (
        select(_event.c.kind, _event.c.data)
        .where(_event.c.account_id == account_id)
        .order_by(_event.c.position.desc())
        .limit(LATELY)
    )
    handed_over = EventKind.HANDED_OVER.value
    found = [row.data for row in connection.execute(lately) if row.kind == handed_over]
    return {str(msgspec.json.decode(bytes(data)).get("peer", "")) for data in found}
