"""Relay hosts that do not answer rest, while another one of their chain takes the mail.

A host rests after FAILURES attempts in a row that came to nothing: no connection, no session, or
one that broke off.  Then it is probed with one message at a time, after a rest that doubles each
time it fails again; one that gets through ends that.  A host alone never rests: the queue's own
back-off is for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.logger import Logger

from mailrelay.routing.ways import RelayHost

FAILURES = 2
FIRST_REST = 30.0
LONGEST_REST = 600.0
FORGOTTEN_AFTER = 3600.0
"""Seconds; the last is after the end of its rest, for a host that no mail goes by any more."""

Name = tuple[str, int, str | None]


class Alarms(Protocol):
    """Where operators see what is out; ``subject`` is shown, and names one thing."""

    def raised(self, subject: str, reason: str) -> None:
        """From now on."""

    def cleared(self, subject: str) -> None:
        """No more."""


@define
class _Rest:
    shown: str
    failures: int = 0
    until: float = 0.0  # monotonic seconds


@define
class RelayHealth:
    """Which hosts rest, and which chains have no other; ``seconds`` is a monotonic clock.

    Invariant: there is an alarm of each host that rests, and of each chain all of whose hosts do.
    """

    seconds: Callable[[], float]
    alarms: Alarms | None = None
    _rests: dict[Name, _Rest] = field(factory=dict)
    _out: dict[tuple[Name, ...], str] = field(factory=dict)  # and how they are shown
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

    def failed(self, host: RelayHost, of: Sequence[RelayHost] = (), reason: str = "") -> None:
        """Nothing came of an attempt at ``host``, which is one of the chain ``of``."""
        self._forget()
        rest = self._rests.setdefault(_name(host), _Rest(_shown(host)))
        rest.failures += 1
        if rest.failures >= FAILURES:
            rest.until = self.seconds() + _rest_after(rest.failures)
        if rest.failures == FAILURES:
            self._log.error(
                "relay host {host} rests: {reason}", host=rest.shown, reason=reason or NO_ANSWER
            )
            self._raise(f"relay host {rest.shown}", reason or NO_ANSWER)
        self._look_at(of)

    def _look_at(self, chain: Sequence[RelayHost]) -> None:
        """Whether the last host of ``chain`` is out, too."""
        names = tuple(map(_name, chain))
        if not names or names in self._out or not all(map(self._is_out, names)):
            return
        shown = self._out[names] = ", ".join(map(_shown, chain))
        self._log.error("no relay host of {hosts} is left: all of them rest", hosts=shown)
        self._raise(f"all of {shown}", "the last one of them rests, too")

    def _is_out(self, name: Name) -> bool:
        rest = self._rests.get(name)
        return rest is not None and rest.failures >= FAILURES

    def answered(self, host: RelayHost) -> None:
        """``host`` is well."""
        if self._rests:
            self._well(_name(host), "relay host {host} answers again")

    def _well(self, name: Name, said: str) -> None:
        rest = self._rests.pop(name, None)
        if rest is None or rest.failures < FAILURES:
            return
        self._log.info(said, host=rest.shown)
        self._clear(f"relay host {rest.shown}")
        for names in [names for names in self._out if name in names]:
            self._clear(f"all of {self._out.pop(names)}")

    def _forget(self) -> None:
        """Let go of hosts that no mail goes by any more."""
        now = self.seconds()
        for name, rest in list(self._rests.items()):
            if rest.failures >= FAILURES and now > rest.until + FORGOTTEN_AFTER:
                self._well(name, "relay host {host} was not asked for long: forgotten")

    @property
    def resting(self) -> int:
        """Hosts that are passed over for now."""
        self._forget()
        return sum(rest.failures >= FAILURES for rest in self._rests.values())

    @property
    def chains_out(self) -> int:
        """Chains all of whose hosts rest."""
        self._forget()
        return len(self._out)

    def _raise(self, subject: str, reason: str) -> None:
        if self.alarms is not None:
            self.alarms.raised(subject, reason)

    def _clear(self, subject: str) -> None:
        if self.alarms is not None:
            self.alarms.cleared(subject)


NO_ANSWER = "it does not answer"


def _name(host: RelayHost) -> Name:
    return host.host, host.port, host.username


def _shown(host: RelayHost) -> str:
    login = f" as {host.username}" if host.username else ""
    return f"{host.host}:{host.port}{login}"


def _rest_after(failures: int) -> float:
    return float(min(FIRST_REST * 2.0 ** min(failures - FAILURES, 10), LONGEST_REST))
