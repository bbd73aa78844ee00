"""How calls to an account's endpoints went of late.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from mailrelay.webhooks.call import EndpointKind

LOOKED_AT = 200
"""Of an endpoint: its newest calls.  What is older says nothing of how it stands."""


@frozen
class LateCall:
    """A call as it counts.  ``queued_at`` is in seconds since the epoch.

    It ``has_failed`` once an attempt did; one that was canceled did not by that.
    """

    id: int
    queued_at: float
    has_failed: bool
    is_over: bool
    is_success: bool | None
    is_superseded: bool = False


@frozen
class Standing:
    """Of an endpoint's newest calls.  Times are seconds since the epoch, None for never.

    ``failing_since`` is when the earliest was queued of those that failed behind all that were
    taken; None when none did.
    """

    waiting: int = 0
    taken_at: float | None = None
    failing_since: float | None = None


@frozen
class Standings:
    """Of each endpoint, and of the webhooks in mox's shape."""

    by_endpoint: Mapping[int, Standing] = field(factory=dict)
    by_kind: Mapping[EndpointKind, Standing] = field(factory=dict)

    def of_endpoint(self, id_: int) -> Standing:
        """Of one that may never have been called."""
        return self.by_endpoint.get(id_, Standing())

    def of_kind(self, kind: EndpointKind) -> Standing:
        """The same."""
        return self.by_kind.get(kind, Standing())


def standing_of(newest_first: Iterable[LateCall]) -> tuple[Standing, int | None]:
    """How these went, and the id of the newest that was taken."""
    waiting, failing_since, taken = 0, None, None
    for call in newest_first:
        if not call.is_over:
            waiting += 1
        if call.is_success and not call.is_superseded:
            taken = taken or call.id
        elif taken is None and call.has_failed and not call.is_superseded:
            failing_since = call.queued_at
    return Standing(waiting, None, failing_since), taken
