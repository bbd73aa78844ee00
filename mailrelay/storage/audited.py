"""What the stores of the directory share: a change tells running processes, and is audited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen
from sqlalchemy import Connection
from twisted.internet.defer import Deferred

from mailrelay.directory.model import Directory
from mailrelay.storage.database import Database
from mailrelay.storage.directory import load, record_audit, tell

T = TypeVar("T")


@frozen
class AuditedRecords:
    """A part of the directory in one database."""

    database: Database
    now: Callable[[], float]

    def load(self) -> Deferred[Directory]:
        """Everything now, as the Protocols of ``control/`` have it."""
        return self.database.read(load)

    def _change(
        self,
        actor: str,
        action: str,
        subject: str,
        work: Callable[[Connection], T],
        kinds: Sequence[str] = ("directory",),
    ) -> Deferred[T]:
        """Do ``work`` as ``actor``, and tell of it in the same transaction."""

        def change(connection: Connection) -> T:
            result = work(connection)
            now = self.now()
            for kind in kinds:
                tell(connection, now, kind, subject)
            record_audit(connection, now, actor, action, subject)
            return result

        return self.database.write(change)
