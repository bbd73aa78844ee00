"""What handoff/ asks of the database: the end of a round, and what is put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen
from sqlalchemy import Connection, delete, select, update
from twisted.internet.defer import Deferred

from mailrelay.control.handed_in import NOBODY, SETTLED, Asked, Note, Standing
from mailrelay.mailbox.model import Incoming
from mailrelay.observe.events import EventKind, NewEvent
from mailrelay.queue.entry import Content, EntryState, Message, StoredAnswer
from mailrelay.queue.store import AnsweredBefore
from mailrelay.smtp.address import Address
from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.idempotency import find_answer, keep_answer
from mailrelay.storage.ids import IdBlocks
from mailrelay.storage.mailbox import deliver_all
from mailrelay.storage.queue import drop_unneeded_content, insert_events
from mailrelay.storage.rows import NEVER_AT_FIRST, content_row, message_row
from mailrelay.storage.spool import Spool
from mailrelay.storage.statements import Insert

_entry, _event, _key = tables.entry, tables.event, tables.idempotency_key

_insert_message = Insert(tables.message)
_insert_content = Insert(tables.content, but=NEVER_AT_FIRST)

BY = "handoff"


@frozen
class DatabaseRounds:
    """RoundStore over one database; what is given back is kept for ``kept_for`` seconds."""

    database: Database
    spool: Spool
    kept_for: float

    def settle(
        self, asked: Asked, round_: int, note: Note, now: float, *, at_once: bool = False
    ) -> Deferred[Standing]:
        """See RoundStore."""
        unneeded: list[str] = []

        def work(connection: Connection) -> Standing:
            unneeded.clear()
            rows = _entries(connection, note.message)
            if any(_waits(row, now, at_once=at_once) for row in rows):
                return Standing(waits=True)
            left = [row for row in rows if row.state == EntryState.READY]
            said = _said(connection, left) if left else None
            unneeded.extend(_give_back(connection, left, now, now + self.kept_for))
            _close(connection, asked, round_, _settled(note, rows, left), now)
            return Standing(given_back=said)

        def settled(standing: Standing) -> Standing:
            if unneeded:
                self.spool.remove(unneeded)
            return standing

        return self.database.write(work).addCallback(settled)


def _entries(connection: Connection, message_id: int) -> Sequence[Any]:
    wanted = select(_entry).where(_entry.c.message_id == message_id)
    return connection.execute(wanted.order_by(_entry.c.id)).all()


def _waits(row: Any, now: float, *, at_once: bool) -> bool:
    """Whether it is under attempt, or about to be."""
    if row.state != EntryState.READY:
        return False
    if row.node_id:
        return True
    return not at_once and row.attempts == 0 and row.next_attempt_at <= now


def _said(connection: Connection, left: Sequence[Any]) -> str:
    """What the first of them was last told."""
    wanted = (
        select(_event.c.data)
        .where(_event.c.message_id == left[0].message_id, _event.c.entry_id == left[0].id)
        .where(_event.c.kind == EventKind.DELAYED.value)
        .order_by(_event.c.position.desc())
        .limit(1)
    )
    found = connection.execute(wanted).first()
    return str(msgspec.json.decode(bytes(found.data)).get("reply", "")) if found else ""


def _give_back(
    connection: Connection, left: Sequence[Any], now: float, keep_until: float
) -> Sequence[str]:
    """Retire what was not delivered, without a report: the caller has it.  The freed names."""
    if not left:
        return ()
    ids = [row.id for row in left]
    change = (
        update(_entry)
        .where(_entry.c.id.in_(ids))
        .values(
            state=EntryState.RETIRED.value, keep_until=keep_until, outcome=EventKind.CANCELED.value
        )
    )
    connection.execute(change)
    insert_events(
        connection,
        [
            NewEvent(
                EventKind.CANCELED,
                now,
                row.message_id,
                row.id,
                row.account_id,
                {"by": BY, "recipient": row.alias or row.recipient},
            )
            for row in left
        ],
    )
    return drop_unneeded_content(connection, [left[0].message_id])


def _settled(note: Note, rows: Sequence[Any], left: Sequence[Any]) -> Note:
    """For whom nothing remains to be done, and who has it of those for whom something does."""
    open_ = {row.alias or row.recipient for row in left}
    done = [row for row in rows if row.state != EntryState.READY]
    served = [row.recipient for row in done if (row.alias or row.recipient) in open_]
    recipients = [one for one in note.recipients if one not in open_]
    return Note(note.message, recipients, served)


def _close(connection: Connection, asked: Asked, round_: int, note: Note, now: float) -> None:
    kept = asked.note(round_, SETTLED, note, now)
    if note.recipients or note.served:
        keep_answer(connection, kept)
    else:
        own = (_key.c.account_id == NOBODY, _key.c.key == kept.key)
        connection.execute(delete(_key).where(*own))


@frozen
class DatabaseQuarantine:
    """QuarantineStore over one database."""

    database: Database
    ids: IdBlocks

    def new_id(self) -> int:
        """See QuarantineStore."""
        return self.ids.new_id()

    def put_aside(
        self, account_id: int, mailbox: str, new: Message, content: Content, note: StoredAnswer
    ) -> Deferred[bool]:
        """See QuarantineStore."""
        incoming = Incoming(
            self.ids.new_id(),
            account_id,
            mailbox,
            new.id,
            None,
            None,
            Address("", ""),
            new.received_at,
            new.size_bytes,
            new.subject,
            b"",
        )

        def work(connection: Connection) -> bool:
            if find_answer(connection, note.account_id, note.key, new.received_at) is not None:
                raise AnsweredBefore(note.key)
            if not deliver_all(connection, [incoming])[0]:
                return False
            _insert_message.many(connection, [message_row(new)])
            _insert_content.many(connection, [content_row(new.id, content)])
            keep_answer(connection, note)
            return True

        return self.database.write(work)
