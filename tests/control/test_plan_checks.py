"""Declarations that are well-formed and cannot be applied to what there is."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.declared import (
    Declared,
    DeclaredAccount,
    DeclaredDomain,
    DeclaredEndpoint,
    DeclaredKey,
)
from mailrelay.control.declaring import Stored
from mailrelay.control.endpoints import MOST_ENDPOINTS
from mailrelay.control.keys import MOST_KEYS
from mailrelay.control.plan_checks import PlanChecks
from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.model import Account, Directory, Domain

VERIFIERS = [str(ScramVerifier(bytes([n]) * 16, b"s" * 32, b"k" * 32)) for n in range(2)]
KEY = APIKey(1, 1, "shop", b"h" * 32, frozenset({Scope.SEND}), 0.0, VERIFIERS[0])
STORED = Stored(
    Directory(
        {"example.org": Domain(1, "example.org", case_sensitive=True)},
        {
            1: Account(1, "anna", from_id_logins=frozenset({"a@example.org"})),
            2: Account(2, "bert"),
        },
        {("a", "example.org"): 1, ("B-c", "example.org"): 2},
        postmaster_id=2,
        keys={KEY.key_hash: KEY},
    ),
    {},
    [],
    frozenset({2}),
)
ORG = DeclaredDomain("example.org", case_sensitive=True)
ANNA = DeclaredAccount("anna")
BERT = DeclaredAccount("bert")
HELD = DeclaredKey(
    "anna", "shop", (Scope.SEND,), key_hash=KEY.key_hash.hex(), scram_verifier=VERIFIERS[0]
)


def told(wanted: Declared, *, prune: bool = False) -> list[tuple[str, str]]:
    """The problems with it."""
    problems: list[tuple[str, str]] = []
    PlanChecks(STORED, wanted, prune, lambda place, text: problems.append((place, text))).look()
    return problems


class PlanChecksTests(SynchronousTestCase):
    """PlanChecks.look()."""

    def only(self, place: str, text: str, wanted: Declared, *, prune: bool = False) -> None:
        """One problem, of which a part is ``text``."""
        [(where, said)] = told(wanted, prune=prune)
        self.assertEqual(where, place)
        self.assertIn(text, said)

    def test_none(self) -> None:
        """Nothing is wrong with nothing, nor with what there is."""
        for wanted in (Declared(), Declared(domain=[ORG], account=[ANNA, BERT], key=[HELD])):
            self.assertEqual(told(wanted), [])

    def test_found_no_more(self) -> None:
        """A domain does not change so that mail for an address of it goes nowhere."""
        text = "B-c@example.org would be found no more"
        for changed in (evolve(ORG, separator="-"), evolve(ORG, case_sensitive=False)):
            self.only("domain[1]", text, Declared(domain=[changed]))

    def test_from_ids(self) -> None:
        """Logins that get FromIDs are the account's, in domains with a separator."""
        bare = evolve(ORG, separator="")
        self.only("", "FromIDs of a@example.org would be no more", Declared(domain=[bare]))
        wanted = evolve(BERT, from_id_logins=("a@example.org",))
        self.only("account[1].from_id_logins", "no address of bert", Declared(account=[wanted]))

    def test_pruned_domain(self) -> None:
        """An address needs a domain that stays."""
        accounts = [evolve(ANNA, addresses=("a@example.org",)), BERT]
        place = "account[1].addresses"
        self.only(place, "--prune would remove it", Declared(account=accounts), prune=True)

    def test_pruned_accounts(self) -> None:
        """Who has messages, or is the postmaster, is not removed."""
        [messages, postmaster] = told(Declared(domain=[ORG], account=[ANNA]), prune=True)
        self.assertIn("account bert would be removed and has messages", messages[1])
        self.assertIn("account bert would be removed and is the postmaster", postmaster[1])
        self.assertEqual(told(Declared("bert", domain=[ORG], account=[BERT]), prune=True), [])

    def test_keys(self) -> None:
        """A key has one owner, and the salt of its account's other verifiers."""
        self.only("key[1].account", "anna's", Declared(key=[evolve(HELD, account="bert")]))
        other = evolve(HELD, name="other", key_hash="0" * 64, scram_verifier=VERIFIERS[1])
        self.only("key[2].scram_verifier", "another salt", Declared(key=[HELD, other]))
        account = evolve(BERT, password_hash="$", scram_verifier=VERIFIERS[1])
        own = evolve(other, account="bert", scram_verifier=VERIFIERS[0])
        self.only("key[1].scram_verifier", "another salt", Declared(account=[account], key=[own]))

    def test_counts(self) -> None:
        """An account has so many keys and endpoints at the most."""
        keys = [DeclaredKey("anna", f"k{n}", (Scope.SEND,)) for n in range(MOST_KEYS + 1)]
        self.only("key", "at most", Declared(key=keys))
        endpoint = DeclaredEndpoint("anna", "crm", "https://app.example/")
        endpoints = [endpoint] * (MOST_ENDPOINTS + 1)
        self.only("webhook_endpoint", "at most", Declared(webhook_endpoint=endpoints))
