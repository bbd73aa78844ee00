"""SessionRecords (control/sessions.py) over Core."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Row, delete, insert, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.sessions import Session
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_session = tables.session
_ADMIN = 0


@frozen
class DatabaseSessions:
    """SessionRecords over one database."""

    database: Database

    def add(self, session: Session, ended_before: float) -> Deferred[None]:
        """See SessionRecords."""

        def work(connection: Connection) -> None:
            connection.execute(delete(_session).where(_session.c.seen_at < ended_before))
            connection.execute(
                insert(_session).values(
                    token_hash=session.token_hash,
                    account_id=session.account_id or _ADMIN,
                    credential_hash=session.credential_hash,
                    created_at=session.created_at,
                    seen_at=session.seen_at,
                    ip=session.ip,
                    agent=session.agent,
                )
            )

        return self.database.write(work)

    def find(self, token_hash: bytes) -> Deferred[Session | None]:
        """See SessionRecords."""

        def work(connection: Connection) -> Session | None:
            wanted = select(_session).where(_session.c.token_hash == token_hash)
            row = connection.execute(wanted).first()
            return None if row is None else session_of(row)

        return self.database.read(work)

    def seen(self, token_hash: bytes, at: float) -> Deferred[None]:
        """See SessionRecords."""
        wanted = update(_session).where(_session.c.token_hash == token_hash).values(seen_at=at)
        return self._executed(wanted)

    def remove(self, token_hash: bytes) -> Deferred[None]:
        """See SessionRecords."""
        return self._executed(delete(_session).where(_session.c.token_hash == token_hash))

    def remove_others(self, account_id: int | None, but: bytes) -> Deferred[int]:
        """See SessionRecords."""
        wanted = delete(_session).where(
            _session.c.account_id == (account_id or _ADMIN), _session.c.token_hash != but
        )
        return self.database.write(lambda c: int(c.execute(wanted).rowcount))

    def of(self, account_id: int | None) -> Deferred[list[Session]]:
        """See SessionRecords."""
        wanted = (
            select(_session)
            .where(_session.c.account_id == (account_id or _ADMIN))
            .order_by(_session.c.seen_at.desc())
        )
        return self.database.read(lambda c: [session_of(row) for row in c.execute(wanted)])

    def _executed(self, statement: Any) -> Deferred[None]:
        def work(connection: Connection) -> None:
            connection.execute(statement)

        return self.database.write(work)


def session_of(row: Row[Any]) -> Session:
    """A session as its row has it."""
    return Session(
        bytes(row.token_hash),
        row.account_id or None,
        bytes(row.credential_hash),
        row.created_at,
        row.seen_at,
        row.ip,
        row.agent,
    )
