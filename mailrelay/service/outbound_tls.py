"""What decides about TLS towards MX hosts, composed; and what keeps the policies that it knows."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from typing_extensions import override

import mailrelay
from mailrelay.config.convert import obeys_dane, obeys_mta_sts
from mailrelay.config.settings import Settings
from mailrelay.net.dnssec import ValidatingResolver
from mailrelay.net.http import ClientSettings, HTTPAnswer, HTTPClient
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.tls import client_tls
from mailrelay.outbound.mta_sts import MTASTS
from mailrelay.outbound.tls_policy import TLSPolicies
from mailrelay.outbound.tls_result import TLSResult
from mailrelay.storage.mta_sts import DatabaseMTASTS
from mailrelay.storage.stores import Stores
from mailrelay.storage.upkeep import repeated

REFRESH_EVERY = 600.0

_log = Logger()


class OutboundTLS(MultiService):
    """``policies`` are the ways out's; ``told`` is given how each session went."""

    def __init__(
        self,
        s: Surroundings,
        settings: Settings,
        stores: Stores,
        told: Callable[[TLSResult], object] | None = None,
    ) -> None:
        super().__init__()
        self.mta_sts: MTASTS | None = None
        self._client: HTTPClient | None = None
        if obeys_mta_sts(settings):
            self.mta_sts = self._make_mta_sts(s, stores)
        sts = self.mta_sts
        dane = validating_resolver(s, settings)
        discovers = sts is not None or dane is not None
        self.policies = TLSPolicies(
            settings.smtp_out.tls,
            sts.policy_of if sts is not None else None,
            dane,
            told if discovers else None,
            sts.failed if sts is not None else None,
        )

    def _make_mta_sts(self, s: Surroundings, stores: Stores) -> MTASTS:
        client = self._client = HTTPClient(
            s.reactor, s.clock, s.resolver, client_tls(), ClientSettings(idle_after=1.0)
        )
        headers = {"User-Agent": f"mailrelay/{mailrelay.__version__} (MTA-STS)"}

        async def get(url: str, timeout: float) -> HTTPAnswer:
            return await client.call("GET", url, headers, b"", timeout)

        records = DatabaseMTASTS(stores.database)
        sts = MTASTS(s.resolver.texts, get, records, s.clock, s.now)
        refreshing = repeated(
            s.clock, REFRESH_EVERY, lambda: Deferred.fromCoroutine(sts.refresh()), _log
        )
        refreshing.setServiceParent(self)
        return sts

    @override
    def stopService(self) -> Deferred[object]:
        """Break off what is fetched; fires when its connections are closed."""
        if self.mta_sts is not None:
            self.mta_sts.stop()
        stopped: Deferred[object] = super().stopService()
        client = self._client
        return stopped if client is None else stopped.addCallback(lambda _: client.close())


def validating_resolver(s: Surroundings, settings: Settings) -> ValidatingResolver | None:
    """What DANE asks, when it is to be asked."""
    return s.validating if obeys_dane(settings) else None
