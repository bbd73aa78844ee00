"""How the server is: what is wrong, how much goes through it, and how long that takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise

from attrs import frozen

from mailrelay.observe.events import EventKind
from mailrelay.observe.metrics import Spread
from mailrelay.observe.sampling import Sample
from mailrelay.pages.chart import Category, Chart, Series, Tone, make_chart
from mailrelay.pages.door import Asked, Doors
from mailrelay.pages.render import size_text
from mailrelay.web.monitor import Health
from mailrelay.web.request import Response, Route

MINUTE = 60.0
LATELY = 5 * MINUTE
"""Times are told of what happened since."""

KINDS: Sequence[tuple[EventKind, str, Tone]] = (
    (EventKind.DELIVERED, "delivered", Tone.GOOD),
    (EventKind.DELAYED, "delayed", Tone.WARN),
    (EventKind.FAILED, "failed", Tone.BAD),
)


@frozen
class Trouble:
    """What a gauge says when it is not 0, and where more of it is."""

    gauge: str
    text: str
    path: str = ""


TROUBLES: Sequence[Trouble] = (
    Trouble("mailrelay_store_short", "The disk is nearly full: no mail is accepted."),
    Trouble("mailrelay_relay_chains_out", "All hosts of a relay chain rest.", "/admin/relays"),
    Trouble("mailrelay_relay_hosts_resting", "Relay hosts rest after failures.", "/admin/relays"),
    Trouble("mailrelay_relay_files_stale", "Files of relay rules cannot be used.", "/admin/relays"),
    Trouble("mailrelay_peers_alarmed", "Peers refuse this server.", "/admin/peers"),
    Trouble("mailrelay_tls_ending", "Certificates end soon.", "/admin/certificates"),
    Trouble("mailrelay_tls_files_broken", "Certificates cannot be read.", "/admin/certificates"),
    Trouble("mailrelay_acme_failing", "Certificates could not be ordered.", "/admin/certificates"),
    Trouble("mailrelay_dnsbl_listed", "Addresses of this server are listed.", "/admin/lists"),
    Trouble("mailrelay_mail_log_lost", "Lines of the mail log were lost."),
)

COUNTS: Sequence[tuple[str, str]] = (
    ("mailrelay_connections_in", "SMTP sessions"),
    ("mailrelay_connections_out", "SMTP connections out"),
    ("mailrelay_http_connections", "HTTP connections"),
    ("mailrelay_queue_in_memory", "entries in memory"),
)


@frozen
class About:
    """What is so as long as the process runs."""

    version: str
    node: str
    started_at: float
    store: str


@frozen
class QueueNow:
    """What the store says of the queue: entries by state, the oldest in seconds."""

    sizes: Mapping[str, int]
    oldest_seconds: float


@frozen
class HealthPages:
    """``/admin/health``.  ``gauge`` gives a metric's value; None when there is none of its name."""

    doors: Doors
    about: About
    health: Callable[[], Health]
    gauge: Callable[[str], float | None]
    samples: Callable[[], Sequence[Sample]]
    queue: Callable[[], Awaitable[QueueNow]]
    now: Callable[[], float]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.admin("/admin/health", self.show)]

    async def show(self, asked: Asked) -> Response:
        """All of it; the page asks for itself again."""
        samples = self.samples()
        return self.doors.page(
            asked,
            "admin_health.html",
            about=self.about,
            state=self.health(),
            troubles=[one for one in TROUBLES if self.gauge(one.gauge)],
            counts=[(int(self.gauge(name) or 0), text) for name, text in COUNTS],
            queue=await self.queue(),
            memory=samples[-1].memory_bytes if samples else None,
            times=_times(samples, self.now() - LATELY),
            rates=rates(samples),
            memories=memories(samples),
        )


def rates(samples: Sequence[Sample]) -> Chart:
    """Recipients a minute, by what became of them, beside messages that were accepted."""
    minutes = _minutes(samples)
    bars = [
        Series(name, tone, [_more(a, b, kind) for a, b in minutes]) for kind, name, tone in KINDS
    ]
    accepted = Series(
        "accepted", Tone.ACCENT, [_more(a, b, EventKind.ACCEPTED) for a, b in minutes]
    )
    title = "Messages accepted, and recipients, a minute"
    return make_chart("rates", title, _names(minutes), bars, [accepted])


def memories(samples: Sequence[Sample]) -> Chart:
    """Resident memory at the end of each minute."""
    minutes = _minutes(samples)
    values = [None if b.memory_bytes is None else float(b.memory_bytes) for _, b in minutes]
    memory = Series("memory", Tone.ACCENT, values)
    return make_chart(
        "memory",
        "Memory",
        _names(minutes),
        lines=[memory],
        number=lambda value: size_text(int(value)),
        level=lambda value: size_text(int(value)),
    )


def _minutes(samples: Sequence[Sample]) -> Sequence[tuple[Sample, Sample]]:
    """The first and last sample of each minute; each begins with the last of the one before."""
    ends: dict[int, Sample] = {}
    for sample in samples:
        ends[int(sample.at // MINUTE)] = sample
    last = [*samples[:1], *ends.values()] if samples else []
    return [(a, b) for a, b in pairwise(last) if a is not b]


def _names(minutes: Sequence[tuple[Sample, Sample]]) -> Sequence[Category]:
    newest = int(minutes[-1][1].at // MINUTE) if minutes else 0
    ages = [newest - int(b.at // MINUTE) for _, b in minutes]
    return [Category(f"-{age} min" if age else "now") for age in ages]


def _more(before: Sample, after: Sample, kind: EventKind) -> float:
    return after.events.get(kind.value, 0) - before.events.get(kind.value, 0)


@frozen
class Times:
    """How long something took lately, in seconds, as bounds that half, or 99 of 100, stayed below.

    None is longer than all bounds.
    """

    what: str
    count: int
    half: float | None
    most: float | None


def _times(samples: Sequence[Sample], since: float) -> tuple[Sequence[Times], Spread | None]:
    """Of acceptance, attempts and commits; and how many pieces of work were in a commit."""
    lately = [sample for sample in samples if sample.at >= since]
    if len(lately) < 2:
        return (), None
    first, last = lately[0], lately[-1]
    found = []
    for what, before, after in (
        ("Accepting a message, from the start of its content", first.accepts, last.accepts),
        ("Committing to the store, fsync included", first.commits, last.commits),
        ("An attempt to deliver", first.attempts, last.attempts),
    ):
        spread = after.since(before)
        if spread.count:
            found.append(Times(what, spread.count, spread.below(0.5), spread.below(0.99)))
    return found, last.batches.since(first.batches)
