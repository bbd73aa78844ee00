"""An application beside a server: the webapi, a receiver for its webhooks, and its operator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from mailrelay.testing.loopback import PASSWORD
from mailrelay.webhooks.settings import WebhookSettings
from tests.cli.operated import CONFIG, run
from tests.integration.receiver import Received, Receiver
from tests.integration.webapi.api import API, APICase

OUT, IN = "/out", "/in"
FROM_ID_LOGIN = "user+api@example.org"
LOCAL_CALLS = WebhookSettings(("127.0.0.0/8",))


@frozen
class World:
    """One server, whose mail all goes to its own mailboxes, and one application."""

    api: API
    receiver: Receiver
    config: Path

    def run(self, *arguments: str, given: str = "") -> None:
        """A command of the operator's."""
        run(self.api.server.case, *arguments, "--config", str(self.config), given=given)

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        given = [*arguments, "--config", str(self.config), "--json"]
        return json.loads(run(self.api.server.case, *given).stdout)

    async def send(self, to: str, **fields: object) -> Any:
        """Send to one recipient: its Submission, and the MessageID."""
        sent = await self.api.send(To=[{"Address": to}], **fields)
        [submission] = sent["Submissions"]
        return {**submission, "MessageID": sent["MessageID"]}

    async def deliver(self, recipient: str, content: bytes, sender: str = "") -> None:
        """Mail from outside; ``content`` ends in a newline, and has LF for CRLF."""
        replies = await self.api.server.say(
            b"EHLO client.test",
            f"MAIL FROM:<{sender}>".encode(),
            f"RCPT TO:<{recipient}>".encode(),
            b"DATA",
            content.replace(b"\n", b"\r\n") + b".",
        )
        self.api.server.case.assertEqual(replies[-1][:3], b"250", replies)


class WorldCase(APICase):
    """A test of an application."""

    async def world(
        self, *options: str, from_ids: bool = True, hooks: bool = True, **settings: Any
    ) -> World:
        """Start one; ``options`` are those of ``account set``."""
        given: dict[str, Any] = {"webhooks": LOCAL_CALLS, **settings}
        api = await self.start(**given)
        api = api.logged_in(FROM_ID_LOGIN, PASSWORD) if from_ids else api
        receiver = Receiver()
        self.addCleanup(receiver.close)
        config = api.server.settings.data_dir / "mailrelay.toml"
        config.write_text(CONFIG)
        world = World(api, receiver, config)
        hooked = ("--outgoing-webhook", receiver.url(OUT)) if hooks else ()
        await self.set_account(world, *hooked, "--from-id-login", FROM_ID_LOGIN, *options)
        return world

    async def set_account(self, world: World, *options: str, given: str = "") -> None:
        """Change the account; the server knows it then."""
        before = world.api.server.server.directory
        world.run("account", "set", "user", *options, given=given)
        await self.until(lambda: world.api.server.server.directory is not before)

    async def told(
        self, world: World, count: int = 1, path: str = OUT, event: str | None = None
    ) -> Sequence[Received]:
        """The first ``count`` calls at a path, once they came; there must not be more."""
        await self.until(lambda: len(world.receiver.at(path, event)) >= count)
        found = world.receiver.at(path, event)
        self.assertEqual(len(found), count, found)
        return found
