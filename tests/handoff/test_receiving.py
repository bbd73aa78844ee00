"""Mail that is handed in: what is answered, and what becomes of it."""

from __future__ import annotations

from hashlib import sha256

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.config.settings import StorageSection
from mailrelay.directory.aliases import OnDisabled, Rewrite
from mailrelay.handoff.endpoints import Compat, HandOffInSettings, Policy
from mailrelay.testing.loopback import USER
from tests.handoff.handing import MESSAGE, TOKEN, HandingCase
from tests.integration.world import soon, until

OTHER = "other@example.org"
NOBODY = "nobody@example.org"
FULL = StorageSection("sqlite:///mailrelay.db", min_free_bytes=2**60)


class TakenTests(HandingCase):
    """200."""

    async def test_queued(self) -> None:
        """It is in the mailbox, byte for byte, below what we put on top."""
        place = await self.place()
        answered = await place.post(MESSAGE, USER, X_Mailrelay_Mail_From="b@sender.test")
        self.assert_answer(answered, 200, "OK")
        self.assertEqual(answered.body, b"OK")
        content = await place.content()
        self.assertTrue(content.endswith(MESSAGE), content)
        self.assertTrue(content.startswith(b"Return-Path: <b@sender.test>\r\n"), content)
        self.assertIn(b"with HTTP id", content)

    async def test_two_recipients(self) -> None:
        """Each has a copy."""
        place = await self.place()
        self.assert_answer(await place.post(MESSAGE, USER, OTHER), 200)
        kept = await place.kept()
        self.assertEqual(kept, [("other", "Inbox", "hello"), ("user", "Inbox", "hello")])

    async def test_alias(self) -> None:
        """Its members have copies, those of other servers too."""
        place = await self.place()
        await place.alias("team@example.org", USER, "x@far.test")
        by_pipe = b"Delivered-To: team@example.org\r\n" + MESSAGE  # Postfix's flag D
        self.assert_answer(await place.post(by_pipe, "team@example.org"), 200)
        self.assertEqual(await place.kept(), [("user", "Inbox", "hello")])
        self.assertIn("RCPT TO:<x@far.test>", place.envelopes)

    async def test_report_that_comes_back(self) -> None:
        """What an alias passed on fails elsewhere: its author is told once, nobody else can be."""
        place = await self.place()
        await place.alias("team@example.org", "x@far.test")
        rewritten = {"rewrite": Rewrite.SRS}
        await place.control.aliases.records.set("test", ("team", "example.org"), rewritten)
        wanted = await place.control.aliases.alias("team@example.org")
        await until(reactor, lambda: wanted in place.server.server.directory.aliases.values())
        sent = await place.post(MESSAGE, "team@example.org", X_Mailrelay_Mail_From="a@sender.test")
        self.assert_answer(sent, 200)
        await place.settled()
        path = place.envelopes[0].removeprefix("MAIL FROM:<").partition(">")[0]
        self.assertTrue(path.startswith("SRS0="), path)
        for sender, status in (("", 200), ("", 200), ("b@sender.test", 422)):
            answered = await place.post(MESSAGE, path, X_Mailrelay_Mail_From=sender)
            self.assert_answer(answered, status)
        forged = await place.post(
            MESSAGE, path.replace("SRS0=", "SRS0=A"), X_Mailrelay_Mail_From=""
        )
        self.assert_answer(forged, 422, "5.1.1 ")
        await place.settled()
        self.assertEqual(place.envelopes.count("RCPT TO:<a@sender.test>"), 1)

    async def test_json(self) -> None:
        """An answer in JSON for who asks for that."""
        place = await self.place()
        answered = await place.post(MESSAGE, USER, Accept="application/json")
        self.assertEqual(answered.body, b'{"status":"ok","message":"OK","code":""}')
        answered = await place.post(MESSAGE, NOBODY, Accept="application/json")
        self.assertEqual(answered.status, 422)
        self.assertEqual(
            answered.body, b'{"status":"error","message":"no such user","code":"5.1.1"}'
        )

    async def test_again(self) -> None:
        """The same message comes twice: one copy, also when they come at once."""
        place = await self.place()
        for _ in range(2):
            self.assert_answer(await place.post(MESSAGE, USER), 200, "OK")
        posts = [Deferred.fromCoroutine(place.post(MESSAGE, OTHER)) for _ in range(6)]
        for answered in await gatherResults(posts):
            self.assertEqual(answered.status, 200, answered)
        kept = await place.kept()
        self.assertEqual(kept, [("other", "Inbox", "hello"), ("user", "Inbox", "hello")])

    async def test_again_by_another_way(self) -> None:
        """The topmost Received is not looked at, all else is."""
        place = await self.place()
        trace = b"Received: from a by b\r\n\tfor <x@y.test>; Sat, 21 Nov 2026 12:00:0%d +0000\r\n"
        first, second = trace % 1 + MESSAGE, trace % 2 + MESSAGE
        for content in (first, second, first + b"more\r\n"):
            self.assert_answer(await place.post(content, USER), 200)
        self.assertEqual(len(await place.kept()), 2)

    async def test_key(self) -> None:
        """A key stands for a message: nothing else is taken under it; others are other messages."""
        place = await self.place()
        for key in ("k1", "k1", "k2"):
            self.assert_answer(await place.post(MESSAGE, USER, Idempotency_Key=key), 200)
        other = await place.post(MESSAGE + b"more\r\n", USER, Idempotency_Key="k1")
        self.assert_answer(other, 409, "4.3.5 ")
        self.assert_answer(await place.post(MESSAGE, OTHER, Idempotency_Key="k1"), 200)
        self.assert_answer(await place.post(MESSAGE, USER, Idempotency_Key="a b"), 400)
        self.assertEqual(len(await place.kept()), 3)


class RefusedTests(HandingCase):
    """The table of what is not simply queued."""

    async def test_unknown(self) -> None:
        """Native mode says so, for the caller to return it."""
        place = await self.place()
        answered = await place.post(MESSAGE, NOBODY)
        self.assert_answer(answered, 422, "5.1.1 no such user\n")
        self.assertEqual(answered.headers["content-type"], "text/plain; charset=utf-8")
        self.assertEqual(await place.kept(), [])

    async def test_unknown_in_mailx_mode(self) -> None:
        """mailx says 200 and drops it, which the history tells."""
        place = await self.place(compat=Compat.MAILX)
        self.assert_answer(await place.post(MESSAGE, NOBODY), 200, "OK")
        self.assertEqual(await place.kept(), [])
        self.assertEqual(place.outside.lines, [])

    async def test_unknown_by_policy(self) -> None:
        """What the endpoint is set to."""
        for policy, status in ((Policy.DROP, 200), (Policy.DEFER, 503), (Policy.REJECT, 422)):
            place = await self.place(unknown=policy)
            self.assert_answer(await place.post(MESSAGE, NOBODY), status)

    async def test_unknown_beside_known(self) -> None:
        """One is delivered, and our report tells the sender of the other, once."""
        place = await self.place()
        for _ in range(2):
            answered = await place.post(MESSAGE, USER, NOBODY, X_Mailrelay_Mail_From=OTHER)
            self.assert_answer(answered, 200)
        kept = await place.kept()
        self.assertEqual([account for account, _, _ in kept], ["other", "user"])

    async def test_deferred_beside_known(self) -> None:
        """One is delivered at once, and is not again when the other can be."""
        place = await self.place()
        await place.alias("team@example.org", OTHER, disabled=True, on_disabled=OnDisabled.DEFER)
        for _ in range(2):
            answered = await place.post(MESSAGE, USER, "team@example.org")
            self.assert_answer(answered, 503, "4.2.1 ")
            self.assertIn("retry-after", answered.headers)
        self.assertEqual(await place.kept(), [("user", "Inbox", "hello")])

    async def test_refused_after_others_were_taken(self) -> None:
        """No 422 then: the caller would return it for those, too, who have it."""
        place = await self.place()
        await place.alias("team@example.org", OTHER, disabled=True, on_disabled=OnDisabled.DEFER)
        sender = {"X_Mailrelay_Mail_From": OTHER}
        answered = await place.post(MESSAGE, USER, "team@example.org", **sender)
        self.assert_answer(answered, 503)
        await place.control.aliases.remove("team@example.org")
        await until(reactor, lambda: not place.server.server.directory.aliases)
        answered = await place.post(MESSAGE, USER, "team@example.org", **sender)
        self.assert_answer(answered, 200)
        kept = await place.kept()
        self.assertEqual([account for account, _, _ in kept], ["other", "user"])

    async def test_hostile_requests(self) -> None:
        """What a request says is checked before it is believed; nothing of it leaves or stays."""
        place = await self.place()
        for fields in (
            {"X_Mailrelay_Rcpt_To": "user@example.org%0D%0ARCPT TO:<x@far.test>"},
            {"X_Mailrelay_Rcpt_To": "user@example.org%00"},
            {"X_Mailrelay_Rcpt_To": "user%E2%80%A8@example.org"},
            {"X_Mailrelay_Mail_From": "a%0A@sender.test"},
            {"X_Mailrelay_Mail_From": "a" * 5000 + "@sender.test"},
            {"Idempotency_Key": "k" * 256},
        ):
            self.assert_answer(await place.post(MESSAGE, **fields), 400, "5.5.4 ")
        for path, status in (
            ("/v1/email?rcpt=a%40b%40c", 400),
            ("/v1/email?sender=%0D%0A", 400),
            ("/v1/email?rcpt=%FF", 400),
            ("/v1/email?" + "rcpt=user%40example.org&" * 101, 400),
            ("/v1/email/", 404),
        ):
            answered = await place.post(MESSAGE, path=path)
            self.assertEqual(answered.status, status, path)
        packed = await place.post(MESSAGE, USER, Content_Encoding="gzip")
        self.assertEqual(packed.status, 415)
        self.assertEqual(await place.kept(), [])
        self.assertEqual(place.outside.lines, [])

    async def test_disabled(self) -> None:
        """Aliases say what they want; the endpoint may overrule that."""
        place = await self.place()
        for policy, status in ((OnDisabled.REJECT, 422), (OnDisabled.DROP, 200)):
            name = f"{policy.value}@example.org"
            await place.alias(name, USER, disabled=True, on_disabled=policy)
            self.assert_answer(await place.post(MESSAGE, name), status)
        self.assert_answer(await place.post(MESSAGE, "user@off.example"), 503, "4.2.1 ")
        self.assertEqual(await place.kept(), [])
        place = await self.place(disabled=Policy.DROP)
        self.assert_answer(await place.post(MESSAGE, "user@off.example"), 200)

    async def test_foreign(self) -> None:
        """Nothing leaves by us, in neither mode and whoever names the address."""
        for compat in Compat:
            place = await self.place(compat=compat)
            self.assert_answer(await place.post(MESSAGE, "x@far.test"), 422, "5.7.1 ")
            self.assert_answer(await place.post(MESSAGE, USER, "x@far.test"), 422, "5.7.1 ")
            self.assertEqual(await place.kept(), [])
            self.assertEqual(place.outside.lines, [])

    async def test_malformed(self) -> None:
        """422, and 200 with a mailbox of the postmaster's in mailx mode: nothing is tried again."""
        hostile = (MESSAGE + b"\0", b"", b"no header at all\r\n", b"To: somebody\r\n\r\nx\r\n")
        place = await self.place()
        for content in hostile:
            self.assert_answer(await place.post(content), 422, "5.")
        self.assertEqual(await place.kept(), [])
        place = await self.place(compat=Compat.MAILX)
        for content in hostile:
            for _ in range(2):
                self.assert_answer(await place.post(content), 200, "OK")
        kept = await place.kept()
        self.assertEqual([mailbox for _, mailbox, _ in kept], ["Quarantine"] * len(hostile))

    async def test_put_aside_whole(self) -> None:
        """Large as it may be."""
        place = await self.place(compat=Compat.MAILX)
        content = MESSAGE + b"x\0y\r\n" * 50_000
        self.assert_answer(await place.post(content, USER), 200)
        kept = await place.content("Quarantine")
        self.assertTrue(kept.startswith(b"X-Mailrelay-Quarantine: "), kept[:100])
        self.assertTrue(kept.endswith(content))

    async def test_token(self) -> None:
        """Missing, wrong, empty, or in another scheme."""
        place = await self.place(tokens=(TOKEN, "the-next-one"))
        self.assert_answer(await place.post(MESSAGE, USER, token="the-next-one"), 200)
        for wrong in (None, "", "wrong", TOKEN + "x", TOKEN[:-1]):
            answered = await place.post(MESSAGE, USER, token=wrong)
            self.assert_answer(answered, 401, "4.7.8 ")
            self.assertEqual(answered.headers["www-authenticate"], "Bearer")
        basic = await place.post(MESSAGE, USER, token=None, Authorization=f"Basic {TOKEN}")
        self.assert_answer(basic, 401)
        place = await self.place(tokens=())
        for token in (None, ""):
            self.assert_answer(await place.post(MESSAGE, USER, token=token), 401)

    async def test_network(self) -> None:
        """Others than those listed are refused before their token is looked at."""
        place = await self.place(networks=("192.0.2.0/24",))
        self.assert_answer(await place.post(MESSAGE, USER), 403)
        place = await self.place(networks=("127.0.0.0/8",))
        self.assert_answer(await place.post(MESSAGE, USER), 200)

    async def test_two_endpoints(self) -> None:
        """On one path the token decides."""
        second = HandOffInSettings("mailx", tokens=("second",), compat=Compat.MAILX)
        place = await self.place(more=[second])
        self.assert_answer(await place.post(MESSAGE, NOBODY), 422)
        self.assert_answer(await place.post(MESSAGE, NOBODY, token="second"), 200)

    async def test_too_large(self) -> None:
        """413, whether the length was said or not."""
        place = await self.place(most_bytes=1000)
        self.assert_answer(await place.post(MESSAGE + b"x" * 1000, USER), 413, "5.3.4 ")
        self.assert_answer(await place.post(MESSAGE, USER), 200)

    async def test_daily_limit(self) -> None:
        """An account's limits hold for what is handed in for it: 429, and when to come again."""
        place = await self.place(account="full")
        for number in range(3):
            answered = await place.post(MESSAGE + b"%d\r\n" % number, USER)
            self.assertEqual(answered.status, 429 if number == 2 else 200, answered)
        self.assertIn("retry-after", answered.headers)
        self.assertEqual(len(await place.kept()), 2)

    async def test_no_such_account(self) -> None:
        """The endpoint is not as it is meant: the caller keeps its mail."""
        place = await self.place(account="gone")
        self.assert_answer(await place.post(MESSAGE, USER), 503, "4.3.5 ")

    async def test_no_room(self) -> None:
        """503 while the disk has none."""
        place = await self.place(settings={"storage": FULL})
        self.assert_answer(await place.post(MESSAGE, USER), 503, "4.3.1 ")
        self.assertEqual(await place.kept(), [])


class CheckTests(HandingCase):
    """``/domain/check``."""

    async def test_domains(self) -> None:
        """Known, unknown, none, no JSON; with the token alone."""
        place = await self.place()
        path = "/v1/email/domain/check"
        for body, status in (
            (b'{"name":"example.org"}', 200),
            (b'{"name":"EXAMPLE.org"}', 200),
            ('{"name":"bücher.example"}'.encode(), 200),
            (b'{"name":"far.test"}', 400),
            (b'{"name":"a b"}', 400),
            (b'{"name":3}', 400),
            (b"name=example.org", 400),
            (b"\xff", 400),
        ):
            self.assertEqual((await place.post(body, path=path)).status, status, body)
        self.assert_answer(await place.post(b'{"name":"example.org"}', path=path, token="x"), 401)

    async def test_not_known(self) -> None:
        """A server that cannot take mail does not say that a domain is unknown."""
        place = await self.place(domains=("catch.example",))
        path = "/v1/email/domain/check"
        self.assert_answer(await place.post(b'{"name":"catch.example"}', path=path), 200)
        self.assert_answer(await place.post(b'{"name":"example.org"}', path=path), 400)
        self.assert_answer(await place.post(MESSAGE, USER), 422, "5.7.1 ")
        place = await self.place(settings={"storage": FULL})
        self.assert_answer(await place.post(b'{"name":"far.test"}', path=path), 503)


class LargeTests(HandingCase):
    """What goes to the spool."""

    async def test_byte_for_byte(self) -> None:
        """25 MB, of every byte that may be in a line, and lines that begin with dots."""
        place = await self.place()
        every = bytes(one for one in range(1, 256) if one not in b"\r\n")
        line = b"." + every + b"\r\n"
        content = MESSAGE + line * (25 * 1000 * 1000 // len(line))
        self.assert_answer(await place.post(content, USER), 200, "OK")
        kept = await place.content()
        end = kept.index(MESSAGE)
        self.assertEqual(sha256(kept[end:]).digest(), sha256(content).digest())
        self.assert_answer(await place.post(content, USER), 200, "OK")
        self.assertEqual(len(await place.kept()), 1)

    async def test_nothing_is_left(self) -> None:
        """Of what is not taken no file stays."""
        place = await self.place(most_bytes=1_000_000)
        content = MESSAGE + b"x\r\n" * 100_000
        self.assert_answer(await place.post(content, NOBODY), 422)
        self.assert_answer(await place.post(content + b"\0", USER), 422)
        self.assert_answer(await place.post(content * 4, USER), 413)
        self.assert_answer(await place.post(content, USER), 200)
        self.assert_answer(await place.post(content, USER), 200)
        await place.settled()
        spool = place.server.server.stores.spool
        while len(await spool.names()) > 1:  # what is abandoned goes in a thread
            await soon(reactor, 0.05)
        self.assertEqual(len(await spool.names()), 1)
