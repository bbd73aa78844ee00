"""What happened to a message, as steps that people read.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailrelay.control.history import CallMade, Timeline
from mailrelay.observe.events import Event, EventKind
from mailrelay.webhooks.call import CallAttempt

GOOD, BAD, WARN, PLAIN = "good", "bad", "warn", ""

_TONES = {
    EventKind.DELIVERED: GOOD,
    EventKind.HANDED_OVER: GOOD,
    EventKind.FAILED: BAD,
    EventKind.SUPPRESSED: BAD,
    EventKind.COMPLAINED: BAD,
    EventKind.DELAYED: WARN,
    EventKind.HELD: WARN,
    EventKind.CANCELED: WARN,
}

_TITLES = {
    EventKind.ACCEPTED: "Accepted",
    EventKind.DELIVERED: "Delivered",
    EventKind.HANDED_OVER: "Handed over to a peer",
    EventKind.NO_BOUNCE: "No bounce came back",
    EventKind.DELAYED: "Delayed",
    EventKind.FAILED: "Failed",
    EventKind.SUPPRESSED: "Not sent: suppressed",
    EventKind.HELD: "Held",
    EventKind.RELEASED: "Released",
    EventKind.RESCHEDULED: "Rescheduled",
    EventKind.CANCELED: "Canceled",
    EventKind.REPORTED: "Report made for the sender",
    EventKind.RELAYED: "A report says: relayed",
    EventKind.EXPANDED: "A report says: passed on to a list",
    EventKind.UNRECOGNIZED: "Something came back",
    EventKind.COMPLAINED: "The recipient complained",
    EventKind.UNSUBSCRIBED: "The recipient unsubscribed",
}

_TOLD = (
    *("door", "protocol", "peer_ip", "helo", "login", "key", "by", "reason", "because", "route"),
    *("relay", "destination", "transport", "status", "action", "spf", "dmarc", "list"),
    *("feedback_type", "tls_policy", "tls_because", "certificate"),
)
"""Of an event's data, told as it is; the rest has a place of its own, or is for programs."""


@frozen
class Step:
    """One thing that happened.  ``at`` and ``next_at`` are seconds since the epoch."""

    at: float
    tone: str
    title: str
    recipient: str = ""
    reply: str = ""
    host: str = ""
    tls: str = ""
    next_at: float | None = None
    facts: Sequence[tuple[str, str]] = field(factory=list)
    transcript: Sequence[str] = field(factory=list)
    calls: Sequence[CallAttempt] = field(factory=list)
    payload: str = ""
    path: str = ""  # of the DSN that was made


NOWHERE: Mapping[int, str] = {}


def reports_in(timeline: Timeline) -> Sequence[int]:
    """The numbers of the DSNs that were made."""
    numbers = (one.data.get("queue_id") for one in timeline.events if one.kind is _REPORTED)
    return [number for number in numbers if isinstance(number, int)]


_REPORTED = EventKind.REPORTED


def steps_of(timeline: Timeline, reports: Mapping[int, str] = NOWHERE) -> Sequence[Step]:
    """All of it, in the order of time; ``reports`` says where DSNs can be read."""
    steps = [_step(event, reports) for event in timeline.events]
    steps += [_call_step(call) for call in timeline.calls]
    return sorted(steps, key=lambda step: step.at)


def _step(event: Event, reports: Mapping[int, str]) -> Step:
    data = event.data
    report = data.get("queue_id") if event.kind is _REPORTED else None
    host, ip = _text(data, "host"), _text(data, "ip")
    due = data.get("next_attempt_at")
    transcript = data.get("transcript")
    attempt = data.get("attempt")
    title = _TITLES.get(event.kind, event.kind.value)
    return Step(
        event.at,
        _TONES.get(event.kind, PLAIN),
        f"{title}, attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else title,
        recipient=_text(data, "recipient"),
        reply=_text(data, "reply"),
        host=f"{host} ({ip})" if host and ip else host or ip,
        tls=_text(data, "tls"),
        next_at=float(due) if isinstance(due, int | float) else None,
        facts=_facts(data),
        transcript=[str(line)[:1000] for line in transcript][:1000]
        if isinstance(transcript, list)
        else [],
        path=reports.get(report, "") if isinstance(report, int) else "",
    )


def _facts(data: Mapping[str, object]) -> Sequence[tuple[str, str]]:
    facts = [(name.replace("_", " "), _text(data, name)) for name in _TOLD if _text(data, name)]
    tls = _text(data, "tls")
    if tls and not _text(data, "host"):
        facts.append(("TLS", tls))
    began, ended = data.get("started_at"), data.get("ended_at")
    if isinstance(began, int | float) and isinstance(ended, int | float) and ended >= began:
        facts.append(("took", f"{ended - began:.2f} s"))
    judged = data.get("judged")
    if isinstance(judged, list) and judged:
        facts.append(("judged", "; ".join(str(one)[:200] for one in judged[:20])))
    if data.get("expired"):
        facts.append(("given up", "its life in the queue is spent"))
    return facts


def _call_step(call: CallMade) -> Step:
    if not call.is_over:
        tone, state = PLAIN, "waits"
    elif call.superseded_by:
        tone, state = PLAIN, "superseded by a newer one"
    elif call.is_canceled:
        tone, state = WARN, "canceled"
    else:
        tone, state = (GOOD, "taken") if call.is_success else (BAD, "failed")
    return Step(
        call.queued_at,
        tone,
        f"Webhook call, {call.event}: {state}",
        host=call.url,
        calls=call.attempts,
        payload=call.payload.decode("utf-8", "replace"),
    )


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    return str(value)[:1000] if isinstance(value, str | int | float) else ""
