"""Nodes: every process that works on the queue, with its fencing epoch and heartbeat."""

from __future__ import annotations

from attrs import frozen
from sqlalchemy import Connection, delete, insert, select, update

from mailrelay.storage import tables


@frozen
class Node:
    """This process: guarded updates name both, so a claim of an earlier life matches nothing."""

    id: int
    epoch: int


def register(connection: Connection, name: str) -> Node:
    """Start a life of the node called ``name``: its epoch rises, its old claims are given up.

    What was out to it is not known to be.
    """
    node = tables.node
    raised = connection.execute(
        update(node)
        .where(node.c.name == name)
        # The counter moves too: who watches it must see that this life began, even a short one.
        .values(epoch=node.c.epoch + 1, heartbeat=node.c.heartbeat + 1)
    )
    if raised.rowcount == 0:
        connection.execute(insert(node).values(name=name, epoch=1, heartbeat=0))
    row = connection.execute(select(node.c.id, node.c.epoch).where(node.c.name == name)).one()
    _give_back(connection, row.id)
    _forget_alarms(connection, row.id)
    return Node(row.id, row.epoch)


def _forget_alarms(connection: Connection, node_id: int) -> None:
    alarm = tables.relay_alarm
    connection.execute(delete(alarm).where(alarm.c.node_id == node_id))


def _give_back(connection: Connection, node_id: int) -> int:
    """Give a node's claims of entries and calls up; how many there were."""
    freed = 0
    for claimed in (tables.entry, tables.call):
        given = connection.execute(
            update(claimed)
            .where(claimed.c.node_id == node_id, claimed.c.node_id != 0)
            .values(node_id=0, epoch=0)
        )
        freed += given.rowcount
    return freed


def step_setting(node_id: int) -> str:
    """Where a node notes a step of its clock that the stored times have not all moved by."""
    return f"clock_step {node_id}"


def beat(connection: Connection, own: Node) -> None:
    """Move this node's heartbeat counter."""
    node = tables.node
    connection.execute(
        update(node).where(node.c.id == own.id).values(heartbeat=node.c.heartbeat + 1)
    )


def heartbeats(connection: Connection) -> dict[int, int]:
    """Every node's counter by its id."""
    node = tables.node
    rows = connection.execute(select(node.c.id, node.c.heartbeat))
    return {row.id: row.heartbeat for row in rows}


def bury(connection: Connection, dead: int) -> int:
    """Give a dead node's claims back, and fence it; how many entries and calls came free."""
    node, setting = tables.node, tables.setting
    _forget_alarms(connection, dead)
    connection.execute(delete(setting).where(setting.c.name == step_setting(dead)))
    connection.execute(update(node).where(node.c.id == dead).values(epoch=node.c.epoch + 1))
    return _give_back(connection, dead)
