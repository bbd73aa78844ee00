"""Hot statements: made with Core, compiled once per dialect, run as text with tuples, list-wise.

Measured: ``execute(insert, dicts)`` costs 26 microseconds a message over the raw driver, text 4.
And sqlite3 gives the interpreter lock up for every row of an ``executemany``: beside a busy
reactor thread each row then waits up to 0.3 ms to have it back.  So many rows go in one statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import Executable

_DIALECTS: dict[str, Any] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="format"),
}

ROWS_PER_STATEMENT = 64
"""At the most; each count is a text of its own, and the driver keeps them all prepared."""

Row = tuple[Any, ...]


def cursor_of(connection: Connection) -> Any:
    """A cursor of the driver's.  Core's transaction is under way already."""
    return connection.connection.cursor()


def chunked(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """``rows`` in runs of ROWS_PER_STATEMENT."""
    starts = range(0, len(rows), ROWS_PER_STATEMENT)
    return (rows[at : at + ROWS_PER_STATEMENT] for at in starts)


class Prepared:
    """One statement; ``parameters`` names what each tuple holds, in the statement's order."""

    def __init__(self, statement: Executable, parameters: Sequence[str]) -> None:
        self._statement, self.parameters = statement, tuple(parameters)
        self._texts: dict[str, str] = {}

    def text(self, connection: Connection) -> str:
        """The statement in the connection's dialect."""
        name = connection.dialect.name
        text = self._texts.get(name)
        if text is None:
            compiled: Any = self._statement.compile(dialect=_DIALECTS[name])  # type: ignore[attr-defined]
            order = tuple(compiled.positiontup)
            if order != self.parameters:
                raise TypeError(f"parameters are {order}, not {self.parameters}")
            text = self._texts[name] = str(compiled)
        return text

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for every row; which of them matched is not told."""
        if rows:
            cursor_of(connection).executemany(self.text(connection), rows)

    def rows(self, connection: Connection, row: Row) -> list[Row]:
        """Run it once and fetch everything."""
        cursor = cursor_of(connection)
        cursor.execute(self.text(connection), row)
        found: list[Row] = cursor.fetchall()
        return found


class Insert:
    """An INSERT of ``columns``, all of the table's in their order by default, ``but`` those."""

    def __init__(
        self,
        table: Table,
        columns: Sequence[str] | None = None,
        *,
        but: AbstractSet[str] = frozenset(),
    ) -> None:
        names = columns or [column.name for column in table.columns if column.name not in but]
        # inline: a RETURNING for the key could not stand behind each of many rows.
        statement = insert(table).inline().values({n: bindparam(n) for n in names})
        self._one = Prepared(statement, names)
        self._texts: dict[tuple[str, int], str] = {}

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert every row."""
        cursor = cursor_of(connection) if rows else None
        for chunk in chunked(rows):
            assert cursor is not None
            cursor.execute(
                self._text(connection, len(chunk)), [value for row in chunk for value in row]
            )

    def _text(self, connection: Connection, count: int) -> str:
        key = (connection.dialect.name, count)
        text = self._texts.get(key)
        if text is None:
            head, values, row = self._one.text(connection).partition("VALUES ")
            text = self._texts[key] = head + values + ", ".join([row] * count)
        return text


class KeyedUpdate:
    """An UPDATE of rows by their key, each with values of its own, several in one statement.

    ``key`` and ``sets`` have the type of each column; a row is a key and then its values.
    """

    def __init__(self, table: str, key: Mapping[str, str], sets: Mapping[str, str]) -> None:
        self._types = (*key.values(), *sets.values())
        set_ = ", ".join(f"{name} = v.column{i}" for i, name in enumerate(sets, len(key) + 1))
        same = (f"{table}.{name} = v.column{i}" for i, name in enumerate(key, 1))
        self._head = f"UPDATE {table} SET {set_} FROM (VALUES "
        self._tail = f") AS v WHERE {' AND '.join(same)}"

    def many(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Update every row that is there; keys are different from each other."""
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        row = f"({', '.join(f'CAST({mark} AS {type_})' for type_ in self._types)})"
        for chunk in chunked(rows):
            text = self._head + ", ".join([row] * len(chunk)) + self._tail
            cursor_of(connection).execute(text, [value for one in chunk for value in one])


class GuardedUpdate:
    """An UPDATE by id of rows that satisfy a guard, which says for each whether it did.

    ``sets`` is SQL in which ``{0}``, ``{1}``, ... are the values of a row, of which the first is
    the id; ``guard`` holds one ``{}``, for a number that all rows share and that is trusted.
    """

    def __init__(self, table: str, sets: str, guard: str, types: Sequence[str]) -> None:
        self._table, self._sets, self._guard, self._types = table, sets, guard, types
        self._texts: dict[tuple[str, int], str] = {}

    def run(self, connection: Connection, rows: Sequence[Row], **trusted: int) -> list[bool]:
        """Update; which rows matched.  Ids are different from each other."""
        if not rows:
            return []
        guard = self._guard.format(**trusted)
        if connection.dialect.name == "postgresql":
            return self._each(connection, rows, guard)
        matching = self.matching(connection, [row[0] for row in rows], **trusted)
        cursor = cursor_of(connection)
        for chunk in chunked([row for row in rows if row[0] in matching]):
            cursor.execute(self._bulk(len(chunk)), [value for row in chunk for value in row])
        return [row[0] in matching for row in rows]

    def matching(
        self, connection: Connection, ids: Sequence[int], **trusted: int
    ) -> AbstractSet[int]:
        """Which of ``ids`` satisfy the guard, and do so until the transaction ends."""
        guard = self._guard.format(**trusted)
        cursor = cursor_of(connection)
        if connection.dialect.name == "postgresql":
            asked = f"SELECT id FROM {self._table} WHERE id = ANY(%s) AND {guard} FOR UPDATE"
            cursor.execute(asked, (list(ids),))
            return {row[0] for row in cursor.fetchall()}
        # The write lock is ours since BEGIN IMMEDIATE.
        asked = (
            f"SELECT group_concat(id) FROM {self._table} WHERE id IN"
            f" (SELECT value FROM json_each(?)) AND {guard}"
        )
        cursor.execute(asked, (json.dumps(list(ids)),))
        [(found,)] = cursor.fetchall()
        return {int(id_) for id_ in found.split(",")} if found else set()

    def _bulk(self, count: int) -> str:
        text = self._texts.get(("bulk", count))
        if text is None:
            sets = self._sets.format(*(f"v.column{i + 1}" for i in range(len(self._types))))
            row = f"({', '.join('?' * len(self._types))})"
            text = self._texts["bulk", count] = (
                f"UPDATE {self._table} SET {sets} FROM (VALUES {', '.join([row] * count)}) AS v"
                f" WHERE {self._table}.id = v.column1"
            )
        return text

    def _each(self, connection: Connection, rows: Sequence[Row], guard: str) -> list[bool]:
        named = [f"%(p{i})s::{type_}" for i, type_ in enumerate(self._types)]
        text = f"UPDATE {self._table} SET {self._sets.format(*named)} WHERE id = %(p0)s AND {guard}"
        cursor = cursor_of(connection)
        matched = []
        for row in rows:
            cursor.execute(text, {f"p{i}": value for i, value in enumerate(row)})
            matched.append(cursor.rowcount == 1)
        return matched


def delete_listed(
    connection: Connection, table: str, column: str, ids: Sequence[int] | Sequence[str], but: str
) -> None:
    """DELETE the rows whose ``column`` is one of ``ids``, unless ``but`` (SQL) holds."""
    if not ids:
        return
    given: Any
    if connection.dialect.name == "postgresql":
        listed, given = "= ANY(%s)", list(ids)
    else:
        listed, given = "IN (SELECT value FROM json_each(?))", json.dumps(list(ids))
    text = f"DELETE FROM {table} WHERE {column} {listed} AND NOT ({but})"
    cursor_of(connection).execute(text, (given,))
