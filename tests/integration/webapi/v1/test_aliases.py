"""``GET /aliases``."""

from __future__ import annotations

from twisted.internet import reactor

from mailrelay.control.aliases import AliasDetails
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import until


class AliasTests(ClientCase):
    """What an account sees of aliases."""

    async def test_seen(self) -> None:
        """Its own and those around them; members only where they may be seen."""
        client: Client = await self.client()
        server = client.http.server
        control = server.control()
        self.addCleanup(control.close)
        members = ["user@example.org", "ann@example.net"]
        seen = AliasDetails(list_members=True, is_list=True)
        await control.aliases.add("list@example.org", members, seen)
        await control.aliases.add(
            "outer@example.org", ["list@example.org"], AliasDetails(allow_from=True)
        )
        own = AliasDetails(allow_from=True)
        await control.aliases.add("own@example.org", ["user@example.org"], own)
        await control.aliases.add("other@plain.example", ["other@example.org"], AliasDetails())
        await until(reactor, lambda: len(server.server.directory.aliases) == 4)
        answered = await client.ask("GET", "/aliases")
        self.assertEqual(answered.status, 200, answered)
        expected = [
            ("list@example.org", True, False, sorted(members)),
            ("outer@example.org", False, False, None),
            ("own@example.org", False, True, None),
        ]
        self.assertEqual(
            [
                (one["address"], one["is_list"], one["may_send_as"], one["members"])
                for one in answered.json["aliases"]
            ],
            expected,
        )
        self.assertNotIn(b"other@", answered.body)
        made = await client.ask("POST", "/keys", {"name": "x", "scopes": ["send"]})
        refused = await client.with_key(made.json["key"]).ask("GET", "/aliases")
        self.assertEqual(refused.status, 403)
