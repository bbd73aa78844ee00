"""Many messages in one request."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import text
from twisted.internet import reactor as the_reactor

from mailrelay.control.directory import AccountDetails
from mailrelay.control.queue import EntryFilter
from mailrelay.message.compose import compose as real_compose
from mailrelay.message.draft import Draft
from mailrelay.queue.store import StoreUnavailable
from mailrelay.testing.loopback import USER
from mailrelay.web.settings import HTTPSettings
from mailrelay.webapi.v1 import mailing
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import soon

NOT_SENT: dict[str, object] = {"id": None, "message_id": "", "entries": []}


def to(address: str, **fields: object) -> dict[str, Any]:
    """A message of a batch."""
    return {"to": [{"address": address}], **fields}


class BatchCase(ClientCase):
    """A server that is asked to send batches."""

    async def send(self, client: Client, *items: object, key: object = "", **shared: object) -> Any:
        """Ask for it."""
        batch = {"from": {"address": USER}, "subject": "s", "text": "hi", **shared}
        headers = {"Idempotency-Key": str(key)} if key else {}
        return await client.ask(
            "POST", "/messages/batch", {**batch, "messages": list(items)}, headers
        )

    async def sent(self, client: Client, *items: object, **shared: object) -> Any:
        """The results of a batch that must be answered."""
        answered = await self.send(client, *items, **shared)
        self.assertEqual(answered.status, 202, answered)
        return answered.json["results"]

    async def entries(self, client: Client) -> list[Any]:
        """What is queued."""
        return list(await self.control(client.http).queue.find(EntryFilter()))

    def rows(self, client: Client, table: str) -> int:
        """How many rows a table has."""
        with client.http.server.server.stores.database.engine.connect() as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())

    def problem(self, result: Any) -> tuple[int, str, str]:
        """What was wrong with a message."""
        problem = result.pop("problem")
        self.assertEqual(result, NOT_SENT)
        self.assertTrue(problem.pop("detail"))
        return problem["status"], problem["code"], problem["field"]


class BatchTests(BatchCase):
    """POST /messages/batch."""

    async def test_personal(self) -> None:
        """Each message is the batch's, but for what it gives itself."""
        client = await self.client()
        data = b64encode(b"note").decode()
        results = await self.sent(
            client,
            to("one@example.net"),
            to("two@example.net", subject="own", text="", html="<p>own</p>", tags=["b"]),
            to("three@example.net", headers=[], attachments=[{"data": data, "name": "a.txt"}]),
            tags=["a"],
            headers=[{"name": "X-App", "value": "7"}],
            extra=[{"name": "k", "value": "v"}],
        )
        self.assertEqual([one["entries"][0]["recipient"] for one in results], [
            "one@example.net", "two@example.net", "three@example.net",
        ])  # fmt: skip
        found = await self.arrived(client.http, 3)
        parsed = [
            message_from_bytes(await self.raw(client.http, one.id), policy=policy.default)
            for one in found
        ]
        by_to: dict[str, Any] = {str(one["to"]): one for one in parsed}
        one, two, three = (by_to[f"{name}@example.net"] for name in ("one", "two", "three"))
        self.assertEqual((one["subject"], one["x-app"], one.get_content()), ("s", "7", "hi\r\n"))
        self.assertEqual((two["subject"], two.get_content_type()), ("own", "text/html"))
        self.assertIsNone(three["x-app"])
        self.assertEqual([part.get_filename() for part in three.iter_attachments()], ["a.txt"])
        self.assertEqual({str(m["message-id"]) for m in parsed}, {r["message_id"] for r in results})
        told = [(await client.ask("GET", f"/messages/{one['id']}")).json for one in results]
        self.assertEqual([one["tags"] for one in told], [["a"], ["b"], ["a"]])
        self.assertEqual([one["extra"] for one in told], [[{"name": "k", "value": "v"}]] * 3)

    async def test_some_are_wrong(self) -> None:
        """Mistakes are told of in order, and the others are sent."""
        client = await self.client()
        bad = "x\r\nBcc: y@example.net"
        data = b64encode(b"x" * 100_000).decode()
        answered = await self.send(
            client,
            to("one@example.net"),
            to("nobody"),
            {"to": []},
            to("a@example.net", subject=bad),
            to("a@example.net", **{"from": {"address": "other@example.org"}}),
            to("a@example.net", attachments=[{"data": data + "!"}]),
            to("a@example.net", text=""),
            to("a@example.net", tags=["a", "a"]),
            to("a@example.net", variables={"a": 1}),
            to("a@example.net", template={"name": "none"}, text="", subject=""),
            to("two@example.net", attachments=[{"data": data}]),
        )
        self.assertEqual((answered.status, answered.json["accepted"]), (202, 2))
        first, *wrong, last = answered.json["results"]
        self.assertEqual((first["problem"], last["problem"]), (None, None))
        self.assertEqual([self.problem(one) for one in wrong], [
            (400, "invalid_field", "to[0].address"),
            (400, "invalid_field", "to"),
            (400, "invalid_field", "subject"),
            (403, "not_allowed", "from.address"),
            (400, "invalid_field", "attachments[0].data"),
            (400, "invalid_field", "text"),
            (400, "invalid_field", "tags[1]"),
            (400, "invalid_field", "variables"),
            (400, "invalid_field", "template.name"),
        ])  # fmt: skip
        found = await self.arrived(client.http, 2)
        self.assertEqual(len(found), 2)

    async def test_all_or_nothing(self) -> None:
        """One mistake is the answer, with its place, and nothing is sent."""
        client = await self.client()
        large = [{"data": b64encode(b"x" * 100_000).decode()}]
        items = [
            to("x-temperror@example.net", attachments=large),
            *[to("b@example.net")] * 30,
            to("nobody"),
        ]
        answered = await self.send(client, *items, all_or_nothing=True)
        self.assert_problem(answered, 400, "invalid_field", "messages[31].to[0].address")
        self.assertEqual((await self.entries(client), self.rows(client, "content")), ([], 0))
        spool = client.http.server.server.stores.spool
        for _ in range(500):  # a worker removes it
            if not await spool.names():
                break
            await soon(the_reactor)
        await self.sent(client, *items[:-1], all_or_nothing=True)
        self.assertEqual(len(await spool.names()), 1)

    async def test_nothing_is_right(self) -> None:
        """It is answered, and may be asked for again."""
        client = await self.client()
        for _ in range(2):
            answered = await self.send(client, to("nobody"), key="k")
            self.assertEqual((answered.status, answered.json["accepted"]), (200, 0))
            self.assertNotIn("idempotency-replayed", answered.headers)

    async def test_again(self) -> None:
        """A repetition is answered the same, and sends nothing."""
        client = await self.client()
        items = [to("x-temperror@example.net"), to("nobody")]
        first = await self.send(client, *items, key="k")
        again = await self.send(client, *items, key="k")
        self.assertEqual((again.status, again.body), (first.status, first.body))
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        self.assertEqual(len(await self.entries(client)), 1)
        other = await self.send(client, *items[:1], key="k")
        self.assert_problem(other, 422, "idempotency_key_used")

    async def test_one_transaction(self) -> None:
        """Whatever becomes of the store, all of them are there with the answer, or none."""
        client = await self.client()
        store = client.http.server.server.stores.queue
        working = store._database.write

        def broken(work: Any) -> Any:
            def then_fails(connection: Any) -> None:
                work(connection)
                raise StoreUnavailable("full")

            return working(
                then_fails if work.__qualname__.endswith("add_all.<locals>.add") else work
            )

        self.patch(type(store._database), "write", lambda _, work: broken(work))
        answered = await self.send(client, *[to("a@example.net")] * 3, key="k")
        self.assert_problem(answered, 503, "store_unavailable")
        tables = ("message", "entry", "content", "event", "idempotency_key")
        self.assertEqual([self.rows(client, table) for table in tables], [0] * 5)

    async def test_templates(self) -> None:
        """The batch's template is filled for each, with its own variables over the batch's."""
        client = await self.client()
        source = {"name": "order", "subject": "{{ shop }} {{ number }}", "text": "{{ number }}\n"}
        self.assertEqual((await client.ask("POST", "/templates", source)).status, 201)
        template = {"name": "order", "variables": {"shop": "Shop", "number": 0}}
        results = await self.sent(
            client,
            *[to("a@example.net", variables={"number": n}) for n in range(1, 4)],
            to("a@example.net", template={"name": "order"}),
            subject="",
            text="",
            template=template,
        )
        problem = self.problem(results[3])
        self.assertEqual(problem, (400, "invalid_field", "template.variables.shop"))
        found = await self.arrived(client.http, 3)
        subjects = {message.subject for message in found}
        self.assertEqual(subjects, {"Shop 1", "Shop 2", "Shop 3"})

    async def test_unsubscribe(self) -> None:
        """Each gets a link of its own, which names the entry that it is stored as."""
        public = HTTPSettings(public_url="https://mail.example.org")
        client = await self.client(http=public)
        two = {"to": [{"address": "a@example.net"}, {"address": "b@example.net"}]}
        items = [to("a@example.net"), to("b@example.net"), two]
        results = await self.sent(client, *items, unsubscribe=True)
        self.assertEqual(self.problem(results[2]), (400, "invalid_field", "unsubscribe"))
        for one in await self.arrived(client.http, 2):
            content = await self.raw(client.http, one.id)
            link = str(message_from_bytes(content)["List-Unsubscribe"])
            clicked = await client.http.ask(
                "POST",
                urlsplit(link.strip("<>")).path,
                b"List-Unsubscribe=One-Click",
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            self.assertEqual(clicked.status, 200)
        events = (await client.ask("GET", "/events?kind=unsubscribed")).json["events"]
        clicked_of = {event["entry_id"] for event in events}
        self.assertEqual(clicked_of, {one["entries"][0]["id"] for one in results[:2]})

    async def test_later(self) -> None:
        """A time ahead is the batch's or a message's own; priority is not for batches."""
        client = await self.client()
        now = client.http.server.server._s.now()
        times = [datetime.fromtimestamp(now + days * 86400, UTC).isoformat() for days in (9, 360)]
        items = [to("a@example.net"), to("b@example.net", send_at=times[1])]
        await self.sent(client, *items, send_at=times[0])
        queued = sorted(view.entry.queued_at for view in await self.entries(client))
        self.assertEqual([round((at - now) / 86400) for at in queued], [9, 360])
        answered = await self.send(client, to("a@example.net"), priority="high")
        self.assert_problem(answered, 400, "invalid_field", "priority")


class BatchLimitTests(BatchCase):
    """How much a batch may be."""

    async def test_counts(self) -> None:
        """So many messages, and recipients in all."""
        client = await self.client()
        for items, field in (
            ([], "messages"),
            ([to("a@example.net")] * 1001, "messages"),
            ([{"to": [{"address": "a@example.net"}] * 667}] * 3, "messages"),
        ):
            self.assert_problem(await self.send(client, *items), 400, "invalid_field", field)

    async def test_many(self) -> None:
        """A thousand are sent together."""
        client = await self.client()
        items = [to(f"x-temperror@u{n}.example.net", subject=f"s{n}") for n in range(1000)]
        results = await self.sent(client, *items)
        self.assertEqual(len({one["id"] for one in results}), 1000)
        self.assertEqual([self.rows(client, t) for t in ("message", "entry")], [1000, 1000])

    async def test_daily(self) -> None:
        """The account's daily messages are counted over the whole."""
        client = (await self.client()).logged_in("full@example.org", "123456789")
        own = {"from": {"address": "full@example.org"}}
        results = await self.sent(client, *[to("a@example.net")] * 3, **own)
        self.assertEqual([one["problem"] for one in results[:2]], [None, None])
        self.assertEqual(self.problem(results[2]), (429, "sending_limit_reached", ""))

    async def test_new_recipients(self) -> None:
        """So are its new recipients, within the transaction."""
        client = await self.client()
        details = AccountDetails(new_recipients_per_day=2)
        await self.control(client.http).directory.set_account("user", details)
        known = client.http.server.server._known
        await self.until(
            lambda: any(a.new_recipients_per_day for a in known.directory.accounts.values())
        )
        items = [to(f"{name}@example.net") for name in ("a", "b", "a", "c", "b")]
        answered = await self.send(client, *items, all_or_nothing=True)
        self.assert_problem(answered, 429, "sending_limit_reached")
        self.assertEqual((self.rows(client, "message"), self.rows(client, "sent_to")), (0, 0))
        results = await self.sent(client, *items, key="k")
        self.assertEqual(self.problem(results.pop(3)), (429, "sending_limit_reached", ""))
        self.assertEqual([one["problem"] for one in results], [None] * 4)
        again = await self.send(client, *items, key="k")
        self.assertEqual(again.json["accepted"], 4)
        self.assertEqual((self.rows(client, "message"), self.rows(client, "sent_to")), (4, 2))

    async def test_bytes(self) -> None:
        """What a batch has in memory is bounded: the message that is too much is told so."""
        self.patch(mailing, "MOST_BYTES", 100_000)
        client = await self.client()
        data = b64encode(b"x" * 40_000).decode()
        items = [to("a@example.net", attachments=[{"data": data}])] * 2
        results = await self.sent(client, *items, to("a@example.net"))
        self.assertEqual(self.problem(results[1]), (413, "too_large", ""))
        self.assertEqual((results[0]["problem"], results[2]["problem"]), (None, None))

    async def test_bytes_of_what_fails(self) -> None:
        """Nor is it composed again and again to find that it is too much, or wrong."""
        self.patch(mailing, "MOST_BYTES", 100_000)
        composed: list[object] = []

        def compose(draft: Draft) -> Iterator[bytes]:
            composed.append(draft)
            return real_compose(draft)

        self.patch(mailing, "compose", compose)
        client = await self.client()
        for data in (b64encode(b"x" * 40_000).decode(), "x" * 40_001):
            composed.clear()
            attached = to("a@example.net", attachments=[{"data": data}])
            answered = await self.send(client, *[attached] * 30)
            self.assertEqual(self.problem(answered.json["results"][29]), (413, "too_large", ""))
            self.assertLess(len(composed), 4)
