"""Hot statements: made with Core, compiled once per dialect, run as text with tuples.

Measured: ``execute(insert, dicts)`` costs 26 microseconds a message over the raw driver, text 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.base import Executable

_DIALECTS: dict[str, Any] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="format"),
}

Row = tuple[Any, ...]


class Prepared:
    """One statement; ``parameters`` names what each tuple holds, in the statement's order."""

    def __init__(self, statement: Executable, parameters: Sequence[str]) -> None:
        self._statement, self.parameters = statement, tuple(parameters)
        self._texts: dict[str, str] = {}

    def _text(self, connection: Connection) -> str:
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
            self._cursor(connection).executemany(self._text(connection), rows)

    def each(self, connection: Connection, rows: Sequence[Row]) -> list[bool]:
        """Run it row by row: whether each matched."""
        cursor, text = self._cursor(connection), self._text(connection)
        matched = []
        for row in rows:
            cursor.execute(text, row)
            matched.append(cursor.rowcount == 1)
        return matched

    def rows(self, connection: Connection, row: Row) -> list[Row]:
        """Run it once and fetch everything."""
        cursor = self._cursor(connection)
        cursor.execute(self._text(connection), row)
        found: list[Row] = cursor.fetchall()
        return found

    @staticmethod
    def _cursor(connection: Connection) -> Any:
        # Core starts the transaction at its own first statement only.
        return connection.connection.cursor()


def prepared_insert(table: Table) -> Prepared:
    """An INSERT of all columns of ``table``, in their order."""
    names = [column.name for column in table.columns]
    return Prepared(insert(table).values({n: bindparam(n) for n in names}), names)
