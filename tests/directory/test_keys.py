"""API keys as values, and logging in with them."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.keys import APIKey, Scope, hash_of, new_key
from mailrelay.directory.login import Authenticator, LoginRefused, LoginSettings, TooManyFailures
from mailrelay.directory.model import Account, Directory, Domain
from mailrelay.net.threads import AtOnce
from mailrelay.smtp.address import Address

IP, TEXT = "192.0.2.7", "mrk_secret"
VERIFIER = ScramVerifier(b"salt", b"stored", b"server")
KEY = APIKey(7, 1, "app", hash_of(TEXT), frozenset({Scope.SEND}), 0.0, str(VERIFIER))


def directory_with(*keys: APIKey) -> Directory:
    """A directory of two accounts with these keys."""
    domain = Domain(1, "a.test")
    accounts = {1: Account(1, "one"), 2: Account(2, "two")}
    addresses = {("one", "a.test"): 1, ("two", "a.test"): 2}
    return Directory(
        {"a.test": domain}, accounts, addresses, keys={key.key_hash: key for key in keys}
    )


class APIKeyTests(SynchronousTestCase):
    """What a key is for."""

    def test_senders(self) -> None:
        """Addresses and whole domains, and everything without."""
        directory = directory_with()
        account = directory.accounts[1]
        address = Address.parse("One+tag@a.test")
        for senders, may in (
            ((), True),
            (("one@a.test",), True),
            (("a.test",), True),
            (("two@a.test", "test", "b.test"), False),
        ):
            key = evolve(KEY, senders=frozenset(senders))
            self.assertIs(directory.owns(evolve(account, key=key), address), may, senders)
        self.assertFalse(directory.owns(account, Address.parse("two@a.test")))

    def test_when_and_whence(self) -> None:
        """Until it expires, from its networks."""
        self.assertTrue(KEY.works(IP, 1e12))
        self.assertFalse(evolve(KEY, expires_at=100.0).works(IP, 100.0))
        self.assertTrue(evolve(KEY, expires_at=100.0).works(IP, 99.0))
        inside = evolve(KEY, networks=("192.0.2.0/24", "2001:db8::/32"))
        for ip, works in (
            (IP, True),
            ("::ffff:192.0.2.7", True),
            ("192.0.3.1", False),
            ("", False),
        ):
            self.assertIs(inside.works(ip, 0.0), works, ip)
        self.assertTrue(inside.works("2001:db8::1", 0.0))

    def test_randomness(self) -> None:
        """A key has 160 random bits, however few come at a time."""
        self.assertEqual(new_key(lambda: b"\x01\xff"), "mrk_" + "01ff" * 10)

    def test_no_secret_is_shown(self) -> None:
        """What is stored of it is in no repr."""
        self.assertNotIn("verifier", repr(KEY))
        self.assertNotIn("hash", repr(KEY))


class LoginTests(SynchronousTestCase):
    """Authenticator, with keys."""

    def setUp(self) -> None:
        """An authenticator that knows one key."""
        self.clock = Clock()
        self.used: list[APIKey] = []
        self.directory = directory_with(KEY)
        self.login = Authenticator(
            lambda: self.directory,
            AtOnce(),
            LoginSettings(failures_per_minute=3),
            self.clock.seconds,
            b"secret",
            self.clock.seconds,
            self.used.append,
        )

    def password(self, identity: str, text: str, scope: Scope | None = Scope.SEND) -> Account:
        """The account that a password is of."""
        return self.successResultOf(
            Deferred.fromCoroutine(self.login.password(identity, text, IP, scope))
        )

    def test_bearer(self) -> None:
        """A key is its account's, restricted, and noted as used."""
        account = self.login.key(TEXT, IP)
        self.assertEqual((account.id, account.key, account.scopes), (1, KEY, {Scope.SEND}))
        self.assertEqual(self.used, [KEY])
        self.assertRaises(LoginRefused, self.login.key, TEXT + "x", IP)

    def test_failures_count(self) -> None:
        """Who guesses keys is judged no more."""
        for _ in range(3):
            self.assertRaises(LoginRefused, self.login.key, "mrk_guess", IP)
        self.assertRaises(TooManyFailures, self.login.key, TEXT, IP)
        self.assertEqual(self.login.key(TEXT, "198.51.100.1").id, 1)

    def test_disabled(self) -> None:
        """The keys of an account that may not log in are wrong."""
        accounts = {1: Account(1, "one", login_disabled=True)}
        self.directory = evolve(self.directory, accounts=accounts)
        self.assertRaises(LoginRefused, self.login.key, TEXT, IP)

    def test_password(self) -> None:
        """A key is a password of its own account, where keys are taken, for what it is for."""
        self.assertEqual(self.password("one@a.test", TEXT).key, KEY)
        for identity, scope in (
            ("two@a.test", Scope.SEND),
            ("one@a.test", Scope.READ),
            ("one@a.test", None),
        ):
            login = Deferred.fromCoroutine(self.login.password(identity, TEXT, IP, scope))
            self.failureResultOf(login, LoginRefused)

    def test_scram(self) -> None:
        """SCRAM tries password and keys; who proved a key has its restrictions."""
        self.assertEqual(self.login.scram_verifiers("one@a.test"), [VERIFIER])
        proven = self.login.scram_finished("one@a.test", IP, proven=True, verifier=str(VERIFIER))
        self.assertEqual(proven.key, KEY)
        self.directory = directory_with(evolve(KEY, scopes=frozenset({Scope.READ})))
        self.assertRaises(
            LoginRefused,
            self.login.scram_finished,
            "one@a.test",
            IP,
            proven=True,
            verifier=str(VERIFIER),
        )

    def test_scram_has_one_salt(self) -> None:
        """A verifier of another salt cannot be tried in the same exchange."""
        other = ScramVerifier(b"other", b"x", b"y")
        directory = directory_with(KEY, evolve(KEY, id=8, key_hash=b"8", scram_verifier=str(other)))
        self.assertEqual(directory.scram_verifiers(directory.accounts[1]), [VERIFIER])
        self.assertEqual(directory.scram_salt(directory.accounts[1]), b"salt")
        self.assertIsNone(directory.scram_salt(directory.accounts[2]))
