"""A server on loopback and the commands of its operator, which find it by a configuration file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.cli.main import main
from mailrelay.testing.fakes import FakeResolver
from mailrelay.testing.loopback import Loopback

RESOLVER = FakeResolver(failing=frozenset({"slow.test", "other.test"}))
"""Mail for these two waits for its next attempt."""

CONFIG = """\
hostname = "mx.example.org"
data_dir = "."
[[listener]]
role = "mx"
endpoint = "tcp:0:interface=127.0.0.1"
"""


@frozen
class Operated:
    """The server, until it is stopped, and what its operator does."""

    server: Loopback
    config: Path

    @classmethod
    async def start(cls, case: TestCase, reactor: Any, **settings: Any) -> Operated:
        """A server that relays for loopback."""
        server = await Loopback.start(
            case,
            reactor,
            roles=("mx", "submission"),
            resolver=RESOLVER,
            trusted_networks=("127.0.0.1/32",),
            **settings,
        )
        config = server.settings.data_dir / "mailrelay.toml"
        config.write_text(CONFIG)
        return cls(server, config)

    async def stop(self) -> None:
        """Stop the server; commands go on."""
        await self.server.server.stopService()

    async def accept(self, *recipients: str, body: bytes = b"Subject: hello\r\n\r\nhi") -> None:
        """Have the server take a message."""
        replies = await self.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<sender@client.test>",
            *(f"RCPT TO:<{one}>".encode() for one in recipients),
            b"DATA",
            body + b"\r\n.",
        )
        self.server.case.assertEqual(replies[-1][:3], b"250", replies)

    async def submit(self, *recipients: str) -> None:
        """Submit a message as the account."""
        content = b"From: user@example.org\r\nSubject: hello\r\n\r\nhi\r\n"
        answer = await self.server.submit(content, *recipients)
        self.server.case.assertEqual(answer[:3], b"250", answer)

    def run(self, *arguments: str, code: int = 0, given: str = "") -> Result:
        """Run a command; it must end with ``code``."""
        return run(
            self.server.case, *arguments, "--config", str(self.config), code=code, given=given
        )

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json").stdout)

    async def until(self, holds: Callable[[], Any]) -> Any:
        """What ``holds`` answers once that is true."""
        while not (answer := holds()):
            await soon(self.server.reactor)
        return answer

    async def waiting(self, recipient: str) -> Any:
        """The entry for ``recipient``, once its first attempt has failed."""

        def found() -> Any:
            rows = self.json("queue", "list", "--recipient", recipient)
            return [row for row in rows if row["state"] == "waiting"]

        [row] = await self.until(found)
        return row


def run(case: Any, *arguments: str, code: int = 0, given: str = "") -> Result:
    """Run ``mailrelay`` in this process; it must end with ``code``."""
    runner = CliRunner(env={"MAILRELAY_CONFIG": None, "HOME": os.devnull})
    result = runner.invoke(main, list(arguments), input=given, catch_exceptions=False)
    case.assertEqual(result.exit_code, code, result.output)
    return result


def soon(reactor: Any) -> Deferred[None]:
    """Fires a moment later."""
    waited: Deferred[None] = Deferred()
    reactor.callLater(0.02, waited.callback, None)
    return waited
