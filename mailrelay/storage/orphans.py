"""Large bodies that no content names: what a crash left of them is removed, others' work is not.

A body's name begins with the life, a node and its epoch, that wrote it.  It is an orphan when no
content names it, when that life is over, and when both were so some time ago already: a process
that was taken for dead may yet commit.  That time is of the monotonic clock, so that no set clock
makes a young body old.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from sqlalchemy import Connection, select
from twisted.logger import Logger

from mailrelay.storage import tables
from mailrelay.storage.database import Database
from mailrelay.storage.nodes import Node
from mailrelay.storage.spool import UNFINISHED, Spool

LEFT_ALONE_FOR = 900.0
"""Seconds."""

_DIGITS = 6
_MASK = 16**_DIGITS - 1


def spool_names(node: Node, token: Callable[[], str]) -> Callable[[], str]:
    """What gives the bodies of this life their names: 32 hexadecimal digits."""
    return lambda: _life(node.id, node.epoch) + token()[2 * _DIGITS :]


def _life(node_id: int, epoch: int) -> str:
    return f"{node_id & _MASK:0{_DIGITS}x}{epoch & _MASK:0{_DIGITS}x}"


@define(eq=False)
class Orphans:
    """Removes them; ``seconds`` is the monotonic clock's."""

    database: Database
    spool: Spool
    seconds: Callable[[], float]
    left_alone_for: float = LEFT_ALONE_FOR
    _since: dict[str, float] = field(factory=dict, init=False)
    _log = Logger()

    async def sweep(self) -> None:
        """Look once.  Raises: StoreUnavailable."""
        there = await self.spool.names()
        # Asked after the list is made: what was finished meanwhile has its content by now.
        wanted = await self.database.read(_wanted)
        now = self.seconds()
        suspected = (name for name in there if not wanted(name.removesuffix(UNFINISHED)))
        self._since = {name: self._since.get(name, now) for name in suspected}
        orphans = [name for name, at in self._since.items() if now - at >= self.left_alone_for]
        if orphans:
            self._log.info("removing {count} bodies that a crash left", count=len(orphans))
            await self.spool.remove(orphans)


def _wanted(connection: Connection) -> Callable[[str], bool]:
    """Whether a content names a body, or the life that wrote it goes on."""
    node, column = tables.node, tables.content.c.spool_name
    rows = connection.execute(select(node.c.id, node.c.epoch))
    lives = {_life(id_, epoch) for id_, epoch in rows}
    named = set(connection.execute(select(column).where(column.is_not(None))).scalars())
    return lambda name: name in named or name[: 2 * _DIGITS] in lives
