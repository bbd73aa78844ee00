"""``/.well-known/mta-sts.txt`` of our own domains, on every HTTP listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.control.mta_sts import HOST_PREFIX, served_policy
from mailrelay.directory.model import Directory
from mailrelay.web.request import Request, Response, Route

PATH = "/.well-known/mta-sts.txt"


def mta_sts_routes(hostname: str, directory: Callable[[], Directory]) -> Sequence[Route]:
    """A policy is told to who asks ``mta-sts.DOMAIN`` for it, nobody else."""

    async def policy(request: Request) -> Response:
        host = (request.headers.get("host") or "").lower().partition(":")[0].removesuffix(".")
        name = host.removeprefix(HOST_PREFIX)
        domain = directory().domains.get(name) if name != host else None
        found = served_policy(domain, [hostname]) if domain is not None else None
        if found is None:
            return Response.text(404, "there is no MTA-STS policy here\n")
        return Response.text(200, str(found))

    return [Route(("GET", "HEAD"), PATH, policy)]
