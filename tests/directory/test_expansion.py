"""Aliases: whom they reach, who may write to them, who may send as them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.aliases import Alias
from mailrelay.directory.expansion import DEEPEST, expand, may_post
from mailrelay.directory.model import (
    CATCH_ALL,
    Account,
    Directory,
    Domain,
    DomainDisabled,
    HandedOff,
    NoSuchUser,
)
from mailrelay.smtp.address import Address

ALICE, BOB = Account(1, "alice"), Account(2, "bob")
PLAIN = Directory(
    domains={
        "example.org": Domain(1, "example.org"),
        "off.example": Domain(2, "off.example", disabled=True),
        "all.example": Domain(3, "all.example"),
    },
    accounts={1: ALICE, 2: BOB},
    addresses={
        ("alice", "example.org"): 1,
        ("al", "example.org"): 1,
        ("bob", "example.org"): 2,
        ("x", "off.example"): 2,
        (CATCH_ALL, "all.example"): 2,
    },
)
OWNER, ANN = Address("owner", "example.net"), Address("ann", "example.net")


def alias(id_: int, name: str, *members: str, **changes: Any) -> Alias:
    """An alias at example.org; members without a domain are there, too."""
    full = (one if "@" in one else f"{one}@example.org" for one in members)
    made = Alias(id_, name, "example.org", tuple(map(Address.parse, full)))
    return evolve(made, **changes)


def directory(*aliases: Alias) -> Directory:
    """PLAIN with aliases."""
    return evolve(PLAIN, aliases={(one.localpart, one.domain): one for one in aliases})


def reached(one: Alias, *others: Alias) -> list[str]:
    """The addresses that get a copy."""
    return [str(member.address) for member in expand(directory(one, *others), one).members]


class ExpandTests(SynchronousTestCase):
    """expand."""

    def test_once_each(self) -> None:
        """A mailbox gets one copy by whichever address; another server's, however it is written."""
        one = alias(1, "list", "alice", "al", "bob", "Ann@example.net", "ann@EXAMPLE.net")
        self.assertEqual(reached(one), ["alice@example.org", "bob@example.org", "Ann@example.net"])

    def test_nested(self) -> None:
        """Aliases in aliases, round and round: each is entered once; disabled ones are not."""
        outer = alias(1, "outer", "inner", "alice")
        inner = alias(2, "inner", "outer", "off", "bob", "inner")
        off = alias(3, "off", "ann@example.net", disabled=True)
        self.assertEqual(reached(outer, inner, off), ["bob@example.org", "alice@example.org"])

    def test_catch_all(self) -> None:
        """An address of its own comes first, then an alias, then the domain's catch-all."""
        catch_all, own = alias(1, "", "bob", allow_from=True), alias(2, "list", "alice")
        found = directory(catch_all, own)
        self.assertEqual(found.resolve(Address("alice", "example.org")), ALICE)
        self.assertEqual(found.resolve(Address("List+x", "example.org")), own)
        anything = Address("Any+x", "example.org")
        self.assertEqual(found.resolve(anything), catch_all)
        self.assertEqual(found.alias(anything), catch_all)
        self.assertIsNone(found.alias(Address("alice", "example.org")))
        self.assertTrue(found.owns(BOB, anything))
        self.assertFalse(found.owns(ALICE, anything))
        self.assertTrue(may_post(found, catch_all, expand(found, catch_all), [anything]))
        plain = evolve(catch_all, allow_from=False)
        found = directory(plain, own)
        self.assertFalse(may_post(found, plain, expand(found, plain), [anything]))
        posters = evolve(plain, posters=frozenset({anything}))
        self.assertTrue(may_post(directory(posters), posters, expand(found, plain), [anything]))

    def test_depth(self) -> None:
        """What is too far in is left out."""
        chain = [alias(n, f"l{n}", f"l{n + 1}", f"m{n}@example.net") for n in range(1, 20)]
        found = reached(chain[0], *chain[1:])
        self.assertEqual(len(found), DEEPEST)
        self.assertNotIn(f"m{DEEPEST + 1}@example.net", found)

    def test_owner(self) -> None:
        """Failures are the nearest alias's owner's."""
        inner = alias(2, "inner", "b@example.net", owner=OWNER)
        outer = alias(1, "outer", "a@example.net", "inner", "bob", owner=ANN)
        members = expand(directory(outer, inner), outer).members
        self.assertEqual([one.owner for one in members], [ANN, OWNER, None])
        self.assertEqual([one.is_external for one in members], [True, True, False])
        bare = evolve(inner, owner=None)
        [_, second, _] = expand(directory(outer, bare), outer).members
        self.assertEqual(second.owner, ANN)

    def test_trouble(self) -> None:
        """Members who cannot take mail are left out, and told of in their order."""
        one = alias(1, "list", "gone", "x@off.example", "bob")
        found = expand(directory(one), one)
        self.assertEqual([str(m.address) for m in found.members], ["bob@example.org"])
        self.assertEqual(found.trouble, [NoSuchUser(), DomainDisabled()])

    def test_before_the_catch_all(self) -> None:
        """An alias comes before its domain's catch-all; a suffix is as good as none."""
        one = Alias(1, "list", "all.example", (ANN,))
        known = evolve(PLAIN, aliases={("list", "all.example"): one})
        for text in ("list@all.example", "LIST+x@all.example"):
            self.assertEqual(known.resolve(Address.parse(text)), one)
        self.assertEqual(known.resolve(Address("other", "all.example")), BOB)

    def test_not_an_alias_now(self) -> None:
        """In a disabled domain there is none, and an application's own address comes first."""
        text = "list@off.example"
        one = Alias(1, "list", "off.example", (ANN,))
        known = evolve(PLAIN, aliases={("list", "off.example"): one})
        self.assertIsNone(known.alias(Address.parse(text)))
        on = evolve(known, domains={"off.example": Domain(2, "off.example")})
        self.assertEqual(on.alias(Address.parse(text)), one)
        self.assertIsNone(
            evolve(on, handed_off={text: HandedOff("app")}).alias(Address.parse(text))
        )


class PostTests(SynchronousTestCase):
    """may_post."""

    def may(self, authors: Sequence[str], **changes: Any) -> bool:
        """Whether the list takes mail From ``authors``."""
        inner = alias(2, "inner", "bob")
        one = alias(1, "list", "alice", "inner", "ann@example.net", **changes)
        known = directory(one, inner)
        return may_post(known, one, expand(known, one), list(map(Address.parse, authors)))

    def test_members(self) -> None:
        """Members by their listed addresses, those of aliases in it, and posters."""
        for text in ("Alice+x@example.org", "bob@example.org", "ANN@example.net"):
            self.assertTrue(self.may([text]), text)
        for text in ("al@example.org", "owner@example.net", "ann+x@example.net"):
            self.assertFalse(self.may([text]), text)
        self.assertTrue(self.may(["owner@example.net"], posters=frozenset({OWNER})))

    def test_all_authors(self) -> None:
        """All of several authors must be allowed; nobody is none."""
        self.assertTrue(self.may(["alice@example.org", "bob@example.org"]))
        self.assertFalse(self.may(["alice@example.org", "owner@example.net"]))
        self.assertFalse(self.may([]))

    def test_public(self) -> None:
        """Everybody, when it is public."""
        for authors in (["owner@example.net"], [], ["list@example.org"]):
            self.assertTrue(self.may(authors, post_public=True))

    def test_itself(self) -> None:
        """Mail From the alias is for the alias when members may use it."""
        self.assertFalse(self.may(["list@example.org"]))
        self.assertTrue(self.may(["list@example.org"], allow_from=True))


class OwnsTests(SynchronousTestCase):
    """Directory.owns of an alias."""

    def test_members(self) -> None:
        """Members with an account, when the alias allows it and is not disabled."""
        cases: list[tuple[dict[str, Any], list[bool]]] = [
            ({}, [False, False]),
            ({"allow_from": True}, [True, False]),
            ({"allow_from": True, "disabled": True}, [False, False]),
        ]
        for changes, expected in cases:
            known = directory(alias(1, "list", "al", "ann@example.net", **changes))
            address = Address("List+x", "example.org")
            self.assertEqual([known.owns(one, address) for one in (ALICE, BOB)], expected)
            listed = ["list@example.org" in known.senders_of(one) for one in (ALICE, BOB)]
            self.assertEqual(listed, expected)
