"""How many requests one address, and the networks around it, may make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field

from mailrelay.directory.login import networks
from mailrelay.web.settings import HTTPSettings

_MOST_COUNTS = 50_000


@define
class RequestLimits:
    """Counts in fixed windows, as mox has them: a minute and an hour, three sizes of network."""

    settings: HTTPSettings
    seconds: Callable[[], float]
    _counts: OrderedDict[tuple[str, float, int], int] = field(factory=OrderedDict)

    def retry_after(self, ip: str) -> float | None:
        """Count a request from ``ip``; the seconds to wait when it is one too many.

        A request that is refused counts only where there was room: it lengthens no wait.
        """
        now = self.seconds()
        windows = [
            (window, most)
            for window, most in (
                (60.0, self.settings.requests_per_minute),
                (3600.0, self.settings.requests_per_hour),
            )
            if most
        ]
        wait = 0.0
        counted: dict[tuple[str, float, int], None] = {}  # the three may be one: a Unix socket
        for factor, network in zip((1, 3, 9), networks(ip), strict=True):
            for window, most in windows:
                key = (network, window, int(now // window))
                if self._counts.get(key, 0) >= most * factor:
                    wait = max(wait, window - now % window)
                counted[key] = None
        if wait:
            return wait
        for key in counted:
            self._counts[key] = self._counts.pop(key, 0) + 1
        while len(self._counts) > _MOST_COUNTS:
            self._counts.popitem(last=False)
        return None
