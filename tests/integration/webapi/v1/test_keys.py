"""API keys: made, used at both doors, restricted, revoked."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet import reactor as the_reactor

from mailrelay.service import server
from mailrelay.testing.loopback import PASSWORD, USER
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import OTHER_PASSWORD, until


class KeyTests(ClientCase):
    """``/keys``."""

    async def made(self, client: Client, **wanted: object) -> Any:
        """A key that the user made."""
        body = {"name": "app", "scopes": ["send", "read", "manage"], **wanted}
        answered = await client.ask("POST", "/keys", body)
        self.assertEqual(answered.status, 201, answered)
        return answered.json

    async def submit(self, client: Client, login: str, key: str, sender: str = USER) -> bytes:
        """What SMTP submission says to AUTH PLAIN and MAIL."""
        raw = await client.http.server.connect("submission")
        await raw.reply()
        await raw.ask(b"EHLO client.test")
        await raw.ask(b"STARTTLS")
        raw.start_tls()
        await raw.ask(b"EHLO client.test")
        plain = b64encode(f"\0{login}\0{key}".encode())
        answer = await raw.ask(b"AUTH PLAIN " + plain)
        if answer.startswith(b"235"):
            answer = await raw.ask(f"MAIL FROM:<{sender}>".encode())
        return answer

    async def test_life(self) -> None:
        """A key is shown once, works at once, is listed without itself, and can be revoked."""
        client = await self.client()
        made = await self.made(client)
        self.assertRegex(made["key"], r"^mrk_[0-9a-f]{40}$")
        keyed = client.with_key(made["key"])
        told = (await keyed.ask("GET", "/account")).json
        self.assertEqual((told["name"], told["scopes"]), ("user", ["manage", "read", "send"]))
        listed = await keyed.ask("GET", "/keys")
        self.assertNotIn(made["key"].encode(), listed.body)
        [one] = listed.json["keys"]
        self.assertEqual({**one, "key": made["key"]}, made)
        self.assertEqual((await keyed.ask("DELETE", f"/keys/{made['id']}")).status, 204)
        self.assert_problem(await keyed.ask("GET", "/account"), 401, "not_logged_in")
        self.assertEqual((await client.ask("GET", "/keys")).json, {"keys": []})

    async def test_it_is_not_stored(self) -> None:
        """No file of the server has the key."""
        client = await self.client()
        key = (await self.made(client))["key"].encode()
        await client.with_key(key.decode()).ask("GET", "/account")
        for path in client.http.server.settings.data_dir.rglob("*"):
            if path.is_file():
                self.assertNotIn(key, path.read_bytes(), path)

    async def test_scopes(self) -> None:
        """A key does what it is for; it makes none that may do more."""
        client = await self.client()
        sending = client.with_key((await self.made(client, scopes=["send"]))["key"])
        self.assertEqual((await sending.ask("GET", "/account")).json["scopes"], ["send"])
        self.assert_problem(await sending.ask("GET", "/keys"), 403, "not_allowed")
        managing = client.with_key((await self.made(client, scopes=["manage"]))["key"])
        await self.made(managing, scopes=["manage"])
        more = await managing.ask("POST", "/keys", {"name": "x", "scopes": ["send", "manage"]})
        self.assert_problem(more, 403, "not_allowed", "scopes")
        restricted = await self.made(client, networks=["127.0.0.0/8"])
        again = await client.with_key(restricted["key"]).ask(
            "POST", "/keys", {"name": "x", "scopes": ["send"]}
        )
        self.assert_problem(again, 403, "not_allowed")

    async def test_networks(self) -> None:
        """A key is taken from its networks, and wrong from elsewhere."""
        client = await self.client()
        for networks, status in ((["127.0.0.0/8"], 200), (["192.0.2.0/24", "2001:db8::/32"], 401)):
            key = (await self.made(client, networks=networks))["key"]
            self.assertEqual((await client.with_key(key).ask("GET", "/account")).status, status)

    async def test_own_rate(self) -> None:
        """A key has a limit of its own; others are not held up."""
        client = await self.client()
        keyed = client.with_key((await self.made(client, requests_per_minute=2))["key"])
        statuses = [(await keyed.ask("GET", "/account")).status for _ in range(5)]
        self.assertIn(429, statuses)
        self.assertEqual(statuses[:2], [200, 200])
        self.assertEqual((await client.ask("GET", "/account")).status, 200)

    async def test_other_account(self) -> None:
        """Another account's keys are not there."""
        client = await self.client()
        made = await self.made(client)
        other = client.logged_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", "/keys")).json, {"keys": []})
        self.assert_problem(await other.ask("DELETE", f"/keys/{made['id']}"), 404, "not_found")
        for id_ in ("0", "9" * 300, "%2e%2e", "x", "-1"):
            self.assert_problem(await client.ask("DELETE", f"/keys/{id_}"), 404, "not_found")
        self.assertEqual((await client.with_key(made["key"]).ask("GET", "/account")).status, 200)

    async def test_mistakes(self) -> None:
        """Each mistake names its field."""
        client = await self.client()
        good = {"name": "app", "scopes": ["send"]}
        for changes, field in (
            ({"name": ""}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"scopes": []}, "scopes"),
            ({"scopes": ["all"]}, "scopes[0]"),
            ({"senders": ["a b"]}, "senders[0]"),
            ({"networks": ["192.0.2.1/24"]}, "networks[0]"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"expires_at": "9999-12-31T23:59:59-10:00"}, "expires_at"),
            ({"requests_per_minute": 0}, "requests_per_minute"),
            ({"other": 1}, "other"),
        ):
            answered = await client.ask("POST", "/keys", {**good, **changes})
            self.assert_problem(answered, 400, "invalid_field", field)

    async def test_bodies(self) -> None:
        """A body is JSON, said to be so, and small."""
        client = await self.client()
        text = {"Content-Type": "text/plain"}
        answered = await client.ask("POST", "/keys", b"{}", text)
        self.assert_problem(answered, 415, "unsupported_media_type")
        kind = {"Content-Type": "application/json"}
        self.assert_problem(await client.ask("POST", "/keys", b"{", kind), 400, "malformed_request")
        large = b'{"name": "' + b"x" * 70_000 + b'"}'
        self.assert_problem(await client.ask("POST", "/keys", large, kind), 413, "too_large")

    async def test_submission(self) -> None:
        """A key is a password of SMTP submission, for what it is for."""
        client = await self.client()
        made = await self.made(client, scopes=["send"], senders=[USER, "dash.example"])
        self.assertEqual((await self.submit(client, USER, made["key"]))[:3], b"250")
        same = "user@dash.example"
        self.assertEqual((await self.submit(client, same, made["key"], same))[:3], b"250")
        not_for = "user@plain.example"
        self.assertEqual((await self.submit(client, USER, made["key"], not_for))[:3], b"550")
        others = await self.submit(client, "other@example.org", made["key"])
        self.assertEqual(others[:3], b"535")
        reading = await self.made(client, scopes=["read"])
        self.assertEqual((await self.submit(client, USER, reading["key"]))[:3], b"535")
        elsewhere = await self.made(client, scopes=["send"], networks=["192.0.2.0/24"])
        self.assertEqual((await self.submit(client, USER, elsewhere["key"]))[:3], b"535")

    async def test_old_api_takes_no_key(self) -> None:
        """Keys have no scopes there: they are no passwords of it, nor of Basic here."""
        client = await self.client()
        made = await self.made(client)
        keyed = client.logged_in(USER, made["key"])
        self.assertEqual((await keyed.ask("GET", "/account")).status, 401)
        old = await client.http.logged_in(USER, made["key"]).call("SuppressionList")
        self.assertEqual(old.status, 401)
        self.assertEqual((await client.logged_in(USER, PASSWORD).ask("GET", "/keys")).status, 200)

    async def test_use_is_noted(self) -> None:
        """When a key was last used is told, a little later."""
        self.patch(server, "KEY_USES_EVERY", 0.05)
        client = await self.client()
        made = await self.made(client)
        self.assertIsNone(made["last_used_at"])
        await client.with_key(made["key"]).ask("GET", "/account")
        control = self.control(client.http)

        def noted() -> bool:
            found: list[Any] = []
            control.keys.records.listed("user").addCallback(found.extend)
            return found[0].key.last_used_at is not None

        await until(the_reactor, noted)
