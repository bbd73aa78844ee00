"""Copies that an alias changes, and what the server writes itself, are signed, and hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dkim as oracle
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.directory.aliases import Rewrite
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.testing.loopback import USER
from mailrelay.testing.scripted_server import Answers
from tests.integration.test_forwarding import (
    AUTHOR,
    CONTENT,
    LIST,
    MEMBER,
    OTHER,
    Place,
    report,
    start,
)
from tests.integration.world import until

SECOND = "bob@example.net"


async def with_keys(case: TestCase, *domains: str, **answers: Answers) -> tuple[Place, Any]:
    """A server whose ``domains`` have keys in use, and all of their keys."""
    place = await start(case, **answers)
    made: list[StoredKey] = []
    for domain in domains:
        keys = await place.control.dkim.add(domain, [Algorithm.ED25519])
        made += keys
        await place.control.dkim.activate(keys)
    await until(
        reactor,
        lambda: all(
            {key.state for key in place.server.server.directory.dkim_keys.get(domain, ())}
            == {KeyState.ACTIVE}
            for domain in domains
        ),
    )
    return place, made


def signers(message: bytes, keys: Sequence[StoredKey]) -> list[str]:
    """The domains of signatures that dkimpy believes, sorted."""
    by_name = {f"{key.name}.".encode(): key.record.encode() for key in keys}
    found = oracle.DKIM(message)
    fields = [value for name, value in found.headers if name.lower() == b"dkim-signature"]
    right = []
    for number, value in enumerate(fields):
        try:
            if found.verify(number, dnsfunc=lambda name, **_: by_name.get(name)):
                right += re.findall(rb"d=([a-z.]+);", value)
        except oracle.DKIMException:
            continue
    return sorted(one.decode() for one in right)


class CopiesTests(TestCase):
    """What aliases pass on."""

    timeout = 120

    async def test_rewritten(self) -> None:
        """From is the alias, and so is who signs: of mail from outside, small and large."""
        place, keys = await with_keys(self, "example.org")
        await place.alias(LIST, USER, MEMBER, rewrite=Rewrite.ALIAS)
        for number, body in enumerate((b"", b"x" * 70 + b"\r\n", b"long line\r\n" * 20_000)):
            await place.post(LIST, CONTENT + body)
            self.assertEqual(len(await place.gone(number + 1)), number + 1)
            sent = place.outside.contents[-1]
            self.assertEqual(signers(sent, keys), ["example.org"])
            self.assertEqual(signers(sent.replace(b"hello", b"hallo"), keys), [])
        self.assertGreater(len(place.outside.contents[-1]), 200_000)
        self.assertNotIn(b"d=example.org", (await place.kept(3))[0][1])

    async def test_submitted(self) -> None:
        """One of ours writes to an alias: a copy has a signature that holds; others have theirs."""
        place, keys = await with_keys(self, "example.org", "dash.example")
        await place.alias(LIST, OTHER, MEMBER, rewrite=Rewrite.ALIAS)
        await place.submit(LIST, b"From: user@dash.example\r\nSubject: hello\r\n\r\nhi\r\n")
        await place.gone(1)
        self.assertEqual(signers(place.outside.contents[0], keys), ["example.org"])

    async def test_answer(self) -> None:
        """An answer is signed by the alias's domain, and what goes with it by its author's."""
        place, keys = await with_keys(self, "example.org", "dash.example")
        await place.alias(LIST, "user@dash.example", MEMBER, rewrite=Rewrite.ALIAS)
        answer = b"From: user@dash.example\r\nMessage-ID: <2@x.test>\r\n\r\nhi Ann\r\n"
        await place.submit("list+ann=client.test@example.org", answer)
        await place.gone(1)
        [sent] = place.outside.contents
        self.assertEqual(signers(sent, keys), ["example.org"])
        self.assertNotIn(b"dash.example", sent)

    async def test_answer_and_copy(self) -> None:
        """So it is in one transaction: the answer does not tell what the other copy does."""
        place, keys = await with_keys(self, "example.org", "dash.example")
        await place.alias(LIST, "user@dash.example", MEMBER, rewrite=Rewrite.ALIAS)
        answer = b"From: user@dash.example\r\nMessage-ID: <2@x.test>\r\n\r\nhi\r\n"
        await place.submit(f"list+ann=client.test@example.org>\r\nRCPT TO:<{AUTHOR}", answer)
        await place.gone(2)
        as_alias, own = sorted(place.outside.contents, key=lambda sent: b"dash.example" in sent)
        self.assertEqual(signers(as_alias, keys), ["example.org"])
        self.assertNotIn(b"dash.example", as_alias)
        self.assertEqual(signers(own, keys), ["dash.example"])

    async def test_list(self) -> None:
        """A list's domain signs what the list adds: each copy's own link (RFC 8058 section 4)."""
        place, keys = await with_keys(self, "example.org")
        await place.alias(LIST, MEMBER, SECOND, is_list=True, owner=OTHER)
        await place.post(LIST)
        await place.gone(2)
        for sent in place.outside.contents:
            self.assertEqual(signers(sent, keys), ["example.org"])
            for old in (b"/leave/", b"One-Click", b"List-Id: <list"):
                new = old.replace(b"l", b"x").replace(b"One", b"Two")
                self.assertIn(old, sent)
                self.assertEqual(signers(sent.replace(old, new), keys), [])

    async def test_plain(self) -> None:
        """What an alias passes on as it came has no signature of ours."""
        place, _ = await with_keys(self, "example.org")
        await place.alias(LIST, MEMBER)
        await place.post(LIST)
        await place.gone(1)
        self.assertNotIn(b"d=example.org", place.outside.contents[0])


class OwnTests(TestCase):
    """What the server writes itself, with the keys of the domain above its name."""

    timeout = 120

    async def check(self, place: Place, keys: Sequence[StoredKey], subject: bytes) -> bytes:
        """Check that the last message out is one of the server's own, and signed."""
        sent = place.outside.contents[-1]
        self.assertIn(subject, sent)
        self.assertIn(b"@mail.example.org>\r\n", sent)
        self.assertEqual(signers(sent, keys), ["example.org"])
        return sent

    async def test_failure(self) -> None:
        """A report of failure."""
        answers = [b"550 5.1.1 nobody", b"250 2.1.5 ok"]
        place, keys = await with_keys(self, "example.org", RCPT=answers)
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        await place.gone(1)
        await self.check(place, keys, b"Subject: Mail delivery failed")

    async def test_told_to_author(self) -> None:
        """The report that an author gets in place of that of a member's server; it is not signed
        for a mailbox here."""
        place, keys = await with_keys(self, "example.org")
        await place.alias(LIST, MEMBER, rewrite=Rewrite.SRS)
        await place.post(LIST)
        [(path, _)] = await place.gone()
        await place.post(path, report(path), "")
        await place.gone(2)
        await self.check(place, keys, b"Subject: Mail delivery failed")
        await place.post(LIST, sender=USER)
        path = (await place.gone(3))[2][0]
        await place.post(path, report(path), "")
        [(_, told)] = await place.kept(1)
        self.assertNotIn(b"DKIM-Signature: v=1; a", told)

    async def test_letter(self) -> None:
        """The question whether mail is to be forwarded."""
        place, keys = await with_keys(self, "example.org")
        await place.control.forwarding.ask("user", MEMBER, keeps_copy=False)
        await place.gone(1)
        await self.check(place, keys, b"Subject: Confirm that mail is forwarded")

    async def test_no_keys(self) -> None:
        """Without keys for the host's name or what is above it, nothing is signed."""
        place, _ = await with_keys(self, "dash.example")
        await place.control.forwarding.ask("user", MEMBER, keeps_copy=False)
        await place.gone(1)
        self.assertNotIn(b"DKIM-Signature", place.outside.contents[0])
