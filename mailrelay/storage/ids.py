"""Ids in blocks: unique across nodes, handed out without a round trip."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update
from twisted.logger import Logger

from mailrelay.queue.store import StoreUnavailable
from mailrelay.storage import tables
from mailrelay.storage.database import Database

BLOCK = 2000


class IdBlocks:
    """Hands out ids; fetches the next block when half of the current one is gone."""

    _log = Logger()

    def __init__(self, database: Database, block: int = BLOCK) -> None:
        self._database, self._block = database, block
        self._next, self._end = 0, 0
        self._reserve: tuple[int, int] | None = None
        self._fetching = False

    def use(self, first: int) -> None:
        """Begin with the block that starts at ``first``, taken with ``take_ids``."""
        self._next, self._end = first, first + self._block

    def new_id(self) -> int:
        """An id never given before.

        Raises: StoreUnavailable when two blocks are used up and no third could be fetched.
        """
        if self._next >= self._end:
            if self._reserve is None:
                self._fetch()
                raise StoreUnavailable("no ids left: the store does not answer")
            (self._next, self._end), self._reserve = self._reserve, None
        given = self._next
        self._next += 1
        if self._reserve is None and self._end - self._next < self._block // 2:
            self._fetch()
        return given

    def _fetch(self) -> None:
        if self._fetching:
            return
        self._fetching = True
        fetched = self._database.write(lambda c: take_ids(c, self._block))

        def keep(first: int) -> None:
            self._reserve = (first, first + self._block)

        def ended(result: object) -> object:
            self._fetching = False
            return result

        fetched.addBoth(ended)
        fetched.addCallbacks(keep, self._failed)

    def _failed(self, failure: object) -> None:
        self._log.warn("no new ids could be fetched", failure=failure)


def take_ids(connection: Connection, count: int) -> int:
    """The first of ``count`` ids that are the caller's from the commit on."""
    block = tables.id_block
    raised = connection.execute(
        update(block).where(block.c.name == "id").values(next=block.c.next + count)
    )
    if raised.rowcount == 0:
        connection.execute(insert(block).values(name="id", next=1 + count))
    end = connection.execute(select(block.c.next).where(block.c.name == "id")).scalar_one()
    return int(end) - count
