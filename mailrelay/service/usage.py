"""What an account uses, composed: its overview, and what the API tells."""

from __future__ import annotations

from collections.abc import Sequence

from mailrelay.control.statistics import StatisticsControl
from mailrelay.control.usage import UsageControl
from mailrelay.net.surroundings import Surroundings
from mailrelay.pages.door import Doors
from mailrelay.pages.overview import OverviewPages
from mailrelay.storage.stores import Stores
from mailrelay.storage.usage import DatabaseUsage
from mailrelay.web.request import Route
from mailrelay.webapi.v1.operations import Operation
from mailrelay.webapi.v1.usage import UsageOperations


def usage_control(s: Surroundings, stores: Stores) -> UsageControl:
    """What accounts use."""
    statistics = StatisticsControl(stores.statistics, s.now)
    return UsageControl(DatabaseUsage(stores.database), statistics, s.now)


def usage_operations(s: Surroundings, stores: Stores) -> Sequence[Operation]:
    """``/account/usage``."""
    return UsageOperations(usage_control(s, stores)).operations()


def overview_routes(s: Surroundings, stores: Stores, doors: Doors) -> Sequence[Route]:
    """``/overview``."""
    statistics = StatisticsControl(stores.statistics, s.now)
    return OverviewPages(doors, statistics, usage_control(s, stores)).routes()
