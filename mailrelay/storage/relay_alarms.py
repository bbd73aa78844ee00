"""Alarms of relay hosts that are out: a node writes its own, operators read everybody's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailrelay.control.relay_alarms import RelayAlarm
from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.database import Database

_alarm, _node = tables.relay_alarm, tables.node
MOST_CHARACTERS = 1000


@frozen
class DatabaseRelayAlarms:
    """Alarms and RelayAlarmRecords over one database; what it writes is ``node_id``'s.

    An alarm that cannot be written is in the log, where it was said already.
    """

    database: Database
    node_id: int
    now: Callable[[], float]
    _log = Logger()

    def load(self) -> Deferred[Sequence[RelayAlarm]]:
        """See RelayAlarmRecords."""
        return self.database.read(_load)

    def raised(self, subject: str, reason: str) -> None:
        """See Alarms."""
        values = {
            "node_id": self.node_id,
            "subject": _storable(subject),
            "since": self.now(),
            "reason": _storable(reason),
        }

        def change(connection: Connection) -> None:
            self._remove(connection, subject)
            connection.execute(insert(_alarm).values(values))

        self._write(change)

    def cleared(self, subject: str) -> None:
        """See Alarms."""
        self._write(lambda connection: self._remove(connection, subject))

    def _remove(self, connection: Connection, subject: str) -> None:
        named = _alarm.c.subject == _storable(subject)
        connection.execute(delete(_alarm).where(_alarm.c.node_id == self.node_id, named))

    def _write(self, work: Callable[[Connection], object]) -> None:
        def failed(failure: Failure) -> None:
            failure.trap(StoreUnavailable)
            self._log.warn("an alarm cannot be written: {reason}", reason=str(failure.value))

        written = self.database.write(work).addErrback(failed)
        written.addErrback(lambda f: self._log.failure("an alarm cannot be written", f))


def _load(connection: Connection) -> list[RelayAlarm]:
    wanted = select(_node.c.name, _alarm.c.subject, _alarm.c.since, _alarm.c.reason)
    joined = wanted.join(_node, _node.c.id == _alarm.c.node_id)
    ordered = joined.order_by(_alarm.c.since, _alarm.c.subject)
    return [RelayAlarm(*row) for row in connection.execute(ordered)]


def _storable(text: str) -> str:
    return text.replace("\0", "?")[:MOST_CHARACTERS]
