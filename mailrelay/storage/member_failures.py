"""Failures of lists' members, counted in the transaction that records an outcome, and of reports.

- In a row counts what a member's own server answered for good: what never answered may be our own
  network.  A delivery ends the row.
- A report counts that came back to a path which we made for that member's copy (threat 14), once a
  day, and when the copy was sent after the last one counted: a path that others see is of no use
  twice.  Servers that report late take mail first, so that a delivery ends nothing before
  STALE_AFTER, in seconds, went by without a report.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import Connection, and_, case, func, or_, select, update

from mailrelay.message.member_path import MembersCopy
from mailrelay.observe.events import FAILING, EventKind, NewEvent
from mailrelay.queue.entry import Finished
from mailrelay.storage import tables

STALE_AFTER = 7 * 86400.0
REPORTED_EVERY = 86400.0

_alias, _member = tables.alias, tables.alias_member
_all = _member.c.failures + _member.c.late_failures


def after_members(connection: Connection, finished: Sequence[Finished]) -> list[NewEvent]:
    """The events of ``finished``, marked where a member failed as often as its alias allows."""
    return [
        one.event if one.member is None else _after(connection, one.event, *one.member)
        for one in finished
    ]


def _after(connection: Connection, event: NewEvent, alias_id: int, member: str) -> NewEvent:
    own = and_(_member.c.alias_id == alias_id, _member.c.address == member)
    if event.kind is EventKind.DELIVERED:
        is_recent = _member.c.late_failed_at > event.at - STALE_AFTER
        left = {"failures": 0, "late_failures": case((is_recent, _member.c.late_failures), else_=0)}
        failing = and_(own, or_(_member.c.failures > 0, _member.c.late_failures > 0))
        connection.execute(update(_member).where(failing).values(left))
    if event.kind is not EventKind.FAILED or not _is_for_good(event):
        return event
    raised = {"failures": _member.c.failures + 1, "failed_at": event.at}
    connection.execute(update(_member).where(own).values(raised))
    wanted = select(_all.label("failures"), _alias.c.removes_after)
    found = connection.execute(wanted.join(_alias, _alias.c.id == alias_id).where(own)).first()
    if found is None or found.removes_after is None or found.failures < found.removes_after:
        return event
    return evolve(event, data={**event.data, FAILING: alias_id})


def count_report(connection: Connection, of: MembersCopy, now: float) -> str | None:
    """Count a report; the member's address as it is listed when it has failed often enough.

    Where reports come that count no more, the answer is the same: it goes at the next one when it
    could not be taken off.
    """
    is_listed = func.lower(_member.c.address) == str(of.member).lower()
    own = and_(_member.c.alias_id == of.alias_id, is_listed)
    columns = (_member.c.address, _member.c.late_failed_at, _all.label("failures"))
    wanted = select(*columns, _alias.c.removes_after)
    found = connection.execute(wanted.join(_alias, _alias.c.id == of.alias_id).where(own)).first()
    if found is None or found.removes_after is None:
        return None
    last, failures = found.late_failed_at, found.failures
    if last is None or (of.sent_at > last and now - last >= REPORTED_EVERY):
        raised = {"late_failures": _member.c.late_failures + 1, "late_failed_at": now}
        connection.execute(update(_member).where(own).values(raised))
        failures += 1
    return found.address if failures >= found.removes_after else None


def _is_for_good(event: NewEvent) -> bool:
    return bool(event.data.get("answered")) and int(str(event.data.get("code", 0))) >= 500
