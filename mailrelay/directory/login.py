"""Logging in: bounded hashing off the reactor thread, equal answers, limits on failures."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import NoReturn

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.directory.credentials import (
    ScramVerifier,
    check_password,
    hash_password,
    pretended_verifier,
)
from mailrelay.directory.keys import PREFIX, APIKey, Scope, hash_of
from mailrelay.directory.model import Account, Directory
from mailrelay.net.ip import unmapped
from mailrelay.net.threads import Executor

_MOST_LOGIN_CHARACTERS = 400

MOST_WRONG_CODES = 10
"""Of a second factor, in an hour, from everywhere: who sends them knows the password."""


class LoginRefused(Exception):
    """Wrong, unknown, disabled: the caller must not tell which."""


class TooManyFailures(Exception):
    """This address, network or account failed too often lately."""


class Overloaded(Exception):
    """Too many passwords wait to be checked: try again later."""


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class LoginSettings:
    """``[login]`` of the configuration."""

    failures_per_minute: int = field(
        default=10, metadata=_doc("failed logins from one address in a minute; 421 4.7.0")
    )
    failures_per_day: int = field(
        default=50, metadata=_doc("failed logins from one address in a day; 421 4.7.0")
    )
    account_failures_per_hour: int = field(
        default=100,
        metadata=_doc("failed logins to one account from where it never succeeded; 421 4.7.0"),
    )
    waiting_checks: int = field(
        default=32, metadata=_doc("passwords waiting to be checked at once; 454 4.7.0")
    )
    remembered_for: float = field(
        default=300.0, metadata=_doc("seconds a checked password is not hashed again")
    )


@define
class FailureLimits:
    """Failures in fixed windows, by address, wider networks, and login.

    A login is the account's, however it is written, or one that does not exist: it is counted
    all the same, since the answers must not tell which it is.
    """

    settings: LoginSettings
    seconds: Callable[[], float]
    _counts: OrderedDict[tuple[str, float, int], int] = field(factory=OrderedDict)
    _good: OrderedDict[tuple[str, str], None] = field(factory=OrderedDict)

    def allows(self, ip: str, login: str | None) -> bool:
        """Whether another try from ``ip`` may be judged at all.

        What others tried with a login does not count against an address that never failed:
        the right password works from there, whoever guesses meanwhile.
        """
        if not self._counts:
            return True
        own = networks(ip)[0]
        has_failed = self._counts.get((own, 86400.0, self._slot(86400.0)), 0) > 0
        return all(
            self._counts.get((key, window, self._slot(window)), 0) < most
            for key, window, most in self._limits(ip, login if has_failed else None)
        )

    def failed(self, ip: str, login: str | None) -> None:
        """Count a failure."""
        for key, window, _ in self._limits(ip, login):
            slot = (key, window, self._slot(window))
            self._counts[slot] = self._counts.pop(slot, 0) + 1
        while len(self._counts) > 50_000:
            self._counts.popitem(last=False)

    def succeeded(self, ip: str, login: str) -> None:
        """The right password always works again from where it worked, whatever others try."""
        self._good[(ip, login)] = None
        while len(self._good) > 10_000:
            self._good.popitem(last=False)
        for window in (60.0, 86400.0):
            self._counts.pop((networks(ip)[0], window, self._slot(window)), None)

    def allows_code(self, login: str) -> bool:
        """Whether a code of a second factor may be judged; no success clears what is counted."""
        slot = (f"code {login}", 3600.0, self._slot(3600.0))
        return self._counts.get(slot, 0) < MOST_WRONG_CODES

    def code_tried(self, login: str, by: int = 1) -> None:
        """Count a code that is judged; with -1 take it back, when it was right."""
        slot = (f"code {login}", 3600.0, self._slot(3600.0))
        self._counts[slot] = max(0, self._counts.pop(slot, 0) + by)

    def _slot(self, window: float) -> int:
        return int(self.seconds() // window)

    def _limits(self, ip: str, login: str | None) -> Iterator[tuple[str, float, int]]:
        for factor, network in zip((1, 3, 9), networks(ip), strict=True):
            yield network, 60.0, self.settings.failures_per_minute * factor
            yield network, 86400.0, self.settings.failures_per_day * factor
        if login is not None and (ip, login) not in self._good:
            yield f"login {login}", 3600.0, self.settings.account_failures_per_hour


def own_network(ip: str) -> str:
    """What counts as one address: an IPv4 address, an IPv6 /64.  Asked for every connection."""
    return ip if ":" not in ip else networks(ip)[0].removesuffix("/32")


@lru_cache(maxsize=4096)
def networks(ip: str) -> tuple[str, str, str]:
    """The address, and the two wider networks it is counted in (IPv6: /64, /48, /32)."""
    try:
        address = unmapped(ip)
    except ValueError:
        return ip, ip, ip  # a Unix socket
    sizes = (64, 48, 32) if isinstance(address, IPv6Address) else (32, 26, 21)
    one, two, three = (str(ip_network((address, size), strict=False)) for size in sizes)
    return one, two, three


def login_name(account: Account) -> str:
    """What failures at an account are counted under."""
    return f"account {account.id}"


class Authenticator:
    """Judges credentials against the current directory.  Create and use in the reactor thread."""

    def __init__(
        self,
        directory: Callable[[], Directory],
        executor: Executor,
        settings: LoginSettings,
        seconds: Callable[[], float],
        secret: bytes,
        now: Callable[[], float],
        used: Callable[[APIKey], object] = lambda key: None,
    ) -> None:
        self._directory, self._executor = directory, executor
        self._now, self._used = now, used
        self._settings, self._seconds, self._secret = settings, seconds, secret
        self._limits = FailureLimits(settings, seconds)
        self._waiting = 0
        self._asked: dict[tuple[str, bytes], list[Deferred[bool]]] = {}
        self._checked: OrderedDict[bytes, float] = OrderedDict()

    async def password(
        self, identity: str, password: str, ip: str, key_for: Scope | None = None
    ) -> Account:
        """The account ``identity`` if ``password`` is its own, or a key of its for ``key_for``.

        Raises: LoginRefused, TooManyFailures, Overloaded.
        """
        account = self._directory().login(identity)
        login = self._login(identity, account)
        self._check_limits(ip, login)
        if key_for is not None and password.startswith(PREFIX):
            key = self._key(hash_of(password), account, ip, key_for)
            if key is not None:
                return self._grant(ip, login, account, key)
        password_hash = account.password_hash if account else None
        remembered = self._fingerprint(password_hash, password)
        if self._checked.get(remembered, -1.0) < self._seconds():
            if not await self._is_right(login, remembered, password_hash, password):
                self._refuse(ip, login)
            self._remember(remembered)
        return self._grant(ip, login, account)

    async def check(self, name: str, password_hash: str | None, password: str, ip: str) -> None:
        """That ``password`` is that of ``name``, which is no account, with the same limits.

        Raises: LoginRefused, TooManyFailures, Overloaded.
        """
        self._check_limits(ip, name)
        fingerprint = self._fingerprint(password_hash, password)
        if not await self._is_right(name, fingerprint, password_hash, password):
            self._refuse(ip, name)
        self._limits.succeeded(ip, name)

    def check_code(self, name: str, ip: str, *, is_long: bool = False) -> None:
        """That a code after the password of ``name`` may be judged now; a long one is unguessable.

        It counts as wrong until ``code_was_right``: however many come at once, no more are judged.
        Raises: TooManyFailures.
        """
        self._check_limits(ip, name)
        if not is_long and not self._limits.allows_code(name):
            raise TooManyFailures
        self._limits.code_tried(name)

    def code_was_right(self, name: str) -> None:
        """It was no guess."""
        self._limits.code_tried(name, -1)

    def code_failed(self, name: str, ip: str) -> None:
        """Count a wrong one where it came from."""
        self._limits.failed(ip, name)

    async def _is_right(
        self, login: str, fingerprint: bytes, password_hash: str | None, password: str
    ) -> bool:
        """Whether the password fits; many who ask the same of one login at once wait for one hash.

        Not of several logins: who waits less would tell that neither exists.  Raises: Overloaded.
        """
        question = (login, fingerprint)
        if question in self._asked:
            waiting: Deferred[bool] = Deferred()
            self._asked[question].append(waiting)
            return await waiting
        if self._waiting >= self._settings.waiting_checks:
            raise Overloaded
        self._asked[question] = []
        self._waiting += 1
        try:
            right = await self._executor.run(check_password, password_hash, password)
        except BaseException:
            for other in self._asked.pop(question):
                other.errback(Overloaded())
            raise
        finally:
            self._waiting -= 1
        for other in self._asked.pop(question):
            other.callback(right)
        return right

    def key(self, text: str, ip: str) -> Account:
        """The account that the key ``text`` is of, restricted as that is.

        A look-up by hash: the time that it takes tells nothing of other keys.
        Raises: LoginRefused, TooManyFailures.
        """
        key_hash = hash_of(text)
        known = self._directory().keys.get(key_hash)
        account = self._directory().accounts.get(known.account_id) if known else None
        login = self._login(text[:_MOST_LOGIN_CHARACTERS], account)
        self._check_limits(ip, login)
        key = self._key(key_hash, account, ip, None)
        if key is None:
            self._refuse(ip, login)
        return self._grant(ip, login, account, key)

    def is_still_in(self, account: Account, ip: str) -> bool:
        """Whether who logged in as ``account`` from ``ip`` is so still: nothing was taken back."""
        directory = self._directory()
        known = directory.accounts.get(account.id)
        if known is None or known.login_disabled:
            return False
        if account.key is None:
            return known.password_hash == account.password_hash
        key = directory.keys.get(account.key.key_hash)
        return (
            key is not None
            and key.id == account.key.id
            and key.scopes >= account.key.scopes
            and key.works(ip, self._now())
        )

    def allows(self, ip: str) -> bool:
        """Whether who proves by other means than a password may try from ``ip``."""
        return self._limits.allows(ip, None)

    def failed(self, ip: str) -> None:
        """Count that somebody could not."""
        self._limits.failed(ip, None)

    def _key(
        self, key_hash: bytes, account: Account | None, ip: str, scope: Scope | None
    ) -> APIKey | None:
        """The key of that hash if it is the account's, for ``scope``, and taken from ``ip`` now."""
        key = self._directory().keys.get(key_hash)
        if key is None or account is None or key.account_id != account.id:
            return None
        is_for = scope is None or scope in key.scopes
        is_same = hmac.compare_digest(key.key_hash, key_hash)
        return key if is_same and is_for and key.works(ip, self._now()) else None

    def scram_verifiers(self, identity: str) -> Sequence[ScramVerifier]:
        """What SCRAM compares with, one at least; for the unknown, what looks the same."""
        directory = self._directory()
        account = directory.login(identity)
        verifiers = directory.scram_verifiers(account) if account is not None else ()
        return verifiers or [pretended_verifier(self._secret, directory.login_key(identity))]

    def scram_finished(
        self, identity: str, ip: str, *, proven: bool, verifier: str | None = None
    ) -> Account:
        """The account after a SCRAM exchange, which ``verifier`` proved; a key must be for sending.

        Raises: LoginRefused, TooManyFailures.
        """
        account = self._directory().login(identity)
        login = self._login(identity, account)
        self._check_limits(ip, login)
        if not proven:
            self._refuse(ip, login)
        if account is None or verifier in (None, account.scram_verifier):
            return self._grant(ip, login, account)
        for key in self._directory().keys_of.get(account.id, ()):
            if key.scram_verifier == verifier and self._key(key.key_hash, account, ip, Scope.SEND):
                return self._grant(ip, login, account, key)
        return self._refuse(ip, login)

    def _login(self, identity: str, account: Account | None) -> str:
        """What failures are counted under, of bounded length whatever was presented."""
        if account is not None:
            return login_name(account)
        key = self._directory().login_key(identity).encode("utf-8", "surrogatepass")
        return hashlib.sha256(key).hexdigest()

    def _check_limits(self, ip: str, login: str) -> None:
        if not self._limits.allows(ip, login):
            raise TooManyFailures

    def _refuse(self, ip: str, login: str) -> NoReturn:
        self._limits.failed(ip, login)
        raise LoginRefused

    def _grant(
        self, ip: str, login: str, account: Account | None, key: APIKey | None = None
    ) -> Account:
        if account is None or account.login_disabled:
            self._refuse(ip, login)
        self._limits.succeeded(ip, login)
        if key is None:
            return account
        self._used(key)
        return evolve(account, key=key)

    def _fingerprint(self, password_hash: str | None, password: str) -> bytes:
        # hmac.digest would give up the interpreter's lock, and wait to have it back.
        text = f"{password_hash}\0{password}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret).digest()

    def _remember(self, fingerprint: bytes) -> None:
        self._checked[fingerprint] = self._seconds() + self._settings.remembered_for
        while len(self._checked) > 10_000:
            self._checked.popitem(last=False)

    def hash(self, password: str) -> Deferred[str]:
        """The hash to store for a new password, made off the reactor thread."""
        return self._executor.run(hash_password, password)
