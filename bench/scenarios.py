"""Every scenario by name, and which servers take part in it unless told otherwise."""

from typing import Protocol

import attrs

from bench.calls import Calls, WithEndpoint, WithWebhook
from bench.load import Load
from bench.mailauth import MailAuth
from bench.measurement import Run
from bench.pages import PAGES, Pages
from bench.peers import Handing
from bench.servers import SERVERS, Server
from bench.special import DeadHost, IdleConnections, ManyRecipients
from bench.surroundings import Surroundings
from bench.throughput import Throughput
from bench.webapi import Sends, WithV0, WithV1

RETENTION_SECONDS = 3.0
ALL = tuple(name for name in SERVERS if name != "mox")
OURS = ("ours",)
COMPARED = ("ours", "postfix", "twisted")


class Measure(Protocol):
    """Something that can be measured on any server."""

    @property
    def name(self) -> str:
        """Its name on the command line."""

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run on a freshly started server."""


@attrs.frozen
class Scenario:
    """A measure with its title, the servers it is made for and the metrics worth showing.

    `most_rounds` bounds how often it is repeated; a long one only runs when asked for.
    """

    measure: Measure
    title: str
    servers: tuple[str, ...] = ALL
    relays: bool = False
    shown: tuple[str, ...] = ("per_second", "cpu_per_1000", "peak_mib")
    most_rounds: int = 100
    long: bool = False

    def takes(self, kind: type[Server]) -> bool:
        """Whether this server can do it at all."""
        return kind.relays or not self.relays


LOCK_STEP = Load()
REUSED = Load(reuse=True)
REUSED_200 = Load(reuse=True, sessions=200)
LARGE = Load(sessions=5, message_bytes=10_000_000)

SHOWN_S3 = ("mb_per_second", "cpu_per_1000", "peak_mib")
SHOWN_S5 = ("kb_per_connection", "connects_per_second", "peak_mib")
SHOWN_W1 = ("per_second", "cpu_per_1000", "p50_ms", "p99_ms", "peak_mib")
SHOWN_D1 = (
    *("sign_ms", "verify_ms", "seal_ms", "validate_ms"),
    *("ed25519_sign_ms", "ed25519_verify_ms"),
)
SHOWN_V = ("first_load_kb", *PAGES)
SHOWN_DEAD = (
    "accept_empty",
    "accept_full",
    "accept_ratio",
    "queued_mib",
    "banner_seconds",
    "first_delivery_seconds",
)


def _throughput(
    name: str, title: str, load: Load, servers: tuple[str, ...] = ALL, delay_ms: int = 0
) -> Scenario:
    relay = name.startswith("S2")
    measure = Throughput(name, load, relay=relay, fsync_delay_us=delay_ms * 1000)
    return Scenario(measure, title, servers, relays=relay)


_LIST = (
    _throughput("S1", "accept, a connection per message", LOCK_STEP),
    _throughput("S1r", "accept, sessions reused", REUSED),
    _throughput("S2", "relay end to end, a connection per message", LOCK_STEP),
    _throughput("S2r", "relay end to end, sessions reused", REUSED),
    Scenario(Throughput("S3", LARGE, warm_messages=10), "accept messages of 10 MB", shown=SHOWN_S3),
    Scenario(
        ManyRecipients("S4"),
        "one message to 500 recipients, relayed",
        relays=True,
        shown=("seconds", "peak_mib"),
    ),
    Scenario(
        IdleConnections("S5"),
        "1,000 idle connections, and others one after another",
        shown=SHOWN_S5,
    ),
    Scenario(
        Throughput(
            "S6",
            REUSED,
            relay=True,
            retention_seconds=RETENTION_SECONDS,
            warm_seconds=2 * RETENTION_SECONDS,
        ),
        "S2r while retired rows are swept",
        servers=OURS,
        relays=True,
    ),
    Scenario(
        Throughput("S2r/tls", REUSED, relay=True, secure=True),
        "S2r by a relay host with TLS and AUTH",
        servers=OURS,
        relays=True,
    ),
    Scenario(
        Handing("P/smtp", False, REUSED),
        "from one mailrelay to another by SMTP, sessions reused",
        servers=OURS,
    ),
    Scenario(
        Handing("P/peer", True, REUSED),
        "the same messages to the same server as a mailrelay/1 peer",
        servers=OURS,
    ),
    _throughput("S1r+1ms", "S1r, each sync 1 ms slower", REUSED, COMPARED, 1),
    _throughput("S2r+1ms", "S2r, each sync 1 ms slower", REUSED, COMPARED, 1),
    _throughput("S1r+5ms", "S1r, each sync 5 ms slower", REUSED, COMPARED, 5),
    _throughput("S2r+5ms", "S2r, each sync 5 ms slower", REUSED, COMPARED, 5),
    _throughput("S1r/200", "S1r with 200 sessions", REUSED_200, OURS),
    _throughput("S2r/200", "S2r with 200 sessions", REUSED_200, OURS),
    _throughput("S1r/200+5ms", "S1r/200, each sync 5 ms slower", REUSED_200, OURS, 5),
    _throughput("S2r/200+5ms", "S2r/200, each sync 5 ms slower", REUSED_200, OURS, 5),
    Scenario(
        Sends("W1", WithV0),
        "Send by the webapi, 50 connections, 5 kB of text and HTML",
        servers=("ours", "mox"),
        shown=SHOWN_W1,
    ),
    Scenario(
        Sends("W1/v1", WithV1),
        "the same by the API, with a key",
        servers=OURS,
        shown=SHOWN_W1,
    ),
    Scenario(
        Calls("W2", WithEndpoint),
        "signed calls to one endpoint of the API, 50 at once; ms from event to call",
        servers=OURS,
        shown=SHOWN_W1,
    ),
    Scenario(
        Calls("W2/1", WithWebhook),
        "webhook calls to one receiver, one at a time as in mox",
        servers=OURS,
        shown=SHOWN_W1,
    ),
    Scenario(
        MailAuth("D1"),
        "sign, verify and seal a message of 5 kB, in one thread",
        servers=OURS,
        shown=SHOWN_D1,
    ),
    Scenario(
        Pages("V", 100_000),
        "pages with 100,000 entries that wait, and as many retired",
        servers=OURS,
        shown=SHOWN_V,
        most_rounds=1,
    ),
    Scenario(
        Pages("V/1M", 1_000_000),
        "pages with 1,000,000 entries that wait, and as many retired",
        servers=OURS,
        shown=SHOWN_V,
        most_rounds=1,
        long=True,
    ),
    Scenario(
        DeadHost("dead", 100_000),
        "100,000 queued for a dead host, and a restart",
        servers=("ours", "postfix"),
        relays=True,
        shown=SHOWN_DEAD,
        most_rounds=1,
    ),
    Scenario(
        DeadHost("dead/1M", 1_000_000),
        "1,000,000 queued for a dead host, and a restart",
        servers=OURS,
        relays=True,
        shown=SHOWN_DEAD,
        most_rounds=1,
        long=True,
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.measure.name: scenario for scenario in _LIST}
