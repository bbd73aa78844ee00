"""How calls to an account's endpoints went of late, as rows say."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from sqlalchemy import ColumnElement, Connection, exists, func, select

from mailrelay.control.calls import CANCELED
from mailrelay.control.standings import LOOKED_AT, LateCall, Standing, Standings, standing_of
from mailrelay.storage import tables
from mailrelay.webhooks.call import INCOMING_EVENT, EndpointKind

_call, _attempt, _endpoint = tables.call, tables.call_attempt, tables.webhook_endpoint

_failed = exists().where(
    _attempt.c.call_id == _call.c.id, _attempt.c.is_success.is_(False), _attempt.c.error != CANCELED
)
_COLUMNS = (
    *(_call.c.id, _call.c.queued_at, _failed.label("has_failed"), _call.c.state),
    *(_call.c.is_success, _call.c.superseded_by, _call.c.endpoint_id, _call.c.event),
)


def read_standings(
    connection: Connection, account_id: int, endpoint_ids: Sequence[int]
) -> Standings:
    """Of those endpoints that are the account's, and of its webhooks in mox's shape.

    The latter are looked for among as many of all its newest calls as an endpoint has.
    """
    own = select(_endpoint.c.id).where(
        _endpoint.c.account_id == account_id, _endpoint.c.id.in_(endpoint_ids)
    )
    ids = sorted(connection.execute(own).scalars())
    of_account = _newest(connection, _call.c.account_id == account_id)
    kinds: dict[EndpointKind, list[LateCall]] = {kind: [] for kind in EndpointKind}
    for endpoint_id, event, call in of_account:
        if endpoint_id is None:
            is_incoming = event == INCOMING_EVENT
            kinds[EndpointKind.INCOMING if is_incoming else EndpointKind.OUTGOING].append(call)
    return Standings(
        {id_: _of_endpoint(connection, id_) for id_ in ids},
        {kind: _timed(connection, calls) for kind, calls in kinds.items()},
    )


def _of_endpoint(connection: Connection, id_: int) -> Standing:
    newest = _newest(connection, _call.c.endpoint_id == id_)
    return _timed(connection, [call for _, _, call in newest])


def _newest(
    connection: Connection, condition: ColumnElement[bool]
) -> list[tuple[int | None, str, LateCall]]:
    wanted = select(*_COLUMNS).where(condition).order_by(_call.c.id.desc()).limit(LOOKED_AT)
    return [
        (
            row.endpoint_id,
            row.event,
            LateCall(
                row.id,
                row.queued_at,
                bool(row.has_failed),
                row.state == 2,
                row.is_success,
                row.superseded_by is not None,
            ),
        )
        for row in connection.execute(wanted)
    ]


def _timed(connection: Connection, calls: Sequence[LateCall]) -> Standing:
    standing, taken = standing_of(calls)
    if taken is None:
        return standing
    success = (_attempt.c.call_id == taken, _attempt.c.is_success.is_(True))
    at = connection.execute(select(func.max(_attempt.c.at)).where(*success)).scalar()
    return evolve(standing, taken_at=at)
