"""What may go wrong with a request, as problem details (RFC 9457); each kind is here, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import Meta

from mailrelay.web.request import Response

CONTENT_TYPE = "application/problem+json"


@frozen
class Kind:
    """A way to fail.  ``code`` is for programs and stays; ``title`` is the same each time."""

    code: str
    status: int
    title: str


MALFORMED = Kind("malformed_request", 400, "The request cannot be read")
INVALID_FIELD = Kind("invalid_field", 400, "A field is not as it must be")
NOT_LOGGED_IN = Kind("not_logged_in", 401, "Login is missing or wrong")
NOT_ALLOWED = Kind("not_allowed", 403, "The login may not do this")
FOREIGN_PAGE = Kind("foreign_page", 403, "A page of another site cannot call the API")
NO_SUCH = Kind("not_found", 404, "There is no such thing")
WRONG_METHOD = Kind("method_not_allowed", 405, "The method is not one of this path")
CONFLICT = Kind("conflict", 409, "What is there stands against it")
IN_FLIGHT = Kind("request_in_flight", 409, "A request of that Idempotency-Key is under way")
OTHER_REQUEST = Kind("idempotency_key_used", 422, "The Idempotency-Key is of another request")
TOO_LARGE = Kind("too_large", 413, "The request is too large")
UNSUPPORTED_TYPE = Kind("unsupported_media_type", 415, "The body is not of the right type")
TOO_MANY_FAILURES = Kind("too_many_failures", 429, "Too many logins failed")
TOO_MANY_REQUESTS = Kind("too_many_requests", 429, "Too many requests")
LIMIT_REACHED = Kind("sending_limit_reached", 429, "The account may send no more for now")
NOT_ACCEPTED = Kind("not_accepted", 422, "The message is not accepted")
INTERNAL = Kind("internal_error", 500, "The server failed")
OVERLOADED = Kind("overloaded", 503, "The server has too much to do")
STORE_UNAVAILABLE = Kind("store_unavailable", 503, "The store does not answer")

ALWAYS = (
    *(NOT_LOGGED_IN, NOT_ALLOWED, FOREIGN_PAGE, TOO_MANY_FAILURES, TOO_MANY_REQUESTS),
    *(UNSUPPORTED_TYPE, INTERNAL, OVERLOADED, STORE_UNAVAILABLE),
)
"""What any operation may answer."""


class Problem(Exception):
    """A request that failed.  ``field`` is as ``to[0].address``, empty for the whole request."""

    def __init__(
        self, kind: Kind, detail: str, field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{kind.code}: {detail}")
        self.kind, self.detail, self.field = kind, detail, field
        self.headers = headers or {}


class ProblemDetails(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What went wrong (RFC 9457).  ``code`` is for programs, ``detail`` for people."""

    type: Annotated[str, Meta(max_length=100)]
    title: Annotated[str, Meta(max_length=100)]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(max_length=2000)]
    code: Annotated[str, Meta(max_length=50, pattern=r"^[a-z_]+(?!\n)$")]
    field: Annotated[str, Meta(max_length=500)] = ""


def problem_response(problem: Problem) -> Response:
    """``problem`` as it is answered."""
    kind = problem.kind
    details = ProblemDetails(
        type=f"urn:mailrelay:problem:{kind.code}",
        title=kind.title,
        status=kind.status,
        detail=problem.detail[:2000],
        code=kind.code,
        field=problem.field[:500],
    )
    encoded = msgspec.json.encode(details) + b"\n"
    return Response(kind.status, encoded, problem.headers, content_type=CONTENT_TYPE)


_OF_STATUS = {
    400: MALFORMED,
    404: NO_SUCH,
    413: TOO_LARGE,
    415: UNSUPPORTED_TYPE,
    429: TOO_MANY_REQUESTS,
    503: OVERLOADED,
}


def problem_of(response: Response) -> Problem:
    """A refusal in plain text, by those who know no problem details."""
    kind = _OF_STATUS.get(response.status, INTERNAL)
    text = response.body.decode() if isinstance(response.body, bytes) else ""
    return Problem(kind, text.strip().removeprefix(f"{response.status} - "), "", response.headers)


def as_problem(response: Response) -> Response:
    """The same, as it is answered."""
    return problem_response(problem_of(response))
