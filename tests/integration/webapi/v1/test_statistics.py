"""``/statistics``, asked by an application over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet import reactor as the_reactor

from mailrelay.config.settings import QueueSection
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.v1.client import Client
from tests.integration.webapi.v1.test_history import DELIVERED, HistoryCase
from tests.integration.world import soon

PATH = "/statistics"


class StatisticsTests(HistoryCase):
    """One account's numbers."""

    async def group(self, client: Client, query: str = "") -> Any:
        """The only group."""
        [group] = (await self.ok(client, f"{PATH}{query}"))["groups"]
        return group

    async def test_all(self) -> None:
        """What happened is counted when it is asked for, with its rates."""
        client = await self.started()
        before = datetime.now(UTC)
        page = await self.ok(client, PATH)
        [group] = page["groups"]
        counts = {name: count for name, count in group["counts"].items() if count}
        self.assertEqual(counts, {"accepted": 2, "delivered": 1, "delayed": 1})
        self.assertEqual(group["rates"], {"delivered": 0.5, "failed": 0.0, "complained": 0.0})
        self.assertEqual([group[name] for name in ("at", "tag", "domain")], [None, None, None])
        since, until = (datetime.fromisoformat(page[name]) for name in ("since", "until"))
        hour = before.replace(minute=0, second=0, microsecond=0)
        self.assertEqual(since, hour - timedelta(days=7))
        self.assertEqual(until, hour + timedelta(hours=1))
        self.assertGreaterEqual(datetime.fromisoformat(page["counted_until"]), before)

    async def test_groups(self) -> None:
        """By tag, domain and time, page by page."""
        client = await self.client()
        for tags, recipient in (
            (["b"], DELIVERED),
            (["a", "b"], "joe@example.com"),
            ([], DELIVERED),
        ):
            message = {
                "from": {"address": "user@example.org"},
                "to": [{"address": recipient}],
                "text": "hi",
                "tags": tags,
            }
            answered = await client.ask("POST", "/messages", message)
            self.assertEqual(answered.status, 202, answered)

        async def accepted(query: str) -> dict[Any, int]:
            groups = (await self.ok(client, f"{PATH}?{query}"))["groups"]
            return {(g["tag"], g["domain"]): g["counts"]["accepted"] for g in groups}

        self.assertEqual(await accepted("group_by=tag"), {("a", None): 1, ("b", None): 2})
        by_domain = {(None, "example.com"): 1, (None, "example.net"): 2}
        self.assertEqual(await accepted("group_by=domain"), by_domain)
        self.assertEqual(await accepted("tag=b"), {(None, None): 2})
        self.assertEqual(await accepted("tag=b&domain=EXAMPLE.com"), {(None, None): 1})
        self.assertEqual(await accepted("until=2020-01-01T00:00:00Z"), {(None, None): 0})
        page = await self.ok(client, f"{PATH}?group_by=domain&limit=1")
        self.assertEqual((page["groups"][0]["domain"], page["next_cursor"]), ("example.com", 1))
        page = await self.ok(client, f"{PATH}?group_by=domain&limit=1&cursor=1")
        self.assertEqual((page["groups"][0]["domain"], page["next_cursor"]), ("example.net", None))
        for by, seconds in (("hour", 3600), ("day", 86400)):
            group = await self.group(client, f"?group_by={by}")
            at = datetime.fromisoformat(group["at"]).timestamp()
            self.assertEqual(at, datetime.now(UTC).timestamp() // seconds * seconds)

    async def test_numbers_outlive_entries(self) -> None:
        """What is swept at once was counted before, by nobody's asking."""
        queue, http = QueueSection(retired_keep_after=0.0), HTTPSettings(requests_per_minute=0)
        client = await self.client(queue=queue, http=http)
        to = [{"Address": f"joe{number}@example.net"} for number in range(120)]
        await client.http.send(To=to)
        while (await self.ok(client, "/messages"))["messages"][0]["entries"]:
            await soon(the_reactor)
        group = await self.group(client, "?group_by=domain")
        self.assertEqual(group["domain"], "example.net")
        self.assertEqual((group["counts"]["accepted"], group["counts"]["delivered"]), (120, 120))

    async def test_others(self) -> None:
        """Another account's mail is not in the numbers; a key must be for reading."""
        client = await self.started()
        other = client.logged_in("other@example.org", "battery staple")
        group = await self.group(other)
        self.assertEqual(set(group["counts"].values()), {0})
        self.assertEqual(set(group["rates"].values()), {None})
        made = (await client.ask("POST", "/keys", {"name": "x", "scopes": ["send"]})).json
        answered = await client.with_key(made["key"]).ask("GET", PATH)
        self.assert_problem(answered, 403, "not_allowed")

    async def test_bad_queries(self) -> None:
        """What cannot be meant is refused by the name of its field."""
        client = await self.client()
        for query, field in (
            ("group_by=hour&group_by=day", "group_by"),
            ("group_by=minute", "group_by[0]"),
            ("since=2020-01-01T00:00:00Z", "since"),
            ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "since"),
            ("since=9999-12-31T00:00:00Z&until=9999-12-31T23:59:59Z", "until"),
            ("until=0001-01-01T09:00:00Z", "since"),
            ("domain=a%0d%0ab", "domain"),
            ("domain=%00", "domain"),
            ("tag=%00", "tag"),
            ("limit=1001", "limit"),
            ("cursor=-1", "cursor"),
        ):
            answered = await client.ask("GET", f"{PATH}?{query}")
            self.assert_problem(answered, 400, "invalid_field", field)


class UsageTests(HistoryCase):
    """``/account/usage``."""

    async def test_usage(self) -> None:
        """What is sent, waits and is stored, of this account alone."""
        client = await self.started()
        found = await self.ok(client, "/account/usage")
        self.assertGreater(found.pop("storage_bytes"), 0)
        self.assertEqual(
            found,
            {
                "storage_quota_bytes": None,
                "sent_of_day": 2,
                "messages_per_day": None,
                "waiting": 1,
                "held": 0,
                "is_all": True,
            },
        )
