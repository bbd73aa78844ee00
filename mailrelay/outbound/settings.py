"""``[smtp_out]`` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailrelay.net.tls import TLSLevel


@frozen
class Timeouts:
    """Seconds to wait for each step, as RFC 5321 section 4.5.3.2 asks."""

    connect: float = 30.0
    greeting: float = 300.0
    command: float = 300.0
    data: float = 120.0
    content_block: float = 180.0
    end_of_content: float = 600.0


@frozen
class OutboundSettings:
    """How we talk to other servers."""

    ehlo_name: str = ""  # the host name when empty
    source_ipv4: str = ""
    source_ipv6: str = ""
    ipv4: bool = True
    ipv6: bool = True
    prefer_ipv4: bool = False
    mx_port: int = 25
    mx_tls: TLSLevel = TLSLevel.MAY
    host_overrides: Mapping[str, str] = field(factory=dict)  # host or domain -> host:port, tests
    most_hosts: int = 5  # looked at in one attempt
    most_sessions: int = 2  # of them asked in one attempt, as Postfix's smtp_mx_session_limit
    reuse_idle_for: float = 10.0  # seconds an idle connection is kept
    reuse_most: int = 1000  # transactions on one connection
    timeouts: Timeouts = Timeouts()
    own_names: Sequence[str] = ()
