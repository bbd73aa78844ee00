"""Who is logged in on the pages: opened, looked up, ended.

Invariants: what is stored gives nobody a session, since it has the token's hash only; a session
ends with the password that opened it, with the login of its account, and with time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Protocol

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred

from mailrelay.directory.model import Account, Directory

TOKEN_BYTES = 32
MOST_AGENT_CHARACTERS = 200
SEEN_EVERY = 300.0
"""Seconds between two notes of a session's use."""


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class SessionSettings:
    """``[pages]`` of the configuration."""

    idle_for: float = field(
        default=12 * 3600.0, metadata=_doc("seconds without a request that end a session")
    )
    life: float = field(
        default=14 * 86400.0, metadata=_doc("seconds after which one has to log in again")
    )


@frozen
class Session:
    """Somebody logged in.  Times are seconds since the epoch."""

    token_hash: bytes = field(repr=False)
    account_id: int | None  # None is the administrator
    credential_hash: bytes = field(repr=False)
    created_at: float
    seen_at: float
    ip: str
    agent: str

    @property
    def key(self) -> str:
        """What names it to its owner, and gives nobody a session."""
        return self.token_hash.hex()[:32]


class SessionRecords(Protocol):
    """The sessions' rows.  Methods may fail with StoreUnavailable."""

    def add(self, session: Session, ended_before: float) -> Deferred[None]:
        """Store a session, and remove those not seen since then."""

    def find(self, token_hash: bytes) -> Deferred[Session | None]:
        """The session of that token."""

    def seen(self, token_hash: bytes, at: float) -> Deferred[None]:
        """Note that it was used."""

    def remove(self, token_hash: bytes) -> Deferred[None]:
        """End a session."""

    def remove_others(self, account_id: int | None, but: bytes) -> Deferred[int]:
        """End an account's sessions, or the administrator's, but that one; how many."""

    def of(self, account_id: int | None) -> Deferred[list[Session]]:
        """An account's sessions, or the administrator's, the newest use first."""


@frozen
class Visitor:
    """Who asks for a page.  ``account`` is None for the administrator."""

    account: Account | None
    session: Session
    token: str = field(repr=False)

    @property
    def form_token(self) -> str:
        """What each form of this session brings back: nobody else's page knows it."""
        return hmac.new(self.token.encode(), b"form", hashlib.sha256).hexdigest()

    def sent_form(self, token: str | None) -> bool:
        """Whether a form with ``token`` is one of ours."""
        given = (token or "").encode("utf-8", "replace")
        return hmac.compare_digest(given, self.form_token.encode())


@frozen
class Sessions:
    """Opens and finds sessions.  ``admin_hash`` is the administrator's password hash now."""

    records: SessionRecords
    directory: Callable[[], Directory]
    admin_hash: Callable[[], Deferred[str | None]]
    settings: SessionSettings
    now: Callable[[], float]
    random: Callable[[int], bytes]

    async def open(self, account: Account | None, credential: str, ip: str, agent: str) -> Visitor:
        """A new session of who proved ``credential``, the hash of a password."""
        now, token = self.now(), self.random(TOKEN_BYTES).hex()
        session = Session(
            _hash(token),
            None if account is None else account.id,
            _hash(credential),
            now,
            now,
            ip,
            agent[:MOST_AGENT_CHARACTERS],
        )
        await self.records.add(session, now - self.settings.life)
        return Visitor(account, session, token)

    async def find(self, token: str) -> Visitor | None:
        """Who has the session of ``token``; None when it has ended."""
        if len(token) != 2 * TOKEN_BYTES:
            return None
        session = await self.records.find(_hash(token))
        if session is None:
            return None
        visitor = await self._still_in(session, token)
        if visitor is None:
            await self.records.remove(session.token_hash)
        return visitor

    def _is_over(self, session: Session) -> bool:
        """By time alone."""
        now, settings = self.now(), self.settings
        is_idle = now - session.seen_at > settings.idle_for
        return is_idle or now - session.created_at > settings.life

    async def _still_in(self, session: Session, token: str) -> Visitor | None:
        now = self.now()
        if self._is_over(session):
            return None
        account = None
        credential: str | None
        if session.account_id is None:
            credential = await self.admin_hash()
        else:
            account = self.directory().accounts.get(session.account_id)
            if account is None or account.login_disabled:
                return None
            credential = account.password_hash
        if not hmac.compare_digest(_hash(credential or ""), session.credential_hash):
            return None
        if now - session.seen_at > SEEN_EVERY:
            await self.records.seen(session.token_hash, now)
            session = evolve(session, seen_at=now)
        return Visitor(account, session, token)

    async def end(self, visitor: Visitor) -> None:
        """Log out."""
        await self.records.remove(visitor.session.token_hash)

    async def listed(self, visitor: Visitor) -> list[Session]:
        """Those of the same login, the newest use first."""
        own = visitor.session
        found = await self.records.of(own.account_id)
        same = [one for one in found if one.credential_hash == own.credential_hash]
        return [one for one in same if not self._is_over(one)]

    async def end_one(self, visitor: Visitor, key: str) -> bool:
        """Log out where ``key`` names the session; False when none of the login is of that key."""
        for session in await self.records.of(visitor.session.account_id):
            if session.key == key:
                await self.records.remove(session.token_hash)
                return True
        return False

    async def end_others(self, visitor: Visitor) -> int:
        """Log out everywhere else; how many sessions that ended."""
        session = visitor.session
        return await self.records.remove_others(session.account_id, session.token_hash)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
