"""What is known of one SMTP session."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from mailrelay.net.tls import negotiated
from mailrelay.policy.relay import Submitter


@define
class Session:
    """Changed by its protocol alone; STARTTLS forgets most of it (RFC 3207 section 4.2)."""

    transport: Any = None
    peer_ip: str = ""
    tls: bool = False
    hello_name: str | None = None
    esmtp: bool = False
    submitter: Submitter = field(factory=Submitter)

    @property
    def tls_text(self) -> str | None:
        """Version and cipher, for the trace."""
        agreed = negotiated(self.transport) if self.tls else None
        return str(agreed) if agreed else None

    def tls_started(self) -> None:
        """Forget what was said in clear."""
        self.tls, self.hello_name, self.esmtp = True, None, False
        self.submitter = Submitter(trusted=self.submitter.trusted)
