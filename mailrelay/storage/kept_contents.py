"""Contents that are kept after their messages ended, so that they can be sent again.

Only those of messages that failed, or were canceled, for a recipient; what is delivered costs
nothing more.  They go when their time is over, with their message at the latest, and before
anything else when the disk has no room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, or_, select, text, update

from mailrelay.queue.entry import Finished
from mailrelay.storage import tables
from mailrelay.storage.statements import Prepared

_content = tables.content

_keep = Prepared(
    update(_content)
    .where(_content.c.message_id == bindparam("b_id"))
    .where(or_(_content.c.kept_until.is_(None), _content.c.kept_until < bindparam("b_over")))
    .values(kept_until=bindparam("b_until")),
    ("b_until", "b_id", "b_over"),
)


def keep_failed(connection: Connection, finished: Iterable[Finished]) -> None:
    """Keep the contents of what ended so that they are wanted."""
    until = {
        one.event.message_id: one.content_kept_until
        for one in finished
        if one.content_kept_until is not None
    }
    for id_, at in until.items():
        keep_contents(connection, [id_], at)


def keep_contents(connection: Connection, message_ids: Iterable[int], until: float) -> None:
    """Keep them until then, if not longer already."""
    _keep.many(connection, [(until, id_, until) for id_ in sorted(message_ids)])


def release_contents(connection: Connection, now: float, limit: int) -> Sequence[int]:
    """The messages of up to ``limit`` contents whose time is over: they are not kept any more."""
    over = (
        select(_content.c.message_id)
        .where(text("kept_until IS NOT NULL"), _content.c.kept_until <= now)
        .order_by(_content.c.kept_until)
        .limit(limit)
    )
    ids = connection.execute(over).scalars().all()
    if ids:
        of = _content.c.message_id.in_(ids)
        connection.execute(update(_content).where(of).values(kept_until=None))
    return ids
