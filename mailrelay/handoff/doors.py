"""The routes of the endpoints: who is let in, and where a hand-off goes from there.

Requests of an address are limited until it has shown a token: a mail server may hand over all its
mail, and whoever guesses is stopped before a guess is looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import ceil
from typing import Annotated

import msgspec
from attrs import evolve, field, frozen

from mailrelay.directory.model import Directory
from mailrelay.handoff.answers import RETRY_AFTER, taken, told
from mailrelay.handoff.endpoints import CHECK, HandOffInSettings
from mailrelay.handoff.receiver import Receiver
from mailrelay.handoff.verdicts import knows
from mailrelay.policy.networks import TrustedNetworks
from mailrelay.smtp.address import MalformedAddress
from mailrelay.smtp.reply import Reply
from mailrelay.web.ratelimit import RequestLimits
from mailrelay.web.request import Refused, Request, Response, Route

MOST_CHECK_BYTES = 4096
MOST_KNOWN = 10_000
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class _Asked(msgspec.Struct, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


@frozen
class HandOffDoors:
    """The endpoints of now, which may share a path: then the token says which it is."""

    endpoints: Callable[[], Sequence[HandOffInSettings]]
    receiver: Receiver
    directory: Callable[[], Directory]
    trouble: Callable[[], Reply | None]
    limits: RequestLimits
    _known: OrderedDict[str, None] = field(init=False, factory=OrderedDict)

    def routes(self) -> Sequence[Route]:
        """What is mounted."""
        routes = []
        for path in dict.fromkeys(one.path for one in self.endpoints()):
            for end, handle in (("", self._email), (CHECK, self._check)):
                handler = partial(handle, path)
                routes.append(Route(("POST",), path + end, handler, is_limited=False))
        return routes

    async def _email(self, path: str, request: Request) -> Response:
        return await self.receiver.receive(self._admitted(path, request), request)

    async def _check(self, path: str, request: Request) -> Response:
        """Whether mail for a domain would be taken: 200, 400, and 503 where that is not known."""
        endpoint = self._admitted(path, request)
        trouble = self.trouble()
        if trouble is not None:
            return told(request, 503, trouble.text, str(trouble.status or ""), RETRY_AFTER)
        try:
            asked = msgspec.json.decode(await request.body.read(MOST_CHECK_BYTES), type=_Asked)
        except (msgspec.MsgspecError, UnicodeError):
            return told(request, 400, 'the body must be {"name": "example.org"}')
        try:
            is_known = knows(self.directory(), endpoint, asked.name)
        except MalformedAddress as error:
            return told(request, 400, f"name: {error}")
        return taken(request) if is_known else told(request, 400, "the domain is not ours")

    def _admitted(self, path: str, request: Request) -> HandOffInSettings:
        """The endpoint that the caller may use.  Raises: Refused."""
        ip = request.peer_ip
        wait = None if ip in self._known else self.limits.retry_after(ip)
        if wait is not None:
            raise Refused(told(request, 429, "too many requests", "4.7.1", ceil(wait)))
        near = [
            one
            for one in self.endpoints()
            if one.path == path and (not one.networks or _within(tuple(one.networks))(ip))
        ]
        if not near:
            raise Refused(told(request, 403, "not from this address", "4.7.1"))
        token = _token(request)
        knowing = [one for one in near if one.knows(token)]  # all are asked: it takes as long
        self._known.pop(ip, None)
        if not token or not knowing:
            refusal = told(request, 401, "the token is missing or wrong", "4.7.8")
            raise Refused(evolve(refusal, headers=CHALLENGE))
        self._known[ip] = None
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return knowing[0]


@lru_cache(64)
def _within(networks: tuple[str, ...]) -> TrustedNetworks:
    return TrustedNetworks.of(networks)


def _token(request: Request) -> str:
    values = request.headers.all("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""
