"""Relay hosts that do not answer rest, while another one of their chain takes the mail.

A host rests after FAILURES connections in a row that came to nothing; then it is probed with one
message at a time, after a rest that doubles each time it fails again.  A host alone never rests:
the queue's own back-off is for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.logger import Logger

from mailrelay.routing.ways import RelayHost

FAILURES = 2
FIRST_REST = 30.0
LONGEST_REST = 600.0
"""Seconds."""

Name = tuple[str, int, str | None]


@define
class _Rest:
    failures: int = 0
    until: float = 0.0  # monotonic seconds


@define
class RelayHealth:
    """Which hosts rest; ``seconds`` is a monotonic clock."""

    seconds: Callable[[], float]
    _rests: dict[Name, _Rest] = field(factory=dict)
    _log = Logger()

    def in_order(self, hosts: Sequence[RelayHost]) -> Sequence[RelayHost]:
        """``hosts`` in their order, those that rest behind the others.

        A host whose rest is over comes first again, for one attempt: until that has ended it
        rests on.
        """
        now = self.seconds()
        awake = [host for host in hosts if not self._is_resting(host, now)]
        for host in awake[:1]:
            rest = self._rests.get(_name(host))
            if rest is not None and rest.failures >= FAILURES:
                rest.until = now + _rest_after(rest.failures)
        return [*awake, *(host for host in hosts if host not in awake)]

    def _is_resting(self, host: RelayHost, now: float) -> bool:
        rest = self._rests.get(_name(host))
        return rest is not None and rest.failures >= FAILURES and now < rest.until

    def is_resting(self, host: RelayHost) -> bool:
        """Whether ``host`` is passed over for now."""
        return self._is_resting(host, self.seconds())

    def failed(self, host: RelayHost) -> None:
        """No session came of a connection to ``host``."""
        rest = self._rests.setdefault(_name(host), _Rest())
        rest.failures += 1
        if rest.failures >= FAILURES:
            rest.until = self.seconds() + _rest_after(rest.failures)
        if rest.failures == FAILURES:
            self._log.error("relay host {host} rests: it does not answer", host=_shown(host))

    def answered(self, host: RelayHost) -> None:
        """``host`` is well."""
        if not self._rests:
            return
        rest = self._rests.pop(_name(host), None)
        if rest is not None and rest.failures >= FAILURES:
            self._log.info("relay host {host} answers again", host=_shown(host))

    @property
    def resting(self) -> int:
        """Hosts that are passed over for now."""
        return sum(rest.failures >= FAILURES for rest in self._rests.values())


def _name(host: RelayHost) -> Name:
    return host.host, host.port, host.username


def _shown(host: RelayHost) -> str:
    return f"{host.host}:{host.port}"


def _rest_after(failures: int) -> float:
    return float(min(FIRST_REST * 2.0 ** min(failures - FAILURES, 10), LONGEST_REST))
