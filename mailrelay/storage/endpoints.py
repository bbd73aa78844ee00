"""Standard endpoints: what a process knows of them, and what changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update
from twisted.internet.defer import Deferred

from mailrelay.control.endpoints import Change, ListedEndpoint
from mailrelay.control.errors import Refusal
from mailrelay.storage import directory as rows
from mailrelay.storage import tables
from mailrelay.storage.call_rows import standard_of, standard_values
from mailrelay.storage.calls import KEPT_FOR
from mailrelay.storage.database import Database
from mailrelay.webhooks.endpoint import REMOVED, STANDARD, StandardEndpoint, disabled_error

_endpoint, _account, _call = tables.webhook_endpoint, tables.account, tables.call

NEWEST_ENDPOINT = "newest_endpoint"
"""The highest id that an endpoint was given: calls of a removed one are no later one's."""
BATCH = 200
"""Calls that are retired in one transaction."""

_standard = _endpoint.c.kind == STANDARD


def load_endpoints(connection: Connection) -> Mapping[int, StandardEndpoint]:
    """All standard endpoints, by id."""
    found = connection.execute(select(_endpoint).where(_standard))
    return {row.id: standard_of(row) for row in found}


@frozen
class DatabaseEndpointRecords:
    """EndpointRecords over one database."""

    database: Database
    now: Callable[[], float]

    def listed(self, account: str | None) -> Deferred[Sequence[ListedEndpoint]]:
        """See EndpointRecords."""

        def work(connection: Connection) -> Sequence[ListedEndpoint]:
            wanted = _listed.order_by(_endpoint.c.id)
            if account is not None:
                id_ = rows.account_id(connection, account)
                wanted = wanted.where(_endpoint.c.account_id == id_)
            return [_listed_of(row) for row in connection.execute(wanted)]

        return self.database.read(work)

    def find(self, endpoint_id: int, account_id: int | None) -> Deferred[ListedEndpoint | None]:
        """See EndpointRecords."""
        wanted = _listed.where(*_of(endpoint_id, account_id))

        def work(connection: Connection) -> ListedEndpoint | None:
            row = connection.execute(wanted).first()
            return _listed_of(row) if row is not None else None

        return self.database.read(work)

    def add(
        self, actor: str, account: str, endpoint: StandardEndpoint, most: int
    ) -> Deferred[StandardEndpoint]:
        """See EndpointRecords."""

        def work(connection: Connection) -> StandardEndpoint:
            owner = rows.account_id(connection, account)
            counted = select(func.count()).where(_endpoint.c.account_id == owner, _standard)
            if connection.execute(counted).scalar_one() >= most:
                raise Refusal(f"the account has {most} endpoints: remove one that is not used")
            made = evolve(endpoint, account_id=owner)
            made = evolve(made, id=_inserted(connection, made))
            self._changed(connection, actor, "webhook endpoint add", made)
            return made

        return self.database.write(work)

    def change(
        self, actor: str, action: str, endpoint_id: int, account_id: int | None, change: Change
    ) -> Deferred[StandardEndpoint | None]:
        """See EndpointRecords."""

        def work(connection: Connection) -> StandardEndpoint | None:
            wanted = select(_endpoint).where(*_of(endpoint_id, account_id)).with_for_update()
            row = connection.execute(wanted).first()
            if row is None:
                return None
            made = change(standard_of(row))
            own = _endpoint.c.id == made.id
            connection.execute(update(_endpoint).where(own).values(standard_values(made)))
            self._changed(connection, actor, action, made)
            return made

        return self.database.write(work)

    def remove(self, actor: str, endpoint_id: int, account_id: int | None) -> Deferred[bool]:
        """See EndpointRecords."""

        def work(connection: Connection) -> bool:
            row = connection.execute(select(_endpoint).where(*_of(endpoint_id, account_id))).first()
            if row is None:
                return False
            connection.execute(delete(_endpoint).where(_endpoint.c.id == endpoint_id))
            self._changed(connection, actor, "webhook endpoint remove", standard_of(row))
            return True

        return Deferred.fromCoroutine(self._removed(work, endpoint_id))

    async def _removed(self, work: Callable[[Connection], bool], endpoint_id: int) -> bool:
        if not await self.database.write(work):
            return False
        await self.retire_waiting(endpoint_id, REMOVED)
        return True

    def disable(self, endpoint: StandardEndpoint, because: str) -> Deferred[bool]:
        """Have it called no more; False when it is disabled, or has another URL, already."""

        def work(connection: Connection) -> bool:
            own = (_endpoint.c.id == endpoint.id, _endpoint.c.url == endpoint.url)
            enabled = _endpoint.c.disabled_at.is_(None)
            values = {"disabled_at": self.now(), "disabled_because": because}
            done = connection.execute(update(_endpoint).where(*own, enabled).values(values))
            if done.rowcount == 0:
                return False
            self._changed(connection, "server", f"webhook endpoint disable: {because}", endpoint)
            return True

        return Deferred.fromCoroutine(self._disabled(work, endpoint.id, disabled_error(because)))

    async def _disabled(
        self, work: Callable[[Connection], bool], endpoint_id: int, error: str
    ) -> bool:
        if not await self.database.write(work):
            return False
        await self.retire_waiting(endpoint_id, error)
        return True

    async def retire_waiting(self, endpoint_id: int, error: str) -> None:
        """Retire the calls that wait for an endpoint, a few at a time.

        Those that a process has in memory it retires itself, when their turn comes.
        """
        work = partial(_retire_some, endpoint_id=endpoint_id, error=error, now=self.now())
        while await self.database.write(work) == BATCH:
            pass

    def _changed(
        self, connection: Connection, actor: str, action: str, made: StandardEndpoint
    ) -> None:
        now = self.now()
        rows.tell(connection, now, "directory", made.id)
        rows.record_audit(connection, now, actor, action, f"{made.id} {made.name}")


_listed = (
    select(_endpoint, _account.c.name.label("of"))
    .join(_account, _account.c.id == _endpoint.c.account_id)
    .where(_standard)
)


def _listed_of(row: Any) -> ListedEndpoint:
    return ListedEndpoint(standard_of(row), row.of)


def _of(endpoint_id: int, account_id: int | None) -> list[ColumnElement[bool]]:
    own = [_endpoint.c.id == endpoint_id, _standard]
    return own if account_id is None else [*own, _endpoint.c.account_id == account_id]


def _inserted(connection: Connection, made: StandardEndpoint) -> int:
    """Insert ``made``; its id, which no endpoint ever had."""
    values = {
        **standard_values(made),
        "account_id": made.account_id,
        "kind": STANDARD,
        "authorization": "",
        "created_at": made.created_at,
    }
    if connection.dialect.name != "postgresql":  # which never gives an id again
        newest = connection.execute(select(func.coalesce(func.max(_endpoint.c.id), 0))).scalar_one()
        given = int(rows.read_setting(connection, NEWEST_ENDPOINT) or 0)
        values["id"] = max(int(newest), given) + 1
        rows.write_setting(connection, NEWEST_ENDPOINT, str(values["id"]))
    inserted = insert(_endpoint).values(values).returning(_endpoint.c.id)
    return int(connection.execute(inserted).scalar_one())


def _retire_some(connection: Connection, *, endpoint_id: int, error: str, now: float) -> int:
    kept_for = func.coalesce(_account.c.calls_kept_for, KEPT_FOR)
    waiting = (
        select(_call.c.id, kept_for)
        .outerjoin(_account, _account.c.id == _call.c.account_id)
        # With the plus and in this order it is found by what waits, which is less than what the
        # endpoint ever had.
        .where(text("call.state = 0 AND call.node_id = 0 AND +call.endpoint_id = :endpoint"))
        .order_by(_call.c.next_attempt_at)
        .limit(BATCH)
    )
    found = connection.execute(waiting, {"endpoint": endpoint_id}).all()
    if not found:
        return 0
    ids = [row[0] for row in found]
    retired = {"state": 2, "is_success": False, "keep_until": now + float(found[0][1])}
    connection.execute(update(_call).where(_call.c.id.in_(ids)).values(retired))
    attempt = {"at": now, "seconds": 0.0, "is_success": False, "code": 0, "response": ""}
    values = [{"call_id": id_, "error": error, **attempt} for id_ in ids]
    connection.execute(insert(tables.call_attempt), values)
    return len(ids)
