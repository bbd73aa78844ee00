"""Logging in: equal answers, windows of failures, bounded hashing (threats 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.credentials import ScramVerifier
from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.login import (
    MOST_WRONG_CODES,
    Authenticator,
    FailureLimits,
    LoginRefused,
    LoginSettings,
    Overloaded,
    TooManyFailures,
    networks,
)
from mailrelay.directory.model import Account, Directory, Domain

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("pencil")  # quick
ALICE = Account(1, "alice", password_hash=HASH)
DISABLED = Account(2, "off", password_hash=HASH, login_disabled=True)
DIRECTORY = Directory(
    domains={"example.org": Domain(1, "example.org")},
    accounts={1: ALICE, 2: DISABLED},
    addresses={("alice", "example.org"): 1, ("off", "example.org"): 2},
)
ID = "alice@example.org"
IP = "192.0.2.1"


class HeldExecutor:
    """Work waits until it is let go; counts what was started."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.started = 0

    def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See Executor."""
        self.started += 1
        done: Deferred[Any] = Deferred()
        self.waiting.append(lambda: done.callback(work(*args, **kwargs)))
        return done

    def let_go(self) -> None:
        """Do all that waits."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class AuthenticatorTests(SynchronousTestCase):
    """Authenticator."""

    def setUp(self) -> None:
        """An authenticator on a clock."""
        self.clock, self.executor = Clock(), HeldExecutor()
        self.clock.advance(1e6)
        self.directory = DIRECTORY
        settings = LoginSettings(failures_per_minute=3, waiting_checks=2)
        self.login: Authenticator = Authenticator(
            lambda: self.directory,
            self.executor,
            settings,
            self.clock.seconds,
            b"secret",
            self.clock.seconds,
        )

    def begin(self, identity: str, password: str, ip: str = IP) -> Deferred[Account]:
        """A login under way."""
        return Deferred.fromCoroutine(self.login.password(identity, password, ip))

    def refused(self, identity: str, password: str, ip: str = IP) -> Exception:
        """How a login ends that must fail."""
        trying = self.begin(identity, password, ip)
        self.executor.let_go()
        error = self.failureResultOf(trying).value
        assert isinstance(error, Exception)
        return error

    def test_right(self) -> None:
        """The right password logs in, and is not hashed again for a while."""
        for started, after in ((1, 0.0), (1, 299.0), (2, 2.0)):
            self.clock.advance(after)
            trying = self.begin(ID, "pencil")
            self.executor.let_go()
            self.assertEqual(self.successResultOf(trying), ALICE)
            self.assertEqual(self.executor.started, started)

    def test_equal_answers(self) -> None:
        """Wrong, unknown and disabled look the same and each cost one hash."""
        for number, (identity, password) in enumerate(
            (
                (ID, "pen"),
                ("nobody@example.org", "pencil"),
                ("off@example.org", "pencil"),
                ("", "x"),
            )
        ):
            error = self.refused(identity, password, f"198.51.100.{number * 70}")
            self.assertEqual((type(error), str(error)), (LoginRefused, ""))
            self.assertEqual(self.executor.started, number + 1)

    def test_too_many(self) -> None:
        """After too many failures nothing is hashed; a minute later it may be tried again."""
        for _ in range(3):
            self.assertIsInstance(self.refused(ID, "pen"), LoginRefused)
        self.assertIsInstance(self.refused(ID, "pencil"), TooManyFailures)
        self.assertEqual(self.executor.started, 3)
        self.clock.advance(60.0)
        self.assertIsInstance(self.refused(ID, "pen"), LoginRefused)

    def test_other_addresses(self) -> None:
        """The right password works from elsewhere while one address is shut out."""
        for _ in range(3):
            self.refused(ID, "pen")
        trying = self.begin(ID, "pencil", "203.0.113.9")
        self.executor.let_go()
        self.assertEqual(self.successResultOf(trying), ALICE)

    def test_codes(self) -> None:
        """So many are judged in an hour, however many come before one was found to be wrong."""
        for _ in range(MOST_WRONG_CODES + 5):  # right ones do not count
            self.login.check_code("joe", IP)
            self.login.code_was_right("joe")
        for _ in range(MOST_WRONG_CODES):
            self.login.check_code("joe", IP)
        with self.assertRaises(TooManyFailures):
            self.login.check_code("joe", "198.51.100.9")
        self.login.check_code("joe", IP, is_long=True)
        self.login.check_code("ann", IP)
        self.clock.advance(3600)
        self.login.code_was_right("joe")
        self.login.check_code("joe", IP)

    def test_bounded_queue(self) -> None:
        """Over the bound of waiting hashes a login is put off, not queued."""
        under_way = [self.begin(ID, "pencil"), self.begin(ID, "pen")]
        self.assertIsInstance(self.failureResultOf(self.begin(ID, "crayon")).value, Overloaded)
        self.executor.let_go()
        self.successResultOf(under_way[0])
        self.failureResultOf(under_way[1], LoginRefused)
        self.successResultOf(self.begin(ID, "pencil"))

    def test_many_at_once(self) -> None:
        """Those who log in with the same at once wait for one hash; each has its own answer."""
        right = [self.begin(ID, "pencil") for _ in range(50)]
        wrong = [self.begin(ID, "pen", f"198.51.100.{n * 70}") for n in range(3)]
        self.assertEqual(self.executor.started, 2)
        self.executor.let_go()
        for trying in right:
            self.assertEqual(self.successResultOf(trying), ALICE)
        for trying in wrong:
            self.failureResultOf(trying, LoginRefused)

    def test_two_unknown_logins(self) -> None:
        """Two logins are hashed apart: that one waits less would tell that neither exists."""
        trying = [self.begin(f"nobody{n}@example.org", "pencil") for n in range(2)]
        self.assertEqual(self.executor.started, 2)
        self.executor.let_go()
        for one in trying:
            self.failureResultOf(one, LoginRefused)

    def test_hash_that_fails(self) -> None:
        """When the hash cannot be made, who waits for it is put off."""
        first, second = self.begin(ID, "pencil"), self.begin(ID, "pencil")
        first.cancel()
        self.failureResultOf(first)
        self.failureResultOf(second, Overloaded)
        third = self.begin(ID, "pencil")
        self.executor.let_go()
        self.assertEqual(self.successResultOf(third), ALICE)

    def test_scram(self) -> None:
        """A proven exchange logs in, another counts as a failure."""
        self.assertEqual(self.login.scram_finished(ID, IP, proven=True), ALICE)
        finish = self.login.scram_finished
        self.assertRaises(LoginRefused, finish, "off@example.org", "203.0.113.9", proven=True)
        self.assertRaises(LoginRefused, finish, "nobody@example.org", "203.0.114.9", proven=True)
        for _ in range(3):
            self.assertRaises(LoginRefused, finish, ID, IP, proven=False)
        self.assertRaises(TooManyFailures, finish, ID, IP, proven=True)

    def test_scram_verifier(self) -> None:
        """A stored verifier is given; who has none gets one that looks the same."""
        stored = ScramVerifier(b"salt", b"stored", b"server")
        known = Directory(
            DIRECTORY.domains, {1: Account(1, "a", scram_verifier=str(stored))}, DIRECTORY.addresses
        )
        login = Authenticator(
            lambda: known,
            self.executor,
            LoginSettings(),
            self.clock.seconds,
            b"secret",
            self.clock.seconds,
        )
        self.assertEqual(login.scram_verifiers(ID), [stored])
        self.assertEqual(self.login.scram_verifiers(ID), self.login.scram_verifiers(ID))

    def test_still_in(self) -> None:
        """Who is logged in stays so until something is taken back."""
        user = ALICE
        key = APIKey(5, 1, "shop", b"hash", frozenset({Scope.READ}), 0.0, expires_at=1e6 + 10)
        with_key = evolve(user, key=key)
        elsewhere = evolve(key, networks=("192.0.2.9/32",))
        for directory, by_password, by_key in (
            (evolve(DIRECTORY, keys={b"hash": key}), True, True),
            (DIRECTORY, True, False),
            (evolve(DIRECTORY, keys={b"hash": evolve(key, id=6)}), True, False),
            (evolve(DIRECTORY, keys={b"hash": evolve(key, scopes=frozenset())}), True, False),
            (
                evolve(DIRECTORY, keys={b"hash": elsewhere}),
                True,
                False,
            ),
            (evolve(DIRECTORY, accounts={1: evolve(user, password_hash="other")}), False, False),
            (
                evolve(
                    DIRECTORY,
                    keys={b"hash": key},
                    accounts={1: evolve(user, login_disabled=True)},
                ),
                False,
                False,
            ),
            (evolve(DIRECTORY, keys={b"hash": key}, accounts={}), False, False),
        ):
            self.directory = directory
            self.assertEqual(self.login.is_still_in(user, IP), by_password)
            self.assertEqual(self.login.is_still_in(with_key, IP), by_key)
        self.directory = evolve(DIRECTORY, keys={b"hash": key})
        self.clock.advance(10)
        self.assertTrue(self.login.is_still_in(user, IP))
        self.assertFalse(self.login.is_still_in(with_key, IP))

    def test_new_password(self) -> None:
        """A new password is hashed on the executor."""
        made = self.login.hash("new")
        self.assertNoResult(made)
        self.executor.let_go()
        self.assertTrue(self.successResultOf(made).startswith("$argon2id$"))

    def test_memory_is_bounded(self) -> None:
        """Remembered passwords do not pile up."""
        for number in range(10_010):
            self.login._remember(str(number).encode())
        self.assertEqual(len(self.login._checked), 10_000)


class FailureLimitsTests(SynchronousTestCase):
    """FailureLimits."""

    def setUp(self) -> None:
        """Small limits on a clock."""
        self.clock = Clock()
        self.clock.advance(1e6)
        settings = LoginSettings(2, 100, 5)
        self.limits = FailureLimits(settings, self.clock.seconds)

    def test_wider_networks(self) -> None:
        """Failures spread over a network shut it out too, later."""
        for number in range(6):
            self.assertTrue(self.limits.allows(f"192.0.2.{number}", None))
            self.limits.failed(f"192.0.2.{number}", None)
        self.assertFalse(self.limits.allows("192.0.2.60", None))
        self.assertTrue(self.limits.allows("192.0.2.65", None))

    def test_account(self) -> None:
        """Failures from everywhere shut an account to those who failed, and to nobody else."""
        self.limits.succeeded("203.0.113.9", "alice")
        for number in range(5):
            self.limits.failed(f"10.{number}.0.1", "alice")
        self.assertTrue(self.limits.allows("10.99.0.1", "alice"))
        self.limits.failed("10.99.0.1", None)
        self.assertFalse(self.limits.allows("10.99.0.1", "alice"))
        self.assertTrue(self.limits.allows("10.99.0.1", "off"))
        self.assertTrue(self.limits.allows("203.0.113.9", "alice"))

    def test_success_forgives(self) -> None:
        """After a success the address begins anew."""
        self.limits.failed(IP, "alice")
        self.limits.succeeded(IP, "alice")
        self.limits.failed(IP, "alice")
        self.assertTrue(self.limits.allows(IP, "alice"))

    def test_memory_is_bounded(self) -> None:
        """A flood from everywhere takes bounded memory."""
        for number in range(9_000):
            self.limits.failed(f"2001:{number:x}::1", None)
        self.assertLessEqual(len(self.limits._counts), 50_000)
        for number in range(10_010):
            self.limits.succeeded(f"socket {number}", "alice")
        self.assertLessEqual(len(self.limits._good), 10_000)

    def test_networks(self) -> None:
        """What an address is counted in."""
        self.assertEqual(networks("192.0.2.77"), ("192.0.2.77/32", "192.0.2.64/26", "192.0.0.0/21"))
        self.assertEqual(networks("::ffff:192.0.2.77"), networks("192.0.2.77"))
        self.assertEqual(
            networks("2001:db8:1:2::3"),
            ("2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32"),
        )
        self.assertEqual(networks("/run/socket"), ("/run/socket",) * 3)

    @given(st.ip_addresses())
    def test_any_address(self, ip: object) -> None:
        """Every address has its three networks."""
        self.assertEqual(len(networks(str(ip))), 3)
