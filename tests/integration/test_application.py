"""What an application is told of what it sends and gets, by a whole server."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from mailrelay.testing.loopback import USER
from tests.cli.operated import Operated
from tests.integration.application import IN, OUT, WorldCase
from tests.integration.receiver import Received, status, waits_for

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z")

# As mox v0.0.17 sent them: webapi.md sections 4 and 5.
OUTGOING = (
    '{"Version":0,"Event":"delivered","DSN":false,"Suppressing":false,"QueueMsgID":3,'
    '"FromID":"BJt8g280KHlLHkyxDofFnA","MessageID":"\\u003cd9nRlC1SIb8q3zSGbYl9qQ@localhost'
    '\\u003e","Subject":"second hello","WebhookQueued":"2026-11-21T09:06:34.193556579Z",'
    '"SMTPCode":0,"SMTPEnhancedCode":"","Error":"","Extra":{"userid":"456"}}'
)
INCOMING = (
    '{"Version":0,"From":[{"Name":"","Address":"mox@localhost"}],"To":[{"Name":"","Address":'
    '"mox@localhost"}],"CC":[],"BCC":[],"ReplyTo":[],"Subject":"second hello","MessageID":'
    '"\\u003cd9nRlC1SIb8q3zSGbYl9qQ@localhost\\u003e","InReplyTo":"","References":[],"Date":'
    '"2026-11-21T09:06:34Z","Text":"hi ☺\\n","HTML":"","Structure":{"ContentType":"text/plain",'
    '"ContentTypeParams":{"charset":"utf-8"},"ContentID":"","ContentDisposition":"","Filename":"",'
    '"DecodedSize":8,"Parts":[]},"Meta":{"MsgID":3,"MailFrom":'
    '"mox+BJt8g280KHlLHkyxDofFnA@localhost","MailFromValidated":true,"MsgFromValidated":true,'
    '"RcptTo":"mox@localhost","DKIMVerifiedDomains":["localhost"],"RemoteIP":"127.0.0.1",'
    '"Received":"2026-11-21T09:06:34.18515013Z","MailboxName":"Inbox","Automated":false}}'
)
MAIL = b"From: Joe <joe@example.net>\nTo: user@example.org\nSubject: <re> & more\n"


def shape(value: Any) -> Any:
    """Names in their order, and types."""
    if isinstance(value, dict):
        return [(name, shape(item)) for name, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def dsn(recipient: str, action: str, status: str, more: str = "", original: str = "") -> bytes:
    """A DSN, as another server makes it."""
    block = f"Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n{more}"
    return (
        "From: postmaster@mx.example.net\nSubject: returned\nMIME-Version: 1.0\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\n\ntold\n--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.example.net\n\n{block}\n"
        f"--b\nContent-Type: message/rfc822\n\nMessage-ID: {original}\n\n--b--\n"
    ).encode()


class CallTests(WorldCase):
    """What a call is made of."""

    async def test_delivered(self) -> None:
        """A delivered message is told of in mox's words, with mox's headers."""
        world = await self.world()
        secret = world.config.with_name("secret")
        secret.write_text("Bearer out-secret\n")
        await self.set_account(
            world,
            *("--outgoing-webhook", world.receiver.url(OUT)),
            *("--outgoing-authorization-file", str(secret)),
        )
        sent = await world.send("joe@example.net", Subject="second hello", Extra={"userid": "456"})
        [call] = await self.told(world)
        self.assert_headers(call, {"Authorization": "Bearer out-secret"})
        said = call.json
        self.assertEqual(shape(said), shape(json.loads(OUTGOING)))
        self.assertRegex(said.pop("WebhookQueued"), TIME)
        self.assertEqual(
            said,
            {
                "Version": 0,
                "Event": "delivered",
                "DSN": False,
                "Suppressing": False,
                "QueueMsgID": sent["QueueMsgID"],
                "FromID": sent["FromID"],
                "MessageID": sent["MessageID"],
                "Subject": "second hello",
                "SMTPCode": 0,
                "SMTPEnhancedCode": "",
                "Error": "",
                "Extra": {"userid": "456"},
            },
        )
        self.assertRegex(sent["FromID"], "^[A-Za-z0-9_-]{22}$")
        self.assertIn(rb'"MessageID":"\u003c', call.body)
        self.assertNotIn(b" ", call.body.replace(b"second hello", b""))

    def assert_headers(self, call: Received, more: dict[str, str]) -> None:
        """Those of mox, and no others."""
        expected = {
            "Host": call.headers["Host"],
            "User-Agent": call.headers["User-Agent"],
            "Content-Length": str(len(call.body)),
            "Content-Type": "application/json; charset=utf-8",
            "X-Mox-Webhook-Attempt": "1",
            "X-Mox-Webhook-Id": call.headers["X-Mox-Webhook-Id"],
            **more,
        }
        self.assertEqual(call.headers, expected)
        self.assertRegex(call.headers["User-Agent"], r"^mailrelay/\S+ \(webhook\)$")
        self.assertRegex(call.headers["X-Mox-Webhook-Id"], r"^[1-9]\d*$")

    async def test_submission(self) -> None:
        """What was submitted by SMTP is told of like what came by the webapi."""
        world = await self.world("--from-id-login", USER)
        operated = Operated(world.api.server, world.config)
        await operated.submit("joe@example.net")
        [call] = await self.told(world)
        self.assert_headers(call, {})
        said = call.json
        self.assertEqual(
            (said["Event"], said["Subject"], said["Extra"]), ("delivered", "hello", {})
        )
        self.assertRegex(said["FromID"], "^[A-Za-z0-9_-]{22}$")
        self.assertRegex(said["MessageID"], "^<[^<>]+@[^<>]+>$")

    async def test_incoming(self) -> None:
        """Mail over SMTP is told of as mox tells of it."""
        world = await self.world(hooks=False)
        await self.set_account(world, "--incoming-webhook", world.receiver.url(IN))
        content = MAIL + (
            b"Message-ID: <1@example.net>\nReferences: <a@x> <b@x>\nIn-Reply-To: <b@x>\n"
            b"Cc: Ann <ann@example.net>\nReply-To: help@example.net\n"
            b"Date: Sat, 21 Nov 2026 09:06:34 +0000\n"
            b"Content-Type: text/plain; charset=utf-8\n\nhi\n"
        )
        await world.deliver(USER, content, "joe@example.net")
        [call] = await self.told(world, path=IN)
        self.assert_headers(call, {})
        said = call.json
        sample = json.loads(INCOMING)
        sample["CC"] = sample["ReplyTo"] = sample["From"]
        sample["References"], sample["Meta"]["DKIMVerifiedDomains"] = ["", ""], []
        self.assertEqual(shape(said), shape(sample))
        meta = said.pop("Meta")
        self.assertRegex(meta.pop("Received"), TIME)
        [stored] = await self.arrived(world.api)
        self.assertEqual(
            meta,
            {
                "MsgID": stored.id,
                "MailFrom": "joe@example.net",
                "MailFromValidated": False,
                "MsgFromValidated": False,
                "RcptTo": USER,
                "DKIMVerifiedDomains": [],
                "RemoteIP": "127.0.0.1",
                "MailboxName": "Inbox",
                "Automated": False,
            },
        )
        del said["Structure"]
        self.assertEqual(
            said,
            {
                "Version": 0,
                "From": [{"Name": "Joe", "Address": "joe@example.net"}],
                "To": [{"Name": "", "Address": USER}],
                "CC": [{"Name": "Ann", "Address": "ann@example.net"}],
                "BCC": [],
                "ReplyTo": [{"Name": "", "Address": "help@example.net"}],
                "Subject": "<re> & more",
                "MessageID": "<1@example.net>",
                "InReplyTo": "<b@x>",
                "References": ["<a@x>", "<b@x>"],
                "Date": "2026-11-21T09:06:34Z",
                "Text": "hi\n",
                "HTML": "",
            },
        )
        self.assertIn(rb'"Subject":"\u003cre\u003e \u0026 more"', call.body)

    async def test_as_queued(self) -> None:
        """URL and authorization of a call are those of the moment when it was queued."""
        world = await self.world()
        released = threading.Event()
        self.addCleanup(released.set)
        world.receiver.answers[OUT] = waits_for(released, status(200))
        for name in ("a", "b"):
            await world.send(f"{name}@example.net")
        await self.until(lambda: len(world.json("webhook", "list")) == 2)
        secret = world.config.with_name("secret")
        secret.write_text("Bearer new\n")
        changed = ("--outgoing-webhook", world.receiver.url("/new"))
        await self.set_account(world, *changed, "--outgoing-authorization-file", str(secret))
        await world.send("c@example.net")
        [new] = await self.told(world, path="/new")
        self.assertEqual(new.headers["Authorization"], "Bearer new")
        self.assertEqual(len(world.receiver.at(OUT)), 1)
        released.set()
        for old in await self.told(world, 2):
            self.assertNotIn("Authorization", old.headers)

    async def test_subscribed(self) -> None:
        """No call is made for an event that the webhook does not ask for."""
        world = await self.world("--outgoing-events", "failed")
        await world.send("joe@example.net")
        await self.arrived(world.api)
        await world.send("x550@example.net")
        [call] = await self.told(world)
        self.assertEqual(call.event, "failed")
        listed = [*world.json("webhook", "list"), *world.json("webhook", "list", "--retired")]
        self.assertEqual([one["id"] for one in listed], [call.id])

    async def test_retention_of_nothing(self) -> None:
        """Calls and messages that are over go at the next sweep; then a FromID is unknown."""
        world = await self.world("--calls-kept-for", "0", "--retired-kept-for", "0")
        await self.set_account(world, "--incoming-webhook", world.receiver.url(IN))
        sent = await world.send("joe@example.net")
        await self.told(world)
        await self.until(
            lambda: (
                not world.json("webhook", "list", "--retired")
                and not world.json("webhook", "list")
                and not world.json("retired", "list")
            )
        )
        await self.told(world, path=IN)  # of the message itself, which came here
        address = f"user+{sent['FromID']}@example.org"
        await world.deliver(address, MAIL + b"\nhi\n", "joe@example.net")
        _, reply = await self.told(world, 2, path=IN)
        self.assertEqual(reply.json["Meta"]["RcptTo"], address)


class EventTests(WorldCase):
    """What becomes of a message, and what is told of it."""

    async def test_failed(self) -> None:
        """A refusal is told of once, and suppresses the address; what comes after says so."""
        world = await self.world()
        await world.send("x550@example.net")
        [failed] = await self.told(world)
        said = failed.json
        self.assertEqual((said["Event"], said["DSN"], said["Suppressing"]), ("failed", False, True))
        self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"]), (550, "5.0.0"))
        self.assertIn("special localpart", said["Error"])
        await world.send("X550+again@example.net")
        _, suppressed = await self.told(world, 2)
        said = suppressed.json
        self.assertEqual((said["Event"], said["Suppressing"]), ("suppressed", False))
        self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"]), (0, ""))
        self.assertIn("suppression list", said["Error"])
        [listed] = (await world.api.call("SuppressionList")).json["Suppressions"]
        self.assertEqual((listed["BaseAddress"], listed["Manual"]), ("x550@example.net", False))
        self.assertEqual(
            listed["Reason"],
            'delivery failure from queue with smtp code 550, enhanced code "0.0"',
        )

    async def test_removed_from_the_list(self) -> None:
        """An address that is taken off the list gets mail again."""
        world = await self.world()
        await world.api.call("SuppressionAdd", {"EmailAddress": "joe@example.net"})
        await world.send("joe@example.net")
        await self.told(world, event="suppressed")
        await world.api.call("SuppressionRemove", {"EmailAddress": "j.o.e@example.net"})
        await world.send("joe@example.net")
        await self.told(world, event="delivered")
        world.run("suppression", "add", "joe@example.net", "--account", "user")
        is_listed = world.api.server.server._known.suppressed
        await self.until(lambda: is_listed._lists.get(1))
        await world.send("joe@example.net")
        await self.told(world, 2, event="suppressed")

    async def test_delayed_and_canceled(self) -> None:
        """A failed attempt is told of; what an operator drops is canceled."""
        world = await self.world()
        sent = await world.send("y-temperror@example.net")
        [delayed] = await self.told(world)
        said = delayed.json
        self.assertEqual((said["Event"], said["Suppressing"]), ("delayed", False))
        self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"]), (451, "4.0.0"))
        world.run("queue", "drop", str(sent["QueueMsgID"]))
        _, canceled = await self.told(world, 2)
        said = canceled.json
        self.assertEqual((said["Event"], said["QueueMsgID"]), ("canceled", sent["QueueMsgID"]))
        self.assertEqual((said["SMTPCode"], said["Error"]), (0, "delivery canceled by admin"))

    async def test_ended_by_the_operator(self) -> None:
        """What an operator fails is failed, and puts nobody on the list."""
        world = await self.world("--outgoing-events", "failed")
        sent = await world.send("y-temperror@example.net")
        await self.until(lambda: world.json("queue", "list")[0]["attempts"] == 1)
        world.run("queue", "fail", str(sent["QueueMsgID"]))
        [failed] = await self.told(world)
        said = failed.json
        self.assertEqual((said["Event"], said["Suppressing"]), ("failed", False))
        self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"]), (0, ""))
        self.assertIn("operator", said["Error"])

    async def test_held(self) -> None:
        """A hold rule holds what fits it; what is released is delivered."""
        world = await self.world()
        world.run("holdrule", "add", "--recipient", "example.net", "--account", "user")
        await self.until(lambda: world.api.server.server._known.hold_rules)
        sent = await world.send("joe@example.net")
        other = await world.send("ann@example.com")
        [call] = await self.told(world)
        self.assertEqual(call.json["QueueMsgID"], other["QueueMsgID"])
        [held] = world.json("queue", "list")
        self.assertEqual((held["id"], held["state"]), (sent["QueueMsgID"], "held"))
        world.run("queue", "release", str(sent["QueueMsgID"]))
        _, released = await self.told(world, 2)
        self.assertEqual(
            (released.event, released.json["QueueMsgID"]), ("delivered", sent["QueueMsgID"])
        )

    async def test_dsn_to_a_from_id(self) -> None:
        """What comes back to a FromID is an event of what was sent, and no incoming message."""
        world = await self.world("--outgoing-events", "failed,delayed,relayed,unrecognized")
        await self.set_account(world, "--incoming-webhook", world.receiver.url(IN))
        sent = await world.send("joe@example.net", Extra={"k": "v"})
        await self.told(world, path=IN)
        back = f"user+{sent['FromID']}@example.org"
        diagnostic = "Diagnostic-Code: smtp; 550-5.1.1 no\n 550 5.1.1 such user\n"
        for content, event, code, enhanced, suppressing in (
            (dsn("joe@example.net", "delayed", "4.2.2"), "delayed", 400, "4.2.2", False),
            (dsn("joe@example.net", "failed", "5.1.1", diagnostic), "failed", 550, "5.1.1", True),
            (dsn("joe@example.net", "failed", "5.1.1", diagnostic), "failed", 550, "5.1.1", False),
            (dsn("joe@example.net", "relayed", "2.0.0"), "relayed", 0, "", False),
        ):
            before = len(world.receiver.at(OUT))
            await world.deliver(back, content)
            said = (await self.told(world, before + 1))[-1].json
            self.assertEqual((said["Event"], said["DSN"], said["Error"]), (event, True, ""))
            self.assertEqual((said["SMTPCode"], said["SMTPEnhancedCode"]), (code, enhanced))
            self.assertEqual((said["Suppressing"], said["Extra"]), (suppressing, {"k": "v"}))
            self.assertEqual(said["QueueMsgID"], sent["QueueMsgID"])
            self.assertEqual(said["FromID"], sent["FromID"])
        await world.deliver(back, MAIL + b"\nthank you\n", "joe@example.net")
        said = (await self.told(world, 5))[-1].json
        self.assertEqual((said["Event"], said["DSN"]), ("unrecognized", False))
        await self.arrived(world.api, 6)
        await self.told(world, path=IN)

    async def test_dsn_by_message_id(self) -> None:
        """A DSN that names the message is believed for the event, and suppresses nobody."""
        world = await self.world("--outgoing-events", "failed", from_ids=False)
        sent = await world.send("joe@example.net")
        self.assertEqual(sent["FromID"], "")
        await self.arrived(world.api)
        more = "Diagnostic-Code: smtp; 550 5.1.1 no such user\n"
        content = dsn("joe@example.net", "failed", "5.1.1", more, sent["MessageID"])
        await world.deliver(USER, content)
        [call] = await self.told(world)
        said = call.json
        self.assertEqual((said["DSN"], said["Suppressing"]), (True, False))
        self.assertEqual((said["SMTPCode"], said["QueueMsgID"]), (550, sent["QueueMsgID"]))
        self.assertEqual((await world.api.call("SuppressionList")).json, {"Suppressions": []})
