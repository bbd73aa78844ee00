"""What the tests of this package share: one message, one way, one attempt at it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from mailrelay.net.tls import TLSLevel, client_tls
from mailrelay.outbound.health import RelayHealth
from mailrelay.outbound.hosts import HostFinder
from mailrelay.outbound.pool import ConnectionPool
from mailrelay.outbound.settings import OutboundSettings, Timeouts
from mailrelay.outbound.tls_policy import TLSPolicies
from mailrelay.outbound.transport import SMTPTransport
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Content, Entry, Message
from mailrelay.queue.outcome import Deferral, Delivered, Outcome, PermanentFailure
from mailrelay.queue.transport import Job, Result
from mailrelay.routing.ways import ByMX, ByRelayHost, RelayHost
from mailrelay.smtp.address import Address
from mailrelay.testing.fakes import FakeResolver

BODY = b"Subject: hello\r\n\r\n.a dot\r\nand a line\r\n"
RECIPIENT = "someone@peer.test"


class OutboundTestCase(TestCase):
    """A pool of real connections on loopback, which are gone when the test ends."""

    timeout = 60
    settings = OutboundSettings(ehlo_name="us.test")
    trust_root: Any = None
    now = staticmethod(time.time)
    policies = TLSPolicies()

    def transport(
        self, resolver: FakeResolver | None = None, tls: TLSLevel = TLSLevel.MAY, **settings: Any
    ) -> SMTPTransport:
        """A transport; ``settings`` are fields of OutboundSettings."""
        chosen = evolve(self.settings, **settings)
        self.spool: bytes | None = None
        self.content_bytes = BODY
        pool = ConnectionPool(
            reactor, reactor, chosen, chosen.ehlo_name, client_tls(self.trust_root), lambda: "nonce"
        )
        self.pool = pool

        async def gone() -> None:
            pool.abort_all()
            await pool.gone()

        self.addCleanup(gone)
        hosts = HostFinder(
            *(resolver or FakeResolver(), chosen, Random(1), frozenset({"us.test"}), frozenset()),
            self.policies.dane,
        )
        self.health = RelayHealth(reactor.seconds)
        return SMTPTransport(
            *(pool, hosts, tls, self.health, self.now, self._content, self._read),
            self.policies,
        )

    def _content(self, _: int) -> Deferred[Content]:
        if self.spool is not None:
            return succeed(Content(b"", None, "spooled", len(self.spool)))
        return succeed(Content(b"", self.content_bytes, None, len(self.content_bytes)))

    def _read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        assert self.spool is not None
        return succeed(self.spool[offset : offset + size])

    async def attempt(
        self,
        port: int,
        recipients: Sequence[str] = (RECIPIENT,),
        *,
        transport: SMTPTransport | None = None,
        tls: TLSLevel = TLSLevel.MAY,
        login: tuple[str, str] | None = None,
        relay: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Result:
        """Try once by a relay host on ``port``."""
        username, password = login or (None, None)
        host = RelayHost(
            "127.0.0.1", port, tls=tls, username=username, password=password, **(relay or {})
        )
        job = make_job(ByRelayHost(host), f"relay:{username}@{port}:{tls}", recipients, **fields)
        return await (transport or self.transport()).attempt(job)

    async def outcome(self, port: int, **given: Any) -> Outcome:
        """What a try for one recipient comes to."""
        result = await self.attempt(port, **given)
        [outcome] = result.outcomes
        return outcome


def make_job(way: object, key: str, recipients: Sequence[str], **fields: Any) -> Job:
    """A job; ``fields`` are those of Message, and ``entry`` those of Entry."""
    entry_fields = fields.pop("entry", {})
    sender = fields.pop("reverse_path", Address.parse("a@us.test"))
    message = Message(1, 1, sender, 0.0, len(BODY), "submission", **fields)
    entries = [
        Entry(number, message, Address.parse(recipient), 0.0, 0.0, **entry_fields)
        for number, recipient in enumerate(recipients, 1)
    ]
    return Job(Destination(key, way), message, entries)


def mx_job(domain: str, **fields: Any) -> Job:
    """A job for one recipient at a domain, by MX."""
    return make_job(ByMX(domain), f"mx:{domain}", [f"someone@{domain}"], **fields)


def short(outcome: Outcome) -> str:
    """An outcome as tests compare it: what it is, code, enhanced status."""
    kinds = {Delivered: "delivered", Deferral: "deferral", PermanentFailure: "failure"}
    return f"{kinds[type(outcome)]} {outcome.reply.code} {outcome.reply.status}"


QUICK = Timeouts(
    connect=5, greeting=0.2, command=0.2, data=0.2, content_block=0.2, end_of_content=0.2
)
