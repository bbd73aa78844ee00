"""Relay rules from several places: who is believed, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.routing.relay_chains import ChainValue, HopValue, checked_chain, written_chain
from mailrelay.routing.relay_environment import read_environment, read_recipient_routes
from mailrelay.routing.relay_files import RelayProblem, read_credentials, read_relay_map
from mailrelay.routing.relay_rules import RelayDecision
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.routing.relay_stored import read_stored
from mailrelay.routing.relay_ways import NO_CREDENTIALS, destination_by
from mailrelay.routing.ways import ByRelayHost, Fail
from mailrelay.smtp.address import Address
from mailrelay.smtp.reply_pattern import ReplyPattern

MAP, EXCLUDE, PASSWORD = RelayRuleKind.MAP, RelayRuleKind.EXCLUDE, RelayRuleKind.PASSWORD
ROUTE, CHAIN = RelayRuleKind.ROUTE, RelayRuleKind.CHAIN


def chain_value(*hops: dict[str, Any], move_on: tuple[str, ...] = ()) -> str:
    """A chain as it is stored."""
    value = ChainValue([HopValue(**hop) for hop in hops], list(move_on))
    return written_chain(checked_chain(value))


def sources(
    *stored: tuple[RelayRuleKind, str, str],
    relaymap: str | None = None,
    passwords: str | None = None,
    routes: str = "",
    env: Mapping[str, str] | None = None,
) -> RelaySources:
    """Sources; the domain that is ours is ``ours.test``."""
    return RelaySources(
        read_environment(env or {}),
        read_relay_map(relaymap)[0] if relaymap is not None else None,
        read_credentials(passwords)[0] if passwords is not None else None,
        read_recipient_routes(routes),
        ["ours.test"],
        stored=read_stored([RelayRule(*one) for one in stored]),
    )


def decided(
    given: RelaySources,
    sender: str = "joe@ours.test",
    recipient: str = "x@remote.test",
    account: str | None = None,
) -> RelayDecision:
    """What is decided."""
    from_ = Address.parse(sender) if sender else None
    return given.rules().decide(from_, Address.parse(recipient), account)


def shown(decision: RelayDecision) -> list[str]:
    """Host and login of each hop."""
    return [
        hop.next_hop.host + (f" as {hop.login.credentials.username}" if hop.login else "")
        for hop in decision.hops
    ]


class PrecedenceTests(SynchronousTestCase):
    """File before directory data before environment, where they speak of one key."""

    def test_senders(self) -> None:
        """What a sender's key says in a file holds, whatever it says."""
        env = {"RELAY_HOST": "e.example"}
        stored = (MAP, "@ours.test", "[d.example]")
        cases: tuple[tuple[Any, str | None, list[str]], ...] = (
            ((), None, ["e.example"]),
            ((stored,), None, ["d.example"]),
            ((stored,), "@ours.test [f.example]\n", ["f.example"]),
            ((stored,), "@ours.test\n", []),
            ((stored,), "@ours.test DUNNO\n", []),
            (((EXCLUDE, "@ours.test", ""),), None, []),
            (((EXCLUDE, "@ours.test", ""),), "@ours.test [f.example]\n", ["f.example"]),
            ((stored,), "@other.test [f.example]\n", ["d.example"]),
        )
        for rules, relaymap, expected in cases:
            found = decided(sources(*rules, relaymap=relaymap, env=env))
            self.assertEqual(shown(found), expected, (rules, relaymap))

    def test_narrower_keys_come_first(self) -> None:
        """C.3's order of keys goes before that of sources."""
        given = sources((MAP, "joe@ours.test", "[d.example]"), relaymap="@ours.test [f.example]\n")
        self.assertEqual(shown(decided(given)), ["d.example"])

    def test_credentials(self) -> None:
        """Each key for itself; those of the directory switch on what those of a file do."""
        env = {"DEFAULT_RELAY_HOST": "[r.example]", "RELAY_USER": "eu", "RELAY_PASSWORD": "ep"}
        by_host = (PASSWORD, "[r.example]", "du:dp")
        for rules, passwords, expected in (
            ((), None, "eu"),
            ((by_host,), None, "du"),
            ((by_host,), "[r.example] fu:fp\n", "fu"),
            ((by_host,), "# nothing\n", "du"),
            (((PASSWORD, "@ours.test", "su:sp"),), None, "su"),
        ):
            [hop] = decided(sources(*rules, passwords=passwords, env=env)).hops
            assert hop.login is not None
            self.assertEqual((hop.login.credentials.username, hop.tls.value), (expected, "encrypt"))

    def test_routes(self) -> None:
        """Of recipients."""
        rule = (ROUTE, "remote.test", "smtp:[d.example]")
        self.assertEqual(shown(decided(sources(rule))), ["d.example"])
        found = decided(sources(rule, routes="remote.test smtp:[f.example]\n"))
        self.assertEqual(shown(found), ["f.example"])

    def test_sources_are_told(self) -> None:
        """Each rule that says something says who says so."""
        given = sources(
            (PASSWORD, "@ours.test", "u:p"),
            (ROUTE, "far.test", "smtp:[r.example]"),
            relaymap="@ours.test DUNNO\n",
            env={"DEFAULT_RELAY_HOST": "[d.example]"},
        )
        told = [(one.rule, one.source) for one in decided(given).considered]
        self.assertEqual(
            told,
            [
                ("recipient route", None),
                ("sender", None),
                ("sender", "file"),
                ("default relay host", "environment"),
                ("credentials", None),
                ("credentials", "directory"),
            ],
        )
        routed = decided(given, recipient="x@far.test").considered
        self.assertEqual(routed[-1].source, "directory")


class ChainTests(SynchronousTestCase):
    """Chains: whose, how, and as whom."""

    def test_of_an_account(self) -> None:
        """Between an address and its domain; also for bounces."""
        given = sources(
            (CHAIN, "account:Shop", chain_value({"next_hop": "[acct.example]"})),
            (MAP, "@ours.test", "[domain.example]"),
            (MAP, "joe@ours.test", "[joe.example]"),
        )
        for sender, account, expected in (
            ("joe@ours.test", "Shop", "joe.example"),
            ("ann@ours.test", "Shop", "acct.example"),
            ("ann@ours.test", "shop", "domain.example"),
            ("ann@ours.test", None, "domain.example"),
            ("", "Shop", "acct.example"),
        ):
            self.assertEqual(shown(decided(given, sender, account=account)), [expected])

    def test_of_the_configuration(self) -> None:
        """It comes before directory data, and after a file."""
        chain = checked_chain(ChainValue([HopValue("[c.example]")]))
        given = evolve(sources((MAP, "@ours.test", "[d.example]")), chains={"@ours.test": chain})
        self.assertEqual(shown(decided(given)), ["c.example"])
        relay_map, _ = read_relay_map("@ours.test [f.example]\n")
        self.assertEqual(shown(decided(evolve(given, relay_map=relay_map))), ["f.example"])

    def test_levels(self) -> None:
        """The least that is asked for, and no less than what holds anyway."""
        levels = {
            "": ("may", False),
            "may": ("may", False),
            "encrypt": ("encrypt", False),
            "verify": ("encrypt", True),
            "implicit": ("implicit", False),
        }
        for tls, expected in levels.items():
            value = chain_value({"next_hop": "[a.example]", "tls": tls})
            [hop] = decided(sources((CHAIN, "@ours.test", value))).hops
            self.assertEqual((hop.tls.value, hop.verifies), expected, tls)
        value = chain_value({"next_hop": "[a.example]", "tls": "may"})
        [hop] = decided(sources((CHAIN, "@ours.test", value), passwords="")).hops
        self.assertEqual(hop.tls.value, "encrypt")

    def test_named_credentials(self) -> None:
        """They are the only ones of their hop; without them it is not used."""
        value = chain_value(
            {"next_hop": "[a.example]", "credentials": "Main"}, {"next_hop": "[b.example]"}
        )
        chain = (CHAIN, "@ours.test", value)
        given = sources(chain, (PASSWORD, "main", "m:p"), passwords="@ours.test u:p\n")
        self.assertEqual(shown(decided(given)), ["a.example as m", "b.example as u"])
        lacking = sources(chain, passwords="@ours.test u:p\n")
        self.assertEqual(shown(decided(lacking)), ["b.example as u"])
        self.assertIn("no credentials main", str(lacking.rules().warnings[0]))

    def test_no_credentials_for_any(self) -> None:
        """The mail waits: it is not sent by MX, nor without login."""
        value = chain_value({"next_hop": "[a.example]", "credentials": "main"})
        found = decided(sources((CHAIN, "@ours.test", value)))
        self.assertTrue(found.is_stuck)
        self.assertEqual(destination_by(found).way, Fail(NO_CREDENTIALS))

    def test_destination(self) -> None:
        """Weights and replies are in the way; chains that differ in them share no destination."""
        hops = {"next_hop": "[a.example]", "weight": 3}, {"next_hop": "[b.example]"}
        value = chain_value(*hops, move_on=("421", "550 5.7.1"))
        found = destination_by(decided(sources((CHAIN, "@ours.test", value))))
        way = found.way
        assert isinstance(way, ByRelayHost)
        self.assertEqual(tuple(way.weights), (3, 0))
        patterns = (ReplyPattern.parse("421"), ReplyPattern.parse("550 5.7.1"))
        self.assertEqual(tuple(way.move_on), patterns)
        keys = {found.key}
        for other in (
            chain_value(*hops),
            chain_value(*hops, move_on=("421",)),
            chain_value({**hops[0], "weight": 4}, hops[1], move_on=("421", "550 5.7.1")),
        ):
            keys.add(destination_by(decided(sources((CHAIN, "@ours.test", other)))).key)
        self.assertEqual(len(keys), 4)

    def test_malformed(self) -> None:
        """What is stored and cannot be read names its key."""
        for value in ("", "[]", '{"hops":[]}', '{"hops":[{"next_hop":"["}]}', '{"hop":1}'):
            with self.assertRaises(RelayProblem) as caught:
                sources((CHAIN, "@ours.test", value))
            self.assertIn("chain of @ours.test", str(caught.exception))
