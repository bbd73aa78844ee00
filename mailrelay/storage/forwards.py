"""ForwardRecords (control/forwarding.py) over Core."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from sqlalchemy import Connection, update
from twisted.internet.defer import Deferred

from mailrelay.control.forwarding import Forward
from mailrelay.directory.model import Directory
from mailrelay.queue.entry import NewMessage
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import load, record_audit, tell
from mailrelay.storage.ids import IdBlocks
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import insert_messages

_account = tables.account
_NOWHERE = {"forward_to": None, "forward_confirmed_at": None, "forward_keeps_copy": False}


@frozen
class DatabaseForwards:
    """ForwardRecords over one database, as one node."""

    database: Database
    ids: IdBlocks
    node: Node
    now: Callable[[], float]

    def load(self) -> Deferred[Directory]:
        """See ForwardRecords."""
        return self.database.read(load)

    def new_id(self) -> int:
        """See ForwardRecords."""
        return self.ids.new_id()

    def ask(
        self, actor: str, of: Forward, letter: NewMessage, *, keeps_copy: bool
    ) -> Deferred[None]:
        """See ForwardRecords."""
        values = {**_NOWHERE, "forward_to": str(of.address), "forward_keeps_copy": keeps_copy}

        def work(connection: Connection) -> None:
            where = _account.c.id == of.account_id
            connection.execute(update(_account).where(where).values(values))
            insert_messages(connection, [letter], self.node)
            self._told(connection, actor, "account forward", f"{of.account_id} {of.address}")
            tell(connection, self.now(), "queue")

        return self.database.write(work)

    def confirm(self, of: Forward, now: float) -> Deferred[bool]:
        """See ForwardRecords."""

        def work(connection: Connection) -> bool:
            where = (_account.c.id == of.account_id, _account.c.forward_to == str(of.address))
            changed = update(_account).where(*where).values(forward_confirmed_at=now)
            if connection.execute(changed).rowcount == 0:
                return False
            subject = f"{of.account_id} {of.address}"
            self._told(connection, str(of.address), "account forward confirm", subject)
            return True

        return self.database.write(work)

    def end(self, actor: str, account_id: int) -> Deferred[None]:
        """See ForwardRecords."""

        def work(connection: Connection) -> None:
            where = _account.c.id == account_id
            connection.execute(update(_account).where(where).values(_NOWHERE))
            self._told(connection, actor, "account forward end", str(account_id))

        return self.database.write(work)

    def _told(self, connection: Connection, actor: str, action: str, subject: str) -> None:
        tell(connection, self.now(), "directory", subject)
        record_audit(connection, self.now(), actor, action, subject)
