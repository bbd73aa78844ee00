"""The suppression list, asked by an application over HTTP."""

from __future__ import annotations

from tests.integration.webapi.v1.client import Client, ClientCase


class SuppressionTests(ClientCase):
    """``/suppressions``."""

    async def test_life(self) -> None:
        """Add, ask why, be refused a second time, send in vain, remove, send."""
        client = await self.client()
        body = {"address": "Jane.Doe+x@example.net", "reason": "asked us"}
        added = await client.ask("POST", "/suppressions", body)
        self.assertEqual(added.status, 201, added)
        self.assertEqual(added.json["base_address"], "janedoe@example.net")
        [kept] = added.json["suppressions"]
        self.assertEqual((kept["reason"], kept["cause"]), ("asked us", "manual"))
        self.assertEqual((kept["scope"], kept["is_manual"]), ("account", True))
        self.assertEqual((kept["expires_at"], kept["is_expired"]), (None, False))
        again = await client.ask("POST", "/suppressions", {"address": "janedoe@example.net"})
        self.assert_problem(again, 409, "already_there", "address")
        listed = await client.ask("GET", "/suppressions?limit=1")
        [one] = listed.json["suppressions"]
        self.assertEqual((one, listed.json["next_cursor"]), (kept, one["id"]))
        rest = await client.ask("GET", f"/suppressions?cursor={one['id']}")
        self.assertEqual(rest.json, {"suppressions": [], "next_cursor": None})
        await client.http.send(
            To=[{"Address": "jane-doe@example.net"}, {"Address": "janedoe@example.net"}]
        )
        events = await client.ask("GET", "/events?kind=suppressed&wait=30")
        self.assertEqual([e["recipient"] for e in events.json["events"]], ["janedoe@example.net"])
        body = {"address": "j.anedoe@example.net"}
        removed = await client.ask("POST", "/suppressions/remove", body)
        self.assertEqual((removed.status, removed.json["suppressions"]), (200, []))
        self.assertFalse(removed.json["is_suppressed"])
        gone = await client.ask("POST", "/suppressions/remove", body)
        self.assert_problem(gone, 404, "not_found", "address")

    async def test_why(self) -> None:
        """What is known of an address, listed or not."""
        client = await self.client()
        asked = "/suppressions/why?address=x550%40example.net"
        answered = await client.ask("GET", asked)
        self.assertEqual(
            (answered.json["suppressions"], answered.json["is_suppressed"]), ([], False)
        )
        await client.http.send(To=[{"Address": "x550@example.net"}])
        failed = await client.ask("GET", "/events?kind=failed&wait=30")
        [event] = failed.json["events"]
        answered = await client.ask("GET", asked)
        self.assertEqual(answered.json["failures_in_a_row"], 1)
        [one] = answered.json["suppressions"]
        self.assertEqual((one["is_manual"], one["cause"]), (False, "bounce"))
        self.assertIn("smtp code 550", one["reason"])
        self.assertEqual(one["entry_id"], event["entry_id"])
        self.assertIn(event["reply"], one["evidence"])

    async def sent(self, client: Client, *recipients: str) -> dict[str, str]:
        """What became of a message to each."""
        people = [{"Address": one} for one in recipients]
        result = await client.http.send(To=people)
        entries = {one["QueueMsgID"] for one in result["Submissions"]}
        told: dict[str, str] = {}
        while len(told) < len(entries):
            page = await client.ask("GET", "/events?kind=suppressed&kind=delivered&limit=100")
            told = {
                e["recipient"]: e["kind"] for e in page.json["events"] if e["entry_id"] in entries
            }
        return told

    async def test_whole_domain(self) -> None:
        """Nothing of the domain is sent to, as soon as it is answered; others are."""
        client = await self.client()
        added = await client.ask("POST", "/suppressions", {"address": "*@Example.NET"})
        self.assertEqual(added.json["base_address"], "*@example.net")
        told = await self.sent(client, "joe@example.net", "joe@example.org")
        self.assertEqual(told, {"joe@example.net": "suppressed", "joe@example.org": "delivered"})
        why = await client.ask("GET", "/suppressions/why?address=joe%40example.net")
        self.assertEqual(why.json["base_address"], "joe@example.net")
        self.assertEqual([o["base_address"] for o in why.json["suppressions"]], ["*@example.net"])
        removed = await client.ask("POST", "/suppressions/remove", {"address": "*@example.net"})
        self.assertFalse(removed.json["is_suppressed"])
        told = await self.sent(client, "joe@example.net")
        self.assertEqual(told, {"joe@example.net": "delivered"})

    async def test_servers(self) -> None:
        """The server's list holds for every account, which sees it, and cannot change it."""
        client = await self.client()
        lists = self.control(client.http).suppression
        await lists.add(None, "joe@example.net", "a trap")
        why = await client.ask("GET", "/suppressions/why?address=joe%40example.net")
        [one] = why.json["suppressions"]
        self.assertEqual(
            (one["scope"], one["reason"], why.json["is_suppressed"]), ("server", "a trap", True)
        )
        listed = await client.ask("GET", "/suppressions")
        self.assertEqual(listed.json["suppressions"], [])
        removed = await client.ask("POST", "/suppressions/remove", {"address": "joe@example.net"})
        self.assert_problem(removed, 404, "not_found", "address")
        while (await self.sent(client, "joe@example.net"))["joe@example.net"] != "suppressed":
            pass

    async def test_filters(self) -> None:
        """The list by cause, part of the address, domains and end."""
        client = await self.client()
        for body in (
            {"address": "a@one.example", "cause": "complaint"},
            {"address": "*@one.example"},
            {"address": "b@two.example", "expires_at": "2099-01-01T00:00:00Z"},
        ):
            self.assertEqual((await client.ask("POST", "/suppressions", body)).status, 201)
        for query, bases in (
            ("cause=complaint", ["a@one.example"]),
            ("address=ONE.ex", ["a@one.example", "*@one.example"]),
            ("is_domain=true", ["*@one.example"]),
            ("is_domain=false&cause=manual", ["b@two.example"]),
            ("expired=true", []),
            ("expired=false&address=two", ["b@two.example"]),
        ):
            page = await client.ask("GET", f"/suppressions?{query}")
            found = [one["base_address"] for one in page.json["suppressions"]]
            self.assertEqual(found, bases, query)
        refused = await client.ask("GET", "/suppressions?cause=whim")
        self.assert_problem(refused, 400, "invalid_field", "cause")

    async def test_import(self) -> None:
        """Each is answered for; what is wrong keeps no other off the list."""
        client = await self.client()
        await client.ask("POST", "/suppressions", {"address": "there@example.net"})
        given = [
            {"address": "new@example.net", "cause": "unsubscribe", "evidence": "a letter"},
            {"address": "nobody"},
            {"address": "the.re@example.net"},
            {"address": "x@example.net", "expires_at": "2001-01-01T00:00:00Z"},
            {"address": "y@example.net", "added_at": "0001-01-01T00:00:00+14:00"},
            {"address": "z@example.net", "evidence": "two\nlines"},
            {"address": "new+again@example.net"},
            {"address": "old@example.net", "added_at": "2001-01-01T00:00:00Z"},
        ]
        answered = await client.ask("POST", "/suppressions/import", {"suppressions": given})
        self.assertEqual(answered.status, 200, answered)
        results = answered.json["results"]
        self.assertEqual(
            [one["result"] for one in results],
            ["added", "invalid", "present", "invalid", "invalid", "invalid", "present", "added"],
        )
        self.assertEqual(
            [one["field"] for one in results if one["result"] == "invalid"],
            [
                "suppressions[1].address",
                "suppressions[3].expires_at",
                "suppressions[4].added_at",
                "suppressions[5].evidence",
            ],
        )
        told = await self.sent(client, "new@example.net")
        self.assertEqual(told, {"new@example.net": "suppressed"})
        page = await client.ask("GET", "/suppressions?cause=unsubscribe")
        [one] = page.json["suppressions"]
        self.assertEqual((one["evidence"], one["is_manual"]), ("a letter", False))
        page = await client.ask("GET", "/suppressions?address=old")
        self.assertEqual(page.json["suppressions"][0]["added_at"], "2001-01-01T00:00:00Z")
        many = [{"address": f"u{number}@example.net"} for number in range(1001)]
        refused = await client.ask("POST", "/suppressions/import", {"suppressions": many})
        self.assert_problem(refused, 400, "invalid_field", "suppressions")
        answered = await client.ask("POST", "/suppressions/import", {"suppressions": many[1:]})
        self.assertEqual({one["result"] for one in answered.json["results"]}, {"added"})

    async def test_refused(self) -> None:
        """What is no address, and control characters in the reason."""
        client = await self.client()
        for body, field in (
            ({"address": "nobody"}, "address"),
            ({"address": "a@b.example", "reason": "x\ny"}, "reason"),
            ({"address": "a@b.example", "reason": "x\u2028y"}, "reason"),
            ({"address": "a@b.example", "manual": True}, "manual"),
            ({"address": "a@b.example", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
            ({"address": "a@b.example", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
            ({"address": "a@b.example", "cause": ""}, "cause"),
            ({}, "address"),
        ):
            answered = await client.ask("POST", "/suppressions", body)
            self.assert_problem(answered, 400, "invalid_field", field)
