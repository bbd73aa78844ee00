"""What is answered to who hands mail to us: ``OK``, or a line that an SMTP server would say."""

from __future__ import annotations

import msgspec
from attrs import evolve

from mailrelay.smtp.reply import Reply, reply
from mailrelay.web.request import Request, Response

NO_RECIPIENT = reply(550, "5.1.3", "neither request nor message say whom it is for")
NOT_OURS = reply(550, "5.7.1", "relaying denied: the recipient's domain is not ours")
HAS_NUL = reply(550, "5.6.0", "the message has a NUL")
NO_MESSAGE = reply(550, "5.6.0", "that is no message: it has no header")
HEADER_TOO_LARGE = reply(550, "5.3.4", "the header is larger than 256 KiB or 1000 lines")
NO_TIME = reply(451, "4.4.1", "no attempt has come to an end yet")
OTHER_MESSAGE = reply(451, "4.3.5", "another message had this Idempotency-Key")

RETRY_AFTER = 60
"""Seconds that a caller is asked to wait where nothing tells when things get better."""
AFTER_LIMIT = 600
"""... where an account has used up what it may send."""
SOON = 2
"""... where the same is being taken just now."""


class _Told(msgspec.Struct, frozen=True):
    """An answer in JSON."""

    status: str
    message: str
    code: str = ""


def taken(request: Request) -> Response:
    """200: nothing is left for the caller to do."""
    if _wants_json(request):
        return Response.json(200, msgspec.json.encode(_Told("ok", "OK")))
    return Response.text(200, "OK")


def told(request: Request, status: int, text: str, code: str = "", wait: int = 0) -> Response:
    """Anything else; as text its first line is ``code`` and ``text``."""
    if _wants_json(request):
        response = Response.json(status, msgspec.json.encode(_Told("error", text, code)))
    else:
        response = Response.text(status, f"{code} {text}".strip() + "\n")
    return evolve(response, headers={"Retry-After": str(wait)}) if wait else response


def refused_with(request: Request, said: Reply, wait: int = RETRY_AFTER) -> Response:
    """422 for what will never be taken, 503 for what is not taken now."""
    status = 422 if said.is_permanent else 503
    return told(request, status, said.text, str(said.status or ""), 0 if status == 422 else wait)


def _wants_json(request: Request) -> bool:
    kinds = [one.partition(";")[0].strip() for one in request.headers.tokens("accept")]
    return "application/json" in kinds and "text/plain" not in kinds
