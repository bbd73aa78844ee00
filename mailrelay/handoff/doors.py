"""The routes of the endpoints: who is let in, and where a hand-off goes from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
from mailrelay.web.request import Refused, Request, Response, Route

MOST_CHECK_BYTES = 4096
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class _Asked(msgspec.Struct, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


@frozen
class HandOffDoors:
    """The endpoints, which may share a path: then the token says which it is."""

    endpoints: Sequence[HandOffInSettings]
    receiver: Receiver
    directory: Callable[[], Directory]
    trouble: Callable[[], Reply | None]
    _networks: dict[str, TrustedNetworks] = field(init=False)

    @_networks.default
    def _networks_by_name(self) -> dict[str, TrustedNetworks]:
        return {one.name: TrustedNetworks.of(one.networks) for one in self.endpoints}

    def routes(self) -> Sequence[Route]:
        """What is mounted."""
        routes = []
        for path in dict.fromkeys(one.path for one in self.endpoints):
            routes.append(Route(("POST",), path, partial(self._email, path)))
            routes.append(Route(("POST",), f"{path}{CHECK}", partial(self._check, path)))
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
        near = [
            one
            for one in self.endpoints
            if one.path == path and (not one.networks or self._networks[one.name](request.peer_ip))
        ]
        if not near:
            raise Refused(told(request, 403, "not from this address", "4.7.1"))
        token = _token(request)
        knowing = [one for one in near if one.knows(token)]  # all are asked: it takes as long
        if not token or not knowing:
            refusal = told(request, 401, "the token is missing or wrong", "4.7.8")
            raise Refused(evolve(refusal, headers=CHALLENGE))
        return knowing[0]


def _token(request: Request) -> str:
    values = request.headers.all("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""
