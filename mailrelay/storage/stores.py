"""All stores of one process, opened together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen
from sqlalchemy import Connection, func, select
from twisted.internet.interfaces import IDelayedCall

from mailrelay.directory.model import Directory
from mailrelay.net.threads import Executor
from mailrelay.policy.holds import HoldRule
from mailrelay.policy.suppression import Lists
from mailrelay.storage import holds, tables
from mailrelay.storage.calls import DatabaseCallStore
from mailrelay.storage.database import READ_CAP, Database, migrate, open_engine
from mailrelay.storage.directory import load, newest_change, read_setting, write_setting
from mailrelay.storage.endpoints import load_endpoints
from mailrelay.storage.group_commit import GroupCommit
from mailrelay.storage.ids import BLOCK, IdBlocks, take_ids
from mailrelay.storage.mailbox import DatabaseMailboxStore
from mailrelay.storage.nodes import Node, register
from mailrelay.storage.orphans import Orphans, spool_names
from mailrelay.storage.queue import DatabaseQueueStore
from mailrelay.storage.spool import FileSpool, RowSpool, Spool
from mailrelay.storage.statistics import DatabaseStatistics
from mailrelay.storage.suppression import everybody
from mailrelay.webhooks.endpoint import StandardEndpoint

SPOOL_FOLDER = "spool"
SECRET, SERVER_ID = "server_secret", "server_id"


@frozen
class Threads:
    """Where the stores' work runs, and what is told of it."""

    writer: Executor
    readers: Executor
    token: Callable[[], str]  # 32 hexadecimal digits, never the same
    committed: Callable[[int, float], None] = lambda size, seconds: None
    seconds: Callable[[], float] = lambda: 0.0
    later: Callable[[float, Callable[[], None]], IDelayedCall] | None = None
    read_cap: float = READ_CAP


@frozen
class Stores:
    """The database and what stands on it.  Used from the reactor thread."""

    database: Database
    node: Node
    ids: IdBlocks
    queue: DatabaseQueueStore
    mailboxes: DatabaseMailboxStore
    calls: DatabaseCallStore
    spool: Spool
    orphans: Orphans
    statistics: DatabaseStatistics
    directory: Directory  # at the moment of opening
    secret: bytes
    server_id: str  # of the installation, as peers see it in hops
    sent_before: list[tuple[int, int, int]]  # account, hour, recipients of the last day
    suppressed: Lists
    newest_change: int
    hold_rules: list[HoldRule]
    endpoints: Mapping[int, StandardEndpoint]


def open_database(url: str, data_dir: Path, threads: Threads) -> Database:
    """The database, migrated.  Blocks.  Raises: UnusableDatabase."""
    engine = open_engine(url, data_dir)
    migrate(engine)
    writer = GroupCommit(engine, threads.writer, threads.committed, threads.seconds, threads.later)
    return Database(engine, writer, threads.readers, threads.read_cap)


def make_spool(database: Database, data_dir: Path, threads: Threads, node: Node) -> Spool:
    """Where the database's large bodies are; ``node`` writes them."""
    names = spool_names(node, threads.token)
    if not database.is_sqlite:
        return RowSpool(database, names)
    folder = data_dir / SPOOL_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return FileSpool(folder, threads.readers, names)


def open_stores(url: str, data_dir: Path, node_name: str, threads: Threads, now: float) -> Stores:
    """Open everything as node ``node_name``; blocks, before anything is accepted.

    Raises: UnusableDatabase.
    """
    database = open_database(url, data_dir, threads)
    with database.engine.begin() as connection:
        node = register(connection, node_name)
        directory = load(connection)
        secret = server_secret(connection, threads.token)
        server_id = _made_once(connection, SERVER_ID, threads.token)
        sent = sent_since(connection, now - 86400.0)
        suppressed, change = everybody(connection), newest_change(connection)
        hold_rules = holds.load(connection)
        endpoints = load_endpoints(connection)
        first = take_ids(connection, BLOCK)
    spool = make_spool(database, data_dir, threads, node)
    ids = IdBlocks(database)
    ids.use(first)
    return Stores(
        database,
        node,
        ids,
        DatabaseQueueStore(database, ids, node, spool),
        DatabaseMailboxStore(database, ids),
        DatabaseCallStore(database, node),
        spool,
        Orphans(database, spool, threads.seconds),
        DatabaseStatistics(database),
        directory,
        secret,
        server_id,
        sent,
        suppressed,
        change,
        hold_rules,
        endpoints,
    )


def server_secret(connection: Connection, token: Callable[[], str]) -> bytes:
    """A key of the installation, made once."""
    return bytes.fromhex(_made_once(connection, SECRET, token))


def _made_once(connection: Connection, name: str, token: Callable[[], str]) -> str:
    """What the installation keeps under ``name``, random."""
    kept = read_setting(connection, name)
    if kept is None:
        kept = token()
        write_setting(connection, name, kept)
    return kept


def sent_since(connection: Connection, since: float) -> list[tuple[int, int, int]]:
    """Account, hour since the epoch, and recipients of what was submitted since then."""
    entry, message = tables.entry, tables.message
    hour = func.floor(message.c.received_at / 3600.0)
    rows = connection.execute(
        select(message.c.account_id, hour, func.count())
        .join(entry, entry.c.message_id == message.c.id)
        .where(message.c.account_id.is_not(None), message.c.received_at >= since)
        .group_by(message.c.account_id, hour)
    )
    return [(account, int(at), count) for account, at, count in rows]
