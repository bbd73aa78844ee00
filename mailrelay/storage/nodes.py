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
    """Start a life of the node called ``name``: its epoch rises, its old claims are given up."""
    node, entry = tables.node, tables.entry
    raised = connection.execute(
        update(node)
        .where(node.c.name == name)
        # The counter moves too: who watches it must see that this life began, even a short one.
        .values(epoch=node.c.epoch + 1, heartbeat=node.c.heartbeat + 1)
    )
    if raised.rowcount == 0:
        connection.execute(insert(node).values(name=name, epoch=1, heartbeat=0))
    row = connection.execute(select(node.c.id, node.c.epoch).where(node.c.name == name)).one()
    connection.execute(
        update(entry)
        .where(entry.c.node_id == row.id, entry.c.node_id != 0)
        .values(node_id=0, epoch=0)
    )
    return Node(row.id, row.epoch)


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
    """Give a dead node's claims back, and fence it; how many entries came free."""
    node, entry, setting = tables.node, tables.entry, tables.setting
    connection.execute(delete(setting).where(setting.c.name == step_setting(dead)))
    connection.execute(update(node).where(node.c.id == dead).values(epoch=node.c.epoch + 1))
    freed = connection.execute(
        update(entry)
        .where(entry.c.node_id == dead, entry.c.node_id != 0)
        .values(node_id=0, epoch=0)
    )
    return freed.rowcount
