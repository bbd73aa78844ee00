"""Who calls: an account's login (Basic), or a key (Bearer), within what the key is for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from attrs import define, field, frozen

from mailrelay.directory.keys import APIKey, Scope
from mailrelay.directory.login import Authenticator, LoginRefused, Overloaded, TooManyFailures
from mailrelay.web.headers import basic_credentials
from mailrelay.web.origin import is_of_foreign_page
from mailrelay.web.request import Request
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.problems import (
    FOREIGN_PAGE,
    NOT_ALLOWED,
    NOT_LOGGED_IN,
    OVERLOADED,
    TOO_MANY_FAILURES,
    TOO_MANY_REQUESTS,
    Problem,
)

CHALLENGE = {"WWW-Authenticate": 'Basic realm="mailrelay", charset="UTF-8", Bearer'}
MOST_KEY_CHARACTERS = 200
_MOST_COUNTS = 10_000


@define
class KeyLimits:
    """How many requests each key makes, in fixed windows of a minute."""

    seconds: Callable[[], float]
    _counts: OrderedDict[tuple[int, int], int] = field(factory=OrderedDict)

    def retry_after(self, key: APIKey) -> float | None:
        """Count a request; the seconds to wait when it is one too many."""
        if key.requests_per_minute is None:
            return None
        now = self.seconds()
        window = (key.id, int(now // 60.0))
        count = self._counts.pop(window, 0)
        if count >= key.requests_per_minute:
            self._counts[window] = count
            return 60.0 - now % 60.0
        self._counts[window] = count + 1
        while len(self._counts) > _MOST_COUNTS:
            self._counts.popitem(last=False)
        return None


@frozen
class Door:
    """Lets callers in."""

    authenticator: Authenticator
    limits: KeyLimits

    async def caller(self, request: Request, scope: Scope | None) -> Caller:
        """Who calls; before anything of the body is read.  Raises: Problem."""
        if is_of_foreign_page(request.headers):
            raise Problem(FOREIGN_PAGE, "call the API from a server, not from a page")
        try:
            caller = await self._judged(request)
        except TooManyFailures:
            raise Problem(
                TOO_MANY_FAILURES, "try again later", headers={"Retry-After": "60"}
            ) from None
        except Overloaded:
            raise Problem(OVERLOADED, "too many logins at once", headers=_SOON) from None
        except LoginRefused:
            raise Problem(
                NOT_LOGGED_IN, "the login or its password, or the key, is wrong", headers=CHALLENGE
            ) from None
        if caller.account.key is not None:
            self._check_key(caller.account.key, scope)
        return caller

    async def _judged(self, request: Request) -> Caller:
        text = _bearer(request)
        if text is not None:
            account = self.authenticator.key(text, request.peer_ip)
            return Caller(account, "", request.peer_ip, request.is_secure)
        basic = basic_credentials(request.headers)
        if basic is None:
            raise Problem(
                NOT_LOGGED_IN,
                "log in with a key (Bearer), or an account's address and password (Basic)",
                headers=CHALLENGE,
            )
        account = await self.authenticator.password(*basic, request.peer_ip)
        return Caller(account, basic[0], request.peer_ip, request.is_secure)

    def _check_key(self, key: APIKey, scope: Scope | None) -> None:
        wait = self.limits.retry_after(key)
        if wait is not None:
            raise Problem(
                TOO_MANY_REQUESTS,
                f"the key is for {key.requests_per_minute} requests a minute",
                headers={"Retry-After": str(ceil(wait))},
            )
        if scope is not None and scope not in key.scopes:
            raise Problem(NOT_ALLOWED, f"the key lacks the scope {scope.value}")


def _bearer(request: Request) -> str | None:
    """The key of an Authorization field (RFC 6750 section 2.1), None when it has none."""
    values = request.headers.all("authorization")
    if len(values) != 1:
        return None
    scheme, _, text = values[0].partition(" ")
    if scheme.lower() != "bearer":
        return None
    return text.strip()[:MOST_KEY_CHARACTERS]


_SOON = {"Retry-After": "5"}
