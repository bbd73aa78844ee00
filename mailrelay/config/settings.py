"""All settings.  Each package owns its own; this is where they meet the file's section names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from mailrelay.acceptance.first_time import FirstTimeSettings
from mailrelay.acceptance.following import Follow
from mailrelay.acceptance.greylisting import GreylistSettings
from mailrelay.acceptance.passing import ForwardingSettings
from mailrelay.acceptance.rspamd import RspamdSettings
from mailrelay.certificates.settings import ACMESettings, TLSSection
from mailrelay.config.transports import (
    RelayHostSection,
    RelayingSection,
    RouteSection,
    TransportSection,
)
from mailrelay.control.sessions import SessionSettings
from mailrelay.directory.login import LoginSettings
from mailrelay.handoff.endpoints import HandOffInSettings
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.inbound.context import Role
from mailrelay.net.tls import TLSLevel
from mailrelay.policy.blocklists import DNSBLSettings
from mailrelay.policy.limits import Limits, ListenerLimits
from mailrelay.policy.rates import SenderLimits
from mailrelay.reporting.settings import ReportSettings
from mailrelay.web.client_settings import AutoconfigSettings
from mailrelay.web.settings import HTTPSettings
from mailrelay.webhooks.settings import WebhookSettings


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class ListenerSection:
    """One ``[[listener]]``."""

    role: str = field(metadata=_doc("mx, submission, submissions, http or https"))
    endpoint: str = field(metadata=_doc("a Twisted endpoint string, such as tcp:25"))
    auth_without_tls: bool = field(
        default=False, metadata=_doc("offer AUTH in clear: for a laptop, never on a network")
    )
    proxy_protocol: bool = field(
        default=False, metadata=_doc("expect a PROXY header (v1 or v2) first; only behind a proxy")
    )
    repair_newlines: bool = field(
        default=False, metadata=_doc("make bare CR and LF in content CRLF instead of refusing them")
    )
    hide_submitters: bool = field(
        default=True, metadata=_doc("keep the address of who logged in out of the Received field")
    )
    monitoring: bool = field(
        default=False, metadata=_doc("answer /metrics and /healthz here; not on a public address")
    )
    webapi: bool = field(
        default=False, metadata=_doc("answer the application's API, /webapi/, on this listener")
    )
    handoff: bool = field(
        default=False,
        metadata=_doc("take mail at the endpoints of [[handoff_in]] on this listener"),
    )
    relay: bool = field(
        default=False, metadata=_doc("take mail of peers, /relay/v1/, on this listener")
    )
    autoconfig: bool = field(
        default=False,
        metadata=_doc("tell mail programs how to send: Thunderbird, Outlook, Apple's"),
    )
    pages: bool = field(
        default=False, metadata=_doc("serve the pages, which begin at /, on this listener")
    )
    forwarded: bool = field(
        default=False,
        metadata=_doc(
            "behind an HTTP proxy of yours: the last X-Forwarded-For entry is the client's address"
        ),
    )
    judge: bool = field(
        default=False,
        metadata=_doc("judge mail of strangers by SPF, DKIM and DMARC; role mx only: judging.md"),
    )
    on_dmarc_failure: Follow = field(
        default=Follow.REJECT,
        metadata=_doc("how far a domain's wish is followed: report, quarantine or reject"),
    )
    on_spf_failure: Follow = field(
        default=Follow.REPORT,
        metadata=_doc("for hosts that SPF forbids, where DMARC does not pass: the same words"),
    )
    limits: ListenerLimits = field(
        factory=ListenerLimits, metadata=_doc("what differs from [limits] on this listener")
    )


@frozen
class StorageSection:
    """``[storage]``."""

    url: str = field(
        default="sqlite:///mailrelay.db",
        metadata=_doc("sqlite:///FILE (relative to data_dir) or postgresql+psycopg://..."),
    )
    min_free_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata=_doc("below this much free space MAIL is answered 452 4.3.1"),
    )


@frozen
class QueueSection:
    """``[queue]``.  Durations are seconds."""

    retry_profile: str = field(default="default", metadata=_doc("default or mox"))
    first_retry_after: float | None = field(
        default=None, metadata=_doc("wait before the first retry; it doubles each time")
    )
    longest_retry_after: float | None = field(default=None, metadata=_doc("longest such wait"))
    give_up_after: float | None = field(default=None, metadata=_doc("life in the queue"))
    delay_dsn_after: float | None = field(
        default=None, metadata=_doc("when the sender is told that it takes long")
    )
    concurrency_per_destination: int = field(default=10, metadata=_doc("attempts at once"))
    recipients_per_attempt: int = field(
        default=100, metadata=_doc("recipients of one message in one transaction")
    )
    retired_keep_after: float = field(
        default=3 * 86400.0, metadata=_doc("how long retired entries stay visible")
    )
    failed_content_keep_after: float = field(
        default=3 * 86400.0,
        metadata=_doc(
            "how long a message that failed, or was canceled, for a recipient can be sent again;"
            " not longer than its entries stay visible; 0 keeps nothing"
        ),
    )
    statistics_keep_after: float = field(
        default=400 * 86400.0, metadata=_doc("how long the numbers of each hour are kept")
    )
    reports_per_hour: int = field(
        default=100,
        metadata=_doc(
            "DSNs about mail of strangers to one domain of others: so many at once, and as many an"
            " hour; more wait, up to three days; 0 is no limit"
        ),
    )
    window: int = field(
        default=10_000, metadata=_doc("entries in memory at the most, and 1,000 urgent ones")
    )


@frozen
class DNSSection:
    """``[dns]``."""

    nameservers: Sequence[str] = field(
        factory=tuple, metadata=_doc("addresses, with :port if not 53; the system's when empty")
    )
    timeout: float = field(default=10.0, metadata=_doc("seconds for one look-up"))
    validating: bool = field(
        default=False,
        metadata=_doc(
            "nameservers check DNSSEC, and nobody is between them and us: what they say is signed"
            " is believed to be"
        ),
    )
    addresses: Sequence[str] = field(
        factory=tuple,
        metadata=_doc("public ones that mail leaves from and comes to; found out when empty"),
    )


@frozen
class SMTPOutSection:
    """``[smtp_out]``."""

    ehlo_name: str = field(default="", metadata=_doc("name in EHLO; hostname when empty"))
    source_ipv4: str = field(default="", metadata=_doc("address to connect from"))
    source_ipv6: str = field(default="", metadata=_doc("address to connect from"))
    ipv4: bool = field(default=True, metadata=_doc("connect to IPv4 addresses"))
    ipv6: bool = field(default=True, metadata=_doc("connect to IPv6 addresses"))
    prefer_ipv4: bool = field(default=False, metadata=_doc("try IPv4 first"))
    mx_port: int = field(default=25, metadata=_doc("port of MX hosts; for tests"))
    mx_tls: TLSLevel = field(default=TLSLevel.MAY, metadata=_doc("TLS towards MX hosts"))
    mta_sts: bool = field(
        default=False, metadata=_doc("obey the MTA-STS policies of other domains")
    )
    dane: bool = field(
        default=True, metadata=_doc("obey TLSA records, with a resolver that is validating")
    )
    tls: dict[str, TLSLevel] = field(
        factory=dict,
        metadata=_doc(
            "domain, or .domain for all below it, to a level that counts whatever it publishes"
        ),
    )
    host_overrides: dict[str, str] = field(
        factory=dict, metadata=_doc("host or domain to host:port, instead of DNS; for tests")
    )
    command_timeout: float = field(default=300.0, metadata=_doc("seconds to wait for a reply"))
    connect_timeout: float = field(default=30.0, metadata=_doc("seconds to wait for a connection"))


@frozen
class LogSection:
    """``[log]``."""

    mail_log: str = field(
        default="-", metadata=_doc("file for the mail log, - for beside the log, empty for none")
    )
    file: str = field(
        default="",
        metadata=_doc("file for the log, - for standard output; if empty, where twistd says"),
    )
    format: str = field(default="human", metadata=_doc("human or json"))
    level: str = field(default="info", metadata=_doc("debug, info, warn, error or critical"))
    levels: dict[str, str] = field(
        factory=dict, metadata=_doc('level by part, such as "mailrelay.outbound" = "debug"')
    )


@frozen
class Settings:
    """The whole configuration of one node."""

    hostname: str = field(metadata=_doc("the server's own name, in greetings and trace"))
    data_dir: Path = field(metadata=_doc("where the database, spool and keys are"))
    node: str = field(default="main", metadata=_doc("this process's name among those that share"))
    trusted_networks: Sequence[str] = field(
        factory=tuple, metadata=_doc("networks that may relay without login; none by default")
    )
    run_as: str = field(default="", metadata=_doc("user to become once the ports are bound"))
    allow_root: bool = field(default=False, metadata=_doc("stay root when started as root"))
    stop_grace: float = field(
        default=20.0, metadata=_doc("seconds that transactions under way get at a stop")
    )
    listener: Sequence[ListenerSection] = field(factory=tuple, metadata=_doc(""))
    storage: StorageSection = field(factory=StorageSection, metadata=_doc(""))
    tls: TLSSection = field(factory=TLSSection, metadata=_doc(""))
    acme: ACMESettings | None = field(default=None, metadata=_doc(""))
    relaying: RelayingSection = field(factory=RelayingSection, metadata=_doc(""))
    relay_host: RelayHostSection | None = field(default=None, metadata=_doc(""))
    transport: Sequence[TransportSection] = field(factory=tuple, metadata=_doc(""))
    route: Sequence[RouteSection] = field(factory=tuple, metadata=_doc(""))
    handoff: Sequence[HandOffSettings] = field(factory=tuple, metadata=_doc(""))
    handoff_in: Sequence[HandOffInSettings] = field(factory=tuple, metadata=_doc(""))
    handoff_relay: RelayHostSection | None = field(default=None, metadata=_doc(""))
    limits: Limits = field(factory=Limits, metadata=_doc(""))
    dnsbl: DNSBLSettings = field(factory=DNSBLSettings, metadata=_doc(""))
    sender_limits: SenderLimits = field(factory=SenderLimits, metadata=_doc(""))
    greylisting: GreylistSettings = field(factory=GreylistSettings, metadata=_doc(""))
    rspamd: RspamdSettings = field(factory=RspamdSettings, metadata=_doc(""))
    first_time_senders: FirstTimeSettings = field(factory=FirstTimeSettings, metadata=_doc(""))
    queue: QueueSection = field(factory=QueueSection, metadata=_doc(""))
    login: LoginSettings = field(factory=LoginSettings, metadata=_doc(""))
    forwarding: ForwardingSettings = field(factory=ForwardingSettings, metadata=_doc(""))
    http: HTTPSettings = field(factory=HTTPSettings, metadata=_doc(""))
    autoconfig: AutoconfigSettings = field(factory=AutoconfigSettings, metadata=_doc(""))
    webhooks: WebhookSettings = field(factory=WebhookSettings, metadata=_doc(""))
    pages: SessionSettings = field(factory=SessionSettings, metadata=_doc(""))
    dns: DNSSection = field(factory=DNSSection, metadata=_doc(""))
    smtp_out: SMTPOutSection = field(factory=SMTPOutSection, metadata=_doc(""))
    reports: ReportSettings = field(factory=ReportSettings, metadata=_doc(""))
    log: LogSection = field(factory=LogSection, metadata=_doc(""))
    localserve: bool = field(
        default=False, metadata=_doc("accept everything, deliver only locally; see localserve")
    )


SMTP_ROLES = {role.value: role for role in Role}
HTTP_ROLES = ("http", "https")
