"""MemberRecords (control/membership.py) over Core."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from sqlalchemy import Connection, and_, delete, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.membership import Leaving, Left, Reason
from mailrelay.message.member_path import MembersCopy
from mailrelay.observe.events import NewEvent
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.directory import record_audit, tell
from mailrelay.storage.member_failures import count_report
from mailrelay.storage.nodes import Node
from mailrelay.storage.queue import insert_messages
from mailrelay.storage.rows import stored_address

_alias, _member = tables.alias, tables.alias_member


@frozen
class DatabaseMembers:
    """MemberRecords over one database.  ``committed`` is told of what was recorded."""

    database: Database
    node: Node
    now: Callable[[], float]
    committed: Callable[[Sequence[NewEvent]], None]

    def leave(self, leaving: Leaving) -> Deferred[Left]:
        """See MemberRecords."""

        def work(connection: Connection) -> Left:
            left = _left(connection, leaving)
            notice = leaving.notices.get(left)
            if notice is not None:
                insert_messages(connection, [notice], self.node)
            if left is not Left.NOT_THERE:
                self._note(connection, leaving, left)
            return left

        def done(left: Left) -> Left:
            if left in leaving.notices:
                self.committed(leaving.notices[left].events)
            return left

        return self.database.write(work).addCallback(done)

    def reported(self, of: MembersCopy) -> Deferred[Address | None]:
        """See MemberRecords."""
        now = self.now()

        def work(connection: Connection) -> Address | None:
            found = count_report(connection, of, now)
            return None if found is None else stored_address(found)

        return self.database.write(work)

    def _note(self, connection: Connection, leaving: Leaving, left: Left) -> None:
        localpart, domain = leaving.alias
        subject, now = f"{localpart}@{domain} {leaving.member}", self.now()
        action = "alias members remove" if left is Left.TAKEN_OFF else "alias last member"
        record_audit(connection, now, leaving.reason.value, action, subject)
        tell(connection, now, "directory", subject)


def _left(connection: Connection, leaving: Leaving) -> Left:
    localpart, domain = leaving.alias
    here = and_(_alias.c.localpart == localpart, _alias.c.domain == domain)
    alias = connection.execute(select(_alias.c.id, _alias.c.removes_after).where(here)).first()
    if alias is None:
        return Left.NOT_THERE
    own = and_(_member.c.alias_id == alias.id, _member.c.address == str(leaving.member))
    counted = _member.c.failures + _member.c.late_failures
    failures = connection.execute(select(counted).where(own)).scalar()
    if failures is None:
        return Left.NOT_THERE
    is_failing = alias.removes_after is not None and failures >= alias.removes_after
    if leaving.reason is Reason.FAILURES and not is_failing:
        return Left.NOT_THERE
    listed = select(_member.c.address).where(_member.c.alias_id == alias.id).limit(2)
    if len(connection.execute(listed).all()) > 1:
        connection.execute(delete(_member).where(own))
        return Left.TAKEN_OFF
    if leaving.reason is Reason.LINK:
        connection.execute(update(_alias).where(here).values(disabled=True))
    else:  # told again after as many failures more
        connection.execute(update(_member).where(own).values(failures=0, late_failures=0))
    return Left.LAST
