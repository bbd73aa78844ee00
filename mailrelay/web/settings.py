"""``[http]`` of the configuration: what a listener for HTTP puts up with."""

from __future__ import annotations

from attrs import evolve, field, frozen

from mailrelay.policy.limits import Limits


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class HTTPSettings:
    """Sizes in bytes, times in seconds."""

    public_url: str = field(
        default="",
        metadata=_doc(
            "where the webapi's listeners are seen from outside, as https://mail.example.org:"
            " links in messages and webhooks begin with it"
        ),
    )
    file_links_hold: float = field(
        default=7 * 86400.0,
        metadata=_doc("that a link to a received message or its attachment holds"),
    )
    connections: int = field(default=2000, metadata=_doc("open connections in all; 503"))
    connections_per_address: int = field(
        default=100, metadata=_doc("open connections of one address, IPv6 by /64; 503")
    )
    header_bytes: int = field(
        default=32 * 1024, metadata=_doc("request line and header fields together; 431")
    )
    header_fields: int = field(default=100, metadata=_doc("header fields of a request; 431"))
    header_seconds: float = field(
        default=20.0, metadata=_doc("for the whole header, and the TLS handshake; 408")
    )
    idle_seconds: float = field(
        default=60.0, metadata=_doc("that a connection may wait for its next request")
    )
    body_seconds: float = field(
        default=30.0, metadata=_doc("that a body may lag behind body_rate; 408")
    )
    body_rate: int = field(default=1024, metadata=_doc("bytes a second that a body must bring"))
    write_seconds: float = field(
        default=60.0, metadata=_doc("without the client reading its answer; then it is cut")
    )
    requests_per_minute: int = field(
        default=1000,
        metadata=_doc(
            "requests of one address (IPv6 /64); its /26 (/48) may make 3 and its /21 (/32) 9"
            " times as many; 0 is no limit; 429"
        ),
    )
    requests_per_hour: int = field(
        default=5000, metadata=_doc("the same for an hour; 0 is no limit; 429")
    )
    streams_per_account: int = field(
        default=10, metadata=_doc("streams of events that an account has open at once; 429")
    )
    large_bodies: int = field(
        default=8, metadata=_doc("bodies over 64 KiB that are in memory at once, the rest waits")
    )
    large_bodies_waiting: int = field(
        default=32, metadata=_doc("that may wait for their turn; 503")
    )

    def connection_limits(self, *, behind_proxy: bool) -> Limits:
        """For ConnectionCount; a proxy brings everybody from its own address."""
        per_address = self.connections if behind_proxy else self.connections_per_address
        return evolve(Limits(), connections=self.connections, connections_per_address=per_address)
