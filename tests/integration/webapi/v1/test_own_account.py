"""What an account changes of itself by the API."""

from __future__ import annotations

from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import ClientCase
from tests.integration.world import OTHER_PASSWORD


class SettingsTests(ClientCase):
    """``/account/settings``."""

    async def test_changed(self) -> None:
        """What is named, of one's own account alone; its limits never."""
        client = await self.client()
        before = (await client.ask("GET", "/account/settings")).json
        self.assertEqual((before["quota_bytes"], before["sent_today"]), (None, 0))
        body = {"full_name": "Joe", "retired_kept_for": 60.0, "from_id_logins": [USER]}
        answered = await client.ask("PATCH", "/account/settings", body)
        self.assertEqual(answered.status, 204, answered)
        after = (await client.ask("GET", "/account/settings")).json
        self.assertEqual(after, {**before, **body})
        body = {"retired_kept_for": None, "from_id_logins": []}
        await client.ask("PATCH", "/account/settings", body)
        last = (await client.ask("GET", "/account/settings")).json
        self.assertEqual(last, {**before, "full_name": "Joe"})
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", "/account/settings")).json["full_name"], "")

    async def test_wrong(self) -> None:
        """The field is named."""
        client = await self.client()
        for body, field in (
            ({"full_name": "a\r\nb"}, "full_name"),
            ({"full_name": "x" * 256}, "full_name"),
            ({"retired_kept_for": -1}, "retired_kept_for"),
            ({"calls_kept_for": 1e12}, "calls_kept_for"),
            ({"from_id_logins": ["other@example.org"]}, "from_id_logins"),
            ({"from_id_logins": ["a\0@example.org"]}, "from_id_logins[0]"),
        ):
            refused = await client.ask("PATCH", "/account/settings", body)
            self.assert_problem(refused, 400, "invalid_field", field)
        for field in ("quota_bytes", "messages_per_day", "password", "name"):
            refused = await client.ask("PATCH", "/account/settings", {field: 1})
            self.assertEqual(refused.status, 400, field)
        self.assert_problem(await client.ask("PATCH", "/account/settings", {}), 409, "conflict")
