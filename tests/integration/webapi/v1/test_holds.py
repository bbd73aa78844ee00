"""Hold rules of accounts."""

from __future__ import annotations

from tests.integration.webapi.v1.client import ClientCase
from tests.integration.world import OTHER_PASSWORD


class HoldRuleTests(ClientCase):
    """``/hold-rules``."""

    async def test_life(self) -> None:
        """What waits is held, counted, and released with the rule."""
        client = await self.client()
        await client.http.send(To=[{"Address": "x-temperror@localhost"}])
        await client.ask("GET", "/events?kind=delayed&wait=30")
        made = await client.ask("POST", "/hold-rules", {"recipient": "LocalHost"})
        self.assertEqual(made.status, 201, made)
        rule = {"id": made.json["id"], "sender": None, "recipient": "localhost"}
        self.assertEqual(made.json, rule)
        listed = await client.ask("GET", "/hold-rules")
        self.assertEqual(listed.json, {"rules": [{**rule, "held": 1, "is_more": False}]})
        again = await client.ask("POST", "/hold-rules", {"recipient": "localhost"})
        self.assert_problem(again, 409, "conflict")
        gone = await client.ask("DELETE", f"/hold-rules/{rule['id']}?release=true")
        self.assertEqual(gone.status, 204, gone)
        held = await client.ask("GET", "/messages?state=held")
        self.assertEqual(held.json["messages"], [])
        self.assertEqual((await client.ask("GET", "/hold-rules")).json, {"rules": []})

    async def test_others(self) -> None:
        """Another account's rule is not there, and stays."""
        client = await self.client()
        made = await client.ask("POST", "/hold-rules", {"sender": ""})
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", "/hold-rules")).json, {"rules": []})
        for id_ in (made.json["id"], 99):
            refused = await other.ask("DELETE", f"/hold-rules/{id_}")
            self.assert_problem(refused, 404, "not_found")
        self.assertEqual(len((await client.ask("GET", "/hold-rules")).json["rules"]), 1)

    async def test_malformed(self) -> None:
        """The field is named."""
        client = await self.client()
        for field in ("sender", "recipient"):
            for text in ("a@b@c", "a\r\nb", "no domain", "x" * 600):
                refused = await client.ask("POST", "/hold-rules", {field: text})
                self.assert_problem(refused, 400, "invalid_field", field)
