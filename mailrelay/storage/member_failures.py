"""Failures in a row of lists' members, counted in the transaction that records an outcome.

Only what a member's own server answered for good counts (threat 14): a DSN can be forged, and
what never answered may be our own network.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import Connection, and_, select, update

from mailrelay.observe.events import FAILING, EventKind, NewEvent
from mailrelay.queue.entry import Finished
from mailrelay.storage import tables

_alias, _member = tables.alias, tables.alias_member


def after_members(connection: Connection, finished: Sequence[Finished]) -> list[NewEvent]:
    """The events of ``finished``, marked where a member failed as often as its alias allows."""
    return [
        one.event if one.member is None else _after(connection, one.event, *one.member)
        for one in finished
    ]


def _after(connection: Connection, event: NewEvent, alias_id: int, member: str) -> NewEvent:
    own = and_(_member.c.alias_id == alias_id, _member.c.address == member)
    if event.kind is EventKind.DELIVERED:
        failing = and_(own, _member.c.failures > 0)
        connection.execute(update(_member).where(failing).values(failures=0))
    if event.kind is not EventKind.FAILED or not _is_for_good(event):
        return event
    raised = {"failures": _member.c.failures + 1, "failed_at": event.at}
    connection.execute(update(_member).where(own).values(raised))
    wanted = select(_member.c.failures, _alias.c.removes_after)
    found = connection.execute(wanted.join(_alias, _alias.c.id == alias_id).where(own)).first()
    if found is None or found.removes_after is None or found.failures < found.removes_after:
        return event
    return evolve(event, data={**event.data, FAILING: alias_id})


def _is_for_good(event: NewEvent) -> bool:
    return bool(event.data.get("answered")) and int(str(event.data.get("code", 0))) >= 500
