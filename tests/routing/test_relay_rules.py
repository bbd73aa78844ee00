"""Relay hosts as docker-mailserver's users know them; the cases are in tests/cli/test_relay.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.routing.relay_environment import read_environment, read_recipient_routes
from mailrelay.routing.relay_files import (
    RelayFile,
    RelayProblem,
    RelayWarning,
    normal_key,
    parse_login,
    read_credentials,
    read_lines,
    read_relay_map,
    with_line,
    without_line,
)
from mailrelay.routing.relay_rules import Hop, RelayRules
from mailrelay.routing.relay_sources import RelaySources
from mailrelay.smtp.address import Address


def rules_of(case: Mapping[str, Any]) -> RelayRules:
    """The rules of a case.  Raises: RelayProblem."""
    warnings: list[RelayWarning] = []
    relay_map = credentials = None
    if case["relaymap"] is not None:
        relay_map, told = read_relay_map(case["relaymap"])
        warnings += told
    if case["sasl_password"] is not None:
        credentials, told = read_credentials(case["sasl_password"])
        warnings += told
    return RelaySources(
        read_environment(case["env"]),
        relay_map,
        credentials,
        read_recipient_routes(case["recipient_routes"] or ""),
        case["managed_domains"],
        warnings,
    ).rules()


def case(**given: Any) -> dict[str, Any]:
    """A case of which only what matters is said."""
    empty: dict[str, Any] = {
        "env": {},
        "relaymap": None,
        "sasl_password": None,
        "recipient_routes": None,
        "managed_domains": ["ours.test"],
        "sender": "user@ours.test",
        "recipient": "someone@remote.test",
    }
    return {**empty, **given}


class RulesTests(SynchronousTestCase):
    """What the cases of the specification do not say."""

    def hops(self, **given: Any) -> Sequence[Hop]:
        """The hops of a case."""
        made = case(**given)
        sender = Address.parse(made["sender"]) if made["sender"] else None
        return rules_of(made).decide(sender, Address.parse(made["recipient"])).hops

    def username(self, hop: Hop) -> str:
        """As whom is logged in there."""
        assert hop.login is not None
        return hop.login.credentials.username

    def test_sender_case_and_unicode(self) -> None:
        """Keys are compared as addresses are, whatever they look like."""
        relaymap = "User@Bücher.Example [a.example]\n"
        for sender in ("user@xn--bcher-kva.example", "USER@BÜCHER.example"):
            [hop] = self.hops(relaymap=relaymap, sender=sender)
            self.assertEqual(hop.next_hop.host, "a.example")

    def test_extension_has_a_key_of_its_own(self) -> None:
        """The whole address is looked up first."""
        relaymap = "user@ours.test [a.example]\nuser+x@ours.test [b.example]\n"
        hosts = [
            self.hops(relaymap=relaymap, sender=f"{user}@ours.test")[0].next_hop.host
            for user in ("user", "user+x", "user+y")
        ]
        self.assertEqual(hosts, ["a.example", "b.example", "a.example"])

    def test_null_sender_has_a_key(self) -> None:
        """Bounces are mapped as <>, and log in by the host alone."""
        [hop] = self.hops(
            relaymap="<> [b.example]:587\n",
            sasl_password="@ours.test u:p\nb.example bu:bp\n",
            sender="",
        )
        self.assertEqual((hop.next_hop.host, self.username(hop)), ("b.example", "bu"))

    def test_host_before_next_hop_and_file_before_environment(self) -> None:
        """The file's credentials win over the environment's of the same key."""
        env = {"DEFAULT_RELAY_HOST": "[r.example]:587", "RELAY_USER": "eu", "RELAY_PASSWORD": "ep"}
        for text, user in (
            ("# nothing\n", "eu"),
            ("[R.example]:587 fu:fp\n", "fu"),
            ("[r.example]:587 fu:fp\nr.example hu:hp\n", "hu"),
        ):
            [hop] = self.hops(env=env, sasl_password=text)
            self.assertEqual(self.username(hop), user)

    def test_password_is_the_rest_of_the_line(self) -> None:
        """Colons, blanks, hashes and backslashes are part of it."""
        [hop] = self.hops(
            relaymap="@ours.test [r.example]\n", sasl_password="@ours.test u:a:b # \\c d  \r\n"
        )
        assert hop.login is not None
        self.assertEqual(hop.login.credentials.password, "a:b # \\c d")

    def test_recipient_patterns(self) -> None:
        """Address, address without extension, domain, its parents, everything; in this order."""
        routes = (
            "bob+x@a.b.test smtp:[h1.example]\nbob@a.b.test :[h2.example]\n"
            "a.b.test relay:[h3.example]\n.b.test smtp:[h4.example]\n"
            ".test smtp:[h5.example]\n* smtp:[h6.example]\n"
        )
        for recipient, host in (
            ("bob+x@a.b.test", "h1.example"),
            ("bob+y@a.b.test", "h2.example"),
            ("joe@a.b.test", "h3.example"),
            ("joe@c.b.test", "h4.example"),
            ("joe@b.test", "h5.example"),
            ("joe@remote.example", "h6.example"),
        ):
            [hop] = self.hops(recipient_routes=routes, recipient=recipient)
            self.assertEqual(hop.next_hop.host, host, recipient)

    def test_problems(self) -> None:
        """File and line of what cannot be used."""
        for sources, file, line in (
            ({"relaymap": "@ours.test [a.example]\n  [b.example]\n"}, "relaymap", 2),
            ({"relaymap": "@ours.test [a.example]\n@OURS.test [b.example]\n"}, "relaymap", 2),
            ({"relaymap": "@ours.test [a.example]\x1b\n"}, "relaymap", 1),
            ({"sasl_password": "\n@ours.test user\n"}, "sasl_password", 2),
            ({"sasl_password": "@ours.test :secret\n"}, "sasl_password", 1),
            ({"recipient_routes": "a.test lmtp:[b.example]\n"}, "recipient_routes", 1),
            ({"recipient_routes": "a.test smtp:[b.example\n"}, "recipient_routes", 1),
            ({"env": {"RELAY_HOST": "r.example", "RELAY_PORT": "many"}}, "env", 0),
            ({"env": {"DEFAULT_RELAY_HOST": "192.0.2.1"}}, "env", 0),
        ):
            place = self.assertRaises(RelayProblem, rules_of, case(**sources)).warning
            self.assertEqual((place.file.value, place.line), (file, line), sources)

    def test_a_password_is_in_no_message(self) -> None:
        """Neither in a problem nor in a value's text."""
        for text in ("@a.test user\n", "@a.test user:sesame\n@a.test user:sesam\n"):
            error = self.assertRaises(RelayProblem, read_credentials, text)
            self.assertNotIn("sesam", str(error))
        self.assertNotIn("sesame", repr(rules_of(case(sasl_password="@a.test user:sesame\n"))))

    def test_warnings(self) -> None:
        """What is allowed, and hardly meant."""
        for sources in (
            {"relaymap": "@ours.test [a.example]\n@ours.test [a.example]\n"},
            {"relaymap": "user@ours.test\n"},
            {
                "env": {
                    "DEFAULT_RELAY_HOST": "[a.example], [b.example]",
                    "RELAY_USER": "u",
                    "RELAY_PASSWORD": "p",
                }
            },
        ):
            self.assertTrue(rules_of(case(**sources)).warnings, sources)

    def test_considered(self) -> None:
        """Each rule that was looked at is told, in order, the one that decided last."""
        rules = rules_of(
            case(relaymap="@ours.test DUNNO\n", env={"DEFAULT_RELAY_HOST": "[d.example]"})
        )
        decision = rules.decide(Address.parse("u@ours.test"), Address.parse("x@remote.test"))
        told = [(one.rule, one.key, one.said) for one in decision.considered]
        self.assertEqual(
            told,
            [
                ("sender", "u@ours.test", "no entry"),
                ("sender", "@ours.test", "DUNNO"),
                ("default relay host", "", "[d.example]"),
            ],
        )


class ChangeTests(SynchronousTestCase):
    """Lines that are set and removed."""

    def test_in_place(self) -> None:
        """Comments and order stay; a key that is there twice is there once afterwards."""
        text = "# heading\n@A.test x\n\n@b.test y\n@a.test x"
        changed = with_line(text, "@a.test", "z")
        self.assertEqual(changed, "# heading\n@a.test z\n\n@b.test y\n")
        self.assertEqual(with_line(changed, "@c.test", ""), changed + "@c.test\n")
        self.assertEqual(without_line(changed, "@b.test"), "# heading\n@a.test z\n\n")

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y:z", "#"])), max_size=6)
    )
    def test_what_was_set_is_read(self, changes: list[tuple[str, str]]) -> None:
        """Whatever was set last stands there, once."""
        text, wanted = "# comment\n", {}
        for name, value in changes:
            key = f"@{name}.test"
            text, wanted[key] = with_line(text, key, value), value
        lines, _ = read_lines(RelayFile.RELAY_MAP, text)
        self.assertEqual({line.key: line.value for line in lines}, wanted)

    def test_keys(self) -> None:
        """Domains behind an @ are normalised; everything else is but lowered."""
        self.assertEqual(normal_key("A@Bücher.example"), "a@xn--bcher-kva.example")
        self.assertEqual(normal_key("[R.example]:587"), "[r.example]:587")
        self.assertEqual(normal_key("@.."), "@..")

    def test_login(self) -> None:
        """The first colon divides."""
        login = parse_login("user:a:b")
        self.assertEqual((login.username, login.password), ("user", "a:b"))
