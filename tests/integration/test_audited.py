"""Every operation and every form that changes something is in the audit log, by who did it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define

from mailrelay.control.audit import ChangeFilter
from mailrelay.testing.loopback import PASSWORD
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.webapi.v1.client import Client

ENTRY = "/entries/{entry}"
SOON = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
ANY = ChangeFilter()
MESSAGE = {
    "from": {"address": "user@example.org"},
    "to": [{"address": "x-temperror@localhost"}],
    "subject": "s",
    "text": "t",
}
HOOK = {"name": "app", "url": "https://app.else.test/"}

OPERATIONS: dict[str, tuple[str, str, Any, str] | str] = {
    "hold_rule_create": ("POST", "/hold-rules", {"recipient": "later.test"}, "holdrule add"),
    "hold_rule_delete": ("DELETE", "/hold-rules/{id}", None, "holdrule remove"),
    "settings_change": ("PATCH", "/account/settings", {"full_name": "A User"}, "account set"),
    "key_create": ("POST", "/keys", {"name": "shop", "scopes": ["read"]}, "key add"),
    "key_delete": ("DELETE", "/keys/{id}", None, "key remove"),
    "entry_hold": ("POST", f"{ENTRY}/hold", None, "queue held"),
    "entry_release": ("POST", f"{ENTRY}/release", None, "queue released"),
    "entry_retry": ("POST", f"{ENTRY}/retry", None, "queue rescheduled"),
    "entry_reschedule": (
        *("POST", f"{ENTRY}/reschedule", {"at": SOON}),
        "queue rescheduled",
    ),
    "entry_cancel": ("POST", f"{ENTRY}/cancel", None, "queue canceled"),
    "suppression_add": ("POST", "/suppressions", {"address": "a@else.test"}, "suppression add"),
    "suppression_remove": (
        *("POST", "/suppressions/remove", {"address": "a@else.test"}),
        "suppression remove",
    ),
    "suppression_import": (
        *("POST", "/suppressions/import", {"suppressions": [{"address": "b@else.test"}]}),
        "suppression add",
    ),
    "webhook_create": ("POST", "/webhooks", HOOK, "webhook endpoint add"),
    "webhook_change": ("PATCH", "/webhooks/{id}", {"name": "other"}, "webhook endpoint set"),
    "webhook_rotate": ("POST", "/webhooks/{id}/rotate", {}, "webhook endpoint rotate"),
    "webhook_test": ("POST", "/webhooks/{id}/test", {}, "webhook endpoint test"),
    "webhook_delete": ("DELETE", "/webhooks/{id}", None, "webhook endpoint remove"),
    "template_create": ("POST", "/templates", {"name": "t", "text": "x"}, "template add"),
    "template_replace": ("PUT", "/templates/{id}", {"name": "t", "text": "y"}, "template set"),
    "template_delete": ("DELETE", "/templates/{id}", None, "template remove"),
    **dict.fromkeys(
        ("message_send", "message_send_raw", "message_resend", "message_send_batch"),
        "what was sent has a history",
    ),
    **dict.fromkeys(("mail_delete", "mail_flags", "mail_move"), "one's own mail"),
    **dict.fromkeys(
        ("explain_message", "template_preview", "template_preview_source"), "changes nothing"
    ),
    **dict.fromkeys(
        ("webhook_enable", "webhook_replay", "call_replay", "call_retry", "call_cancel"),
        "tests/storage/test_replay.py, test_call_records.py and test_endpoints.py",
    ),
}

FORMS: dict[str, list[tuple[str, dict[str, Any], str]] | str] = {
    "/keys": [("/keys", {"name": "shop", "scope": "read"}, "key add")],
    "/keys/{id}/revoke": [("/keys/{id}/revoke", {}, "key remove")],
    "/holds": [("/holds", {"recipient": "l.test"}, "holdrule add")],
    "/holds/{id}/remove": [("/holds/{id}/remove", {}, "holdrule remove")],
    "/suppressions": [("/suppressions", {"address": "c@else.test"}, "suppression add")],
    "/suppressions/remove": [
        ("/suppressions/remove", {"address": "c@else.test"}, "suppression remove")
    ],
    "/webhooks": [("/webhooks", {**HOOK, "most_at_once": "1", "most_together": "1"}, "webhook")],
    "/webhooks/{id}/remove": [("/webhooks/{id}/remove", {}, "webhook endpoint remove")],
    "/settings": [("/settings", {"full_name": "A User"}, "account set")],
    "/settings/password": [
        (
            "/settings/password",
            {"current": PASSWORD, "new": "another one", "again": "another one"},
            "account set",
        )
    ],
    "/admin/domains": [("/admin/domains", {"name": "n.test", "separator": "+"}, "domain add")],
    "/admin/domains/{name}": [
        ("/admin/domains/n.test", {"action": "set", "separator": "-"}, "domain set"),
        ("/admin/domains/n.test", {"action": "dkim-add", "kind": "ed25519"}, "dkim add"),
        ("/admin/domains/n.test", {"action": "dkim-activate"}, "dkim change"),
        ("/admin/domains/n.test", {"action": "dkim-rotate"}, "dkim add"),
    ],
    "/admin/accounts": [
        ("/admin/accounts", {"name": "ann", "address": "ann@n.test"}, "address add")
    ],
    "/admin/accounts/{name}": [
        ("/admin/accounts/ann", {"action": "set", "full_name": "Ann"}, "account set"),
        ("/admin/accounts/ann", {"action": "password"}, "account set"),
        ("/admin/accounts/user", {"action": "sessions"}, "account logout"),
        (
            *("/admin/accounts/ann", {"action": "address-add", "address": "b@n.test"}),
            "address add",
        ),
        (
            *("/admin/accounts/ann", {"action": "address-remove", "address": "b@n.test"}),
            "address remove",
        ),
    ],
    "/admin/aliases": [
        ("/admin/aliases", {"address": "t@n.test", "members": "ann@n.test"}, "alias add")
    ],
    "/admin/aliases/{address}": [
        ("/admin/aliases/t@n.test", {"action": "set"}, "alias set"),
        (
            *("/admin/aliases/t@n.test", {"action": "member-add", "members": "x@else.test"}),
            "alias members add",
        ),
        ("/admin/aliases/t@n.test", {"action": "remove"}, "alias remove"),
    ],
    "/admin/holds": [("/admin/holds", {"recipient": "m.test"}, "holdrule add")],
    "/admin/holds/{id}/remove": [("/admin/holds/{id}/remove", {}, "holdrule remove")],
    "/admin/relays": [
        (
            *("/admin/relays", {"action": "host", "whose": "n.test", "host": "relay.test"}),
            "relay put",
        )
    ],
    "/admin/peers": [
        ("/admin/peers", {"name": "p", "url": "https://p.test", "protocol": "mailrelay/1"}, "peer")
    ],
    "/admin/peers/{name}/remove": [("/admin/peers/p/remove", {}, "peer remove")],
    **dict.fromkeys(("/login", "/login/code", "/admin/login", "/admin/login/code"), "a session"),
    **dict.fromkeys(("/logout", "/admin/logout"), "a session"),
    **dict.fromkeys(("/settings/sessions", "/admin/security/sessions"), "one's own sessions"),
    **dict.fromkeys(
        (
            *("/settings/second-factor", "/settings/second-factor/off"),
            *("/admin/security/second-factor", "/admin/security/second-factor/off"),
            "/admin/security/password",
        ),
        "tests/storage/test_second_factors.py; the password is a setting",
    ),
    **dict.fromkeys(
        ("/templates/new", "/templates/{id}", "/templates/{id}/remove"), "as the operations"
    ),
    "/templates/html": "changes nothing",
    "/mail": "one's own mail",
    **dict.fromkeys(("/write", "/sent/{id}/resend"), "what was sent has a history"),
    **dict.fromkeys(
        ("/sent/{id}", "/admin/queue", "/admin/works/{id}/stop"),
        "tests/storage/test_queue_records.py and test_works.py",
    ),
    "/admin/destinations/{key}": "begins a work, or has this process forget what failed",
    "/admin/domains/{name}/check": "changes nothing",
    "/admin/peers/{name}/ping": "changes nothing",
    "/admin/certificates": "asks for what is done in time anyway: the log tells",
    **dict.fromkeys(("/admin/peers/{name}", "/admin/peers/{name}/key"), "tests/storage/test_peers"),
    **dict.fromkeys(
        (
            *("/calls/{id}", "/admin/calls", "/webhooks/mox/{kind}", "/webhooks/{id}"),
            *("/webhooks/{id}/rotate", "/webhooks/{id}/enable", "/webhooks/{id}/test"),
            *("/webhooks/{id}/replay", "/suppressions/import"),
        ),
        "as the operations: tests/storage/test_replay.py, test_call_records.py, test_endpoints.py",
    ),
}


@define
class Audit:
    """What the log got since it was asked last."""

    control: Any
    last: int = 0

    async def fresh(self) -> list[Any]:
        """The changes, the newest first."""
        found = [one for one in await self.control.audit.find(ANY) if one.id > self.last]
        self.last = max([self.last, *(one.id for one in found)])
        return found


class AuditedTests(BrowserCase):
    """Over the API, and on pages."""

    timeout = 120

    async def audit(self, api: API) -> Audit:
        """The log of a server, from now on."""
        audit = Audit(self.control(api))
        await audit.fresh()
        return audit

    async def test_operations(self) -> None:
        """By the login, or by the number of the key."""
        api = await self.start(localserve=True)
        client, audit = Client(api), await self.audit(api)
        answered = await client.http.ask("GET", "/api/v1/openapi.json")
        named = {
            operation["operationId"]
            for methods in json.loads(answered.body)["paths"].values()
            for method, operation in methods.items()
            if method != "get"
        }
        self.assertEqual(named - set(OPERATIONS), set(), "say how each is audited, or why not")
        sent = await client.ask("POST", "/messages", MESSAGE)
        ids = {"id": "", "entry": json.loads(sent.body)["entries"][0]["id"]}
        await audit.fresh()
        for name, told in OPERATIONS.items():
            if isinstance(told, str):
                continue
            method, path, body, action = told
            answered = await client.ask(method, path.format(**ids), body)
            self.assertLess(answered.status, 300, (name, answered))
            if name.endswith("_create"):
                ids["id"] = json.loads(answered.body)["id"]
            rows = await audit.fresh()
            self.assertTrue(rows, name)
            self.assertTrue(rows[0].action.startswith(action), (name, rows))
            self.assertEqual({one.actor for one in rows}, {"api:user@example.org"}, name)
            for secret in re.findall(r"mrk_\w+|whsec_[^\"]+", answered.body.decode()):
                self.assertNotIn(secret, str(rows))

    async def test_keys_are_named(self) -> None:
        """Not by what they are."""
        api = await self.start(localserve=True)
        client, audit = Client(api), await self.audit(api)
        body = {"name": "shop", "scopes": ["manage"]}
        made = json.loads((await client.ask("POST", "/keys", body)).body)
        await audit.fresh()
        await client.with_key(made["key"]).ask("POST", "/suppressions", {"address": "a@b.test"})
        [row] = await audit.fresh()
        self.assertEqual(row.actor, f"api:key {made['id']}")
        self.assertNotIn(made["key"], str(row))

    async def test_forms(self) -> None:
        """By the account whose page it was, or the administrator's."""
        browser = await self.logged_in()
        other = Browser(browser.server)
        await other.ask("POST", "/admin/login", {"password": "admin password"})
        audit = await self.audit(API(browser.server))
        sites: Any = browser.server.server._sites
        served = {route.path for route in sites._pages if "POST" in route.methods}
        self.assertEqual(served - set(FORMS), set(), "say how each is audited, or why not")
        for told in FORMS.values():
            for path, fields, action in told if isinstance(told, list) else ():
                who = other if path.startswith("/admin/") else browser
                await self.form(who, audit, path, fields, action)

    async def form(
        self, browser: Browser, audit: Audit, path: str, fields: dict[str, Any], action: str
    ) -> None:
        """One of them."""
        is_admin = path.startswith("/admin/")
        whose = "page of the administrator" if is_admin else "page of user"
        start = "/admin/accounts" if is_admin else "/settings"
        listed = path.partition("/{id}")[0]
        page = await browser.open(listed if "{id}" in path else start)
        text = page.answered.body.decode()
        found = re.findall(rf'"{listed}/(\d+)', text)
        path = path.replace("{id}", found[-1] if found else "")
        answered = await browser.send(path, page, **fields)
        self.assertIn(answered.status, (200, 303), (path, fields, Page(answered).text))
        rows = await audit.fresh()
        self.assertTrue(rows, (path, fields))
        self.assertTrue(rows[0].action.startswith(action), (path, rows))
        self.assertEqual({one.actor for one in rows}, {whose}, path)
        self.assertNotIn("another one", str(rows))
