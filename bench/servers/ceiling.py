"""smtp-sink as a server: the limit of the load tools themselves."""

from bench.load import last_count, sink_command
from bench.servers.base import Server


class Ceiling(Server):
    """Answers and forgets; nothing can be faster with this load."""

    name = "ceiling"
    relays = False

    def prepare(self) -> None:
        """Has nothing to configure."""

    def command(self) -> list[str]:
        """Runs smtp-sink with its counters in the output file."""
        return sink_command(self.port)

    def settings(self) -> str:
        """Names the tool."""
        return "smtp-sink: answers and forgets (the limit of the load tools)"

    def accepted(self) -> int:
        """Counted by smtp-sink."""
        return last_count(self.home / "output")

    def queued(self) -> int:
        """Has no queue."""
        return 0
