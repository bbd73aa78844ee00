"""The suppression list, asked by an application over HTTP."""

from __future__ import annotations

from tests.integration.webapi.v1.client import ClientCase


class SuppressionTests(ClientCase):
    """``/suppressions``."""

    async def test_life(self) -> None:
        """Add, ask why, be refused a second time, send in vain, remove, send."""
        client = await self.client()
        body = {"address": "Jane.Doe+x@example.net", "reason": "asked us"}
        added = await client.ask("POST", "/suppressions", body)
        self.assertEqual(added.status, 201, added)
        self.assertEqual(added.json["base_address"], "janedoe@example.net")
        self.assertEqual(added.json["suppression"]["reason"], "asked us")
        self.assertTrue(added.json["suppression"]["is_manual"])
        again = await client.ask("POST", "/suppressions", {"address": "janedoe@example.net"})
        self.assert_problem(again, 409, "already_there", "address")
        listed = await client.ask("GET", "/suppressions?limit=1")
        [one] = listed.json["suppressions"]
        self.assertEqual((one, listed.json["next_cursor"]), (added.json["suppression"], one["id"]))
        rest = await client.ask("GET", f"/suppressions?cursor={one['id']}")
        self.assertEqual(rest.json, {"suppressions": [], "next_cursor": None})
        await client.http.send(
            To=[{"Address": "jane-doe@example.net"}, {"Address": "janedoe@example.net"}]
        )
        events = await client.ask("GET", "/events?kind=suppressed&wait=30")
        self.assertEqual([e["recipient"] for e in events.json["events"]], ["janedoe@example.net"])
        body = {"address": "j.anedoe@example.net"}
        removed = await client.ask("POST", "/suppressions/remove", body)
        self.assertEqual((removed.status, removed.json["suppression"]), (200, None))
        gone = await client.ask("POST", "/suppressions/remove", body)
        self.assert_problem(gone, 404, "not_found", "address")

    async def test_why(self) -> None:
        """What is known of an address, listed or not."""
        client = await self.client()
        answered = await client.ask("GET", "/suppressions/why?address=x550%40example.net")
        self.assertEqual(answered.json["suppression"], None)
        await client.http.send(To=[{"Address": "x550@example.net"}])
        await client.ask("GET", "/events?kind=failed&wait=30")
        answered = await client.ask("GET", "/suppressions/why?address=x550%40example.net")
        self.assertEqual(answered.json["failures_in_a_row"], 1)
        self.assertFalse(answered.json["suppression"]["is_manual"])
        self.assertIn("smtp code 550", answered.json["suppression"]["reason"])

    async def test_refused(self) -> None:
        """What is no address, and control characters in the reason."""
        client = await self.client()
        for body, field in (
            ({"address": "nobody"}, "address"),
            ({"address": "a@b.example", "reason": "x\ny"}, "reason"),
            ({"address": "a@b.example", "reason": "x\u2028y"}, "reason"),
            ({"address": "a@b.example", "manual": True}, "manual"),
            ({}, "address"),
        ):
            answered = await client.ask("POST", "/suppressions", body)
            self.assert_problem(answered, 400, "invalid_field", field)
