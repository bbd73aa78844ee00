"""Calls and endpoints as rows, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, exists, func

from mailrelay.control.calls import CANCELED
from mailrelay.queue.destination import Destination
from mailrelay.storage import tables
from mailrelay.storage.statements import Row
from mailrelay.webhooks.call import LARGE_BYTES, Call, Endpoint, EndpointKind
from mailrelay.webhooks.endpoint import Secret, StandardEndpoint, endpoint_destination

_decode = msgspec.json.decode
_attempt = tables.call_attempt


def was_canceled() -> ColumnElement[bool]:
    """Whether an operator ended the call of a row; one under way may be taken all the same."""
    of_it = (_attempt.c.call_id == tables.call.c.id, _attempt.c.code == 0)
    return exists().where(*of_it, _attempt.c.error == CANCELED)


def call_row(
    id_: int,
    account_id: int,
    endpoint: Endpoint | StandardEndpoint,
    event: str,
    payload: bytes,
    at: float,
    *,
    entry_id: int | None = None,
    message_id: int | None = None,
    replay_of: int | None = None,
) -> Row:
    """As ``tables.call`` has its columns; due at once."""
    if isinstance(endpoint, Endpoint):
        authorization, endpoint_id = endpoint.authorization, None
        destination = Destination(endpoint.url, None)
    else:
        authorization, endpoint_id = "", endpoint.id
        destination = endpoint_destination(endpoint.id, endpoint)
    return (
        id_,
        account_id,
        endpoint.url,
        authorization,
        event,
        entry_id,
        message_id,
        payload,
        at,
        0,
        at,
        0,
        destination.lane(account_id),
        0,
        0,
        None,
        None,
        None,
        endpoint_id,
        replay_of,
    )


_CALL = (
    *("id", "account_id", "url", "authorization", "event", "queued_at", "next_attempt_at"),
    *("entry_id", "message_id", "attempts", "lane", "endpoint_id"),
)
_payload = tables.call.c.payload
CALL_COLUMNS: list[ColumnElement[Any]] = [
    *(tables.call.c[name] for name in _CALL),
    case((func.length(_payload) <= LARGE_BYTES, _payload)).label("small_payload"),
]


def call_of(row: Any, epoch: int) -> Call:
    """From a row of CALL_COLUMNS, claimed in ``epoch``."""
    values = {name: getattr(row, name) for name in _CALL}
    is_large = row.small_payload is None
    payload = b"" if is_large else bytes(row.small_payload)
    return Call(**values, payload=payload, epoch=epoch, is_large=is_large)


def endpoint_of(row: Any) -> Endpoint:
    """From a row of ``tables.webhook_endpoint`` of mox's kinds."""
    events = tuple(_decode(row.events))
    kind = EndpointKind(row.kind)
    return Endpoint(kind, row.url, row.authorization, events, bool(row.has_every_event))


def standard_of(row: Any) -> StandardEndpoint:
    """From a row of ``tables.webhook_endpoint`` of the standard kind."""
    return StandardEndpoint(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        url=row.url,
        events=tuple(_decode(row.events)),
        tags=tuple(_decode(row.tags)),
        secrets=tuple(Secret(one["secret"], one["until"]) for one in _decode(row.secrets)),
        most_at_once=row.most_at_once,
        most_together=row.most_together,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        disabled_because=row.disabled_because,
    )


def standard_values(endpoint: StandardEndpoint) -> dict[str, object]:
    """The reverse of ``standard_of``, without what stays as it is."""
    return {
        "name": endpoint.name,
        "url": endpoint.url,
        "events": _encoded(list(endpoint.events)),
        "tags": _encoded(list(endpoint.tags)),
        "secrets": _encoded([{"secret": s.text, "until": s.signs_until} for s in endpoint.secrets]),
        "most_at_once": endpoint.most_at_once,
        "most_together": endpoint.most_together,
        "disabled_at": endpoint.disabled_at,
        "disabled_because": endpoint.disabled_because,
    }


def _encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()
