"""The goals that mailrelay's figures are held against."""

import attrs

from bench.measurement import Metrics
from bench.pages import PAGES

Medians = dict[tuple[str, str], Metrics]

OURS = "ours"
POSTFIX = "postfix"


@attrs.frozen
class Goal:
    """A bound on one metric of ours.

    It bounds the ratio to Postfix's value, to our own value in the scenario `baseline`, or, with
    `absolute`, the value itself.
    """

    scenario: str
    metric: str
    bound: float
    is_minimum: bool = True
    baseline: str = ""
    absolute: bool = False

    def value(self, found: Medians) -> float | None:
        """The bounded ratio or value; None while a part of it was not measured."""
        ours = found.get((self.scenario, OURS), {}).get(self.metric)
        if ours is None or self.absolute:
            return ours
        key = (self.baseline, OURS) if self.baseline else (self.scenario, POSTFIX)
        other = found.get(key, {}).get(self.metric)
        return ours / other if other else None

    def is_met(self, found: Medians) -> bool | None:
        """Whether it is met; None while it cannot be said."""
        value = self.value(found)
        if value is None:
            return None
        return value >= self.bound if self.is_minimum else value <= self.bound

    def text(self) -> str:
        """The goal as shown in the table."""
        sign = "≥" if self.is_minimum else "≤"
        if self.absolute:
            return f"{sign} {self.bound:g}"
        other = f"own {self.baseline}" if self.baseline else POSTFIX
        return f"{sign} {self.bound:g} of {other}"


def _at_least(scenario: str, bound: float, metric: str = "per_second") -> Goal:
    return Goal(scenario, metric, bound)


def _at_most(scenario: str, bound: float, metric: str = "cpu_per_1000") -> Goal:
    return Goal(scenario, metric, bound, is_minimum=False)


def _keeps(scenario: str, baseline: str, bound: float) -> Goal:
    return Goal(scenario, "per_second", bound, baseline=baseline)


def _within(scenario: str, metric: str, bound: float) -> Goal:
    return Goal(scenario, metric, bound, is_minimum=False, absolute=True)


def _with_a_dead_host(scenario: str) -> tuple[Goal, ...]:
    return (
        Goal(scenario, "accept_ratio", 0.8, absolute=True),
        _within(scenario, "queued_mib", 400.0),
        _within(scenario, "banner_seconds", 10.0),
        _within(scenario, "first_delivery_seconds", 5.0),
    )


def _of_pages(scenario: str) -> tuple[Goal, ...]:
    times = (_within(scenario, metric, 200.0) for metric in PAGES)
    return (_within(scenario, "first_load_kb", 150.0), *times)


GOALS = (
    _at_least("S1", 2.0),
    _at_least("S1r", 3.0),
    _at_least("S2", 3.0),
    _at_least("S2r", 3.0),
    _at_most("S1", 0.3),
    _at_most("S1r", 0.3),
    _at_most("S2", 0.35),
    _at_most("S2r", 0.35),
    _at_least("S3", 1.0, "mb_per_second"),
    Goal("S3", "peak_mib", 1.5, is_minimum=False, baseline="S1r"),
    _at_most("S4", 1.0, "seconds"),
    _within("S5", "kb_per_connection", 10.0),
    _at_least("S5", 2.0, "connects_per_second"),
    _keeps("S6", "S2r", 0.7),
    _keeps("S2r/tls", "S2r", 0.6),
    _keeps("P/peer", "P/smtp", 0.8),
    _keeps("S1r+1ms", "S1r", 0.8),
    _keeps("S2r+1ms", "S2r", 0.8),
    _keeps("S1r+5ms", "S1r", 0.6),
    _keeps("S2r+5ms", "S2r", 0.6),
    _keeps("S1r/200+5ms", "S1r/200", 0.8),
    _keeps("S2r/200+5ms", "S2r/200", 0.8),
    Goal("W1", "per_second", 1000.0, absolute=True),
    Goal("W1/v1", "per_second", 1000.0, absolute=True),
    Goal("W2", "per_second", 1000.0, absolute=True),
    _within("D1", "sign_ms", 0.4),
    _within("D1", "verify_ms", 0.4),
    *_of_pages("V"),
    *_of_pages("V/1M"),
    *_with_a_dead_host("dead"),
    *_with_a_dead_host("dead/1M"),
)
