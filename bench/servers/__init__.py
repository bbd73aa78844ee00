"""The servers that are measured, each started with its best honest settings."""

from bench.servers.base import Job, Server
from bench.servers.ceiling import Ceiling
from bench.servers.exim import Exim
from bench.servers.haraka import Haraka
from bench.servers.mox import Mox
from bench.servers.ours import Ours
from bench.servers.postfix import Postfix
from bench.servers.stock_twisted import StockTwisted

SERVERS: dict[str, type[Server]] = {
    kind.name: kind for kind in (Ours, Postfix, StockTwisted, Exim, Haraka, Mox, Ceiling)
}

__all__ = ["SERVERS", "Job", "Server"]
