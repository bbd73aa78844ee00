"""Who calls: an account's login (Basic), or a key (Bearer), within what the key is for."""

from __future__ import annotations

from attrs import frozen

from mailrelay.directory.keys import Scope
from mailrelay.directory.login import Authenticator, LoginRefused, Overloaded, TooManyFailures
from mailrelay.directory.model import Account
from mailrelay.web.headers import basic_credentials
from mailrelay.web.origin import is_of_foreign_page
from mailrelay.web.request import Request
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.v1.problems import (
    FOREIGN_PAGE,
    NOT_LOGGED_IN,
    OVERLOADED,
    TOO_MANY_FAILURES,
    Problem,
)

CHALLENGE = {"WWW-Authenticate": 'Basic realm="mailrelay", charset="UTF-8", Bearer'}


@frozen
class Door:
    """Lets callers in."""

    authenticator: Authenticator

    async def caller(self, request: Request, scope: Scope | None) -> Caller:
        """Who calls; before anything of the body is read.  Raises: Problem."""
        if is_of_foreign_page(request.headers):
            raise Problem(FOREIGN_PAGE, "call the API from a server, not from a page")
        try:
            return await self._judged(request)
        except TooManyFailures:
            raise Problem(
                TOO_MANY_FAILURES, "try again later", headers={"Retry-After": "60"}
            ) from None
        except Overloaded:
            raise Problem(OVERLOADED, "too many logins at once", headers=_SOON) from None
        except LoginRefused:
            raise Problem(
                NOT_LOGGED_IN, "the login or its password is wrong", headers=CHALLENGE
            ) from None

    async def _judged(self, request: Request) -> Caller:
        basic = basic_credentials(request.headers)
        if basic is None:
            raise Problem(
                NOT_LOGGED_IN,
                "log in with an account's address and password (Basic)",
                headers=CHALLENGE,
            )
        account: Account = await self.authenticator.password(*basic, request.peer_ip)
        return Caller(account, basic[0], request.peer_ip, request.is_secure)


_SOON = {"Retry-After": "5"}
