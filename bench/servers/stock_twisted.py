"""A bare twisted.mail.smtp server that stores each message durably in its event loop."""

import sys
from pathlib import Path

from bench.servers.base import Server, count_files

REPOSITORY = Path(__file__).parents[2]


class StockTwisted(Server):
    """Runs `bench.servers.stock_twisted_server`."""

    name = "twisted"
    relays = False

    def prepare(self) -> None:
        """Makes the directory for messages."""
        (self.home / "new").mkdir()

    def command(self) -> list[str]:
        """The same Python as the benchmark's."""
        module = "bench.servers.stock_twisted_server"
        return [sys.executable, "-m", module, str(self.port), str(self.home / "new")]

    def environment(self) -> dict[str, str]:
        """Lets the server find this package."""
        return {**super().environment(), "PYTHONPATH": str(REPOSITORY)}

    def settings(self) -> str:
        """What it does before each 250."""
        return (
            "stock ESMTP and LineReceiver, epoll reactor, one process, no queue;\n"
            "file written, fsynced, renamed, directory fsynced in the event loop before 250"
        )

    def accepted(self) -> int:
        """Files in place under their final names."""
        return count_files(self.home / "new", ending=".eml")

    def queued(self) -> int:
        """Has no queue."""
        return 0
