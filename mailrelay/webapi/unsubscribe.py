"""Where an unsubscribe link leads (RFC 8058): a POST unsubscribes, a GET asks.

Whoever has the link may use it, without login or cookie; programs that look at every link in a
message follow it by GET, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from attrs import evolve, frozen

from mailrelay.control.unsubscribe import Subscription, Unsubscribing
from mailrelay.directory.model import Directory
from mailrelay.queue.store import StoreUnavailable
from mailrelay.web.body import BodyRefused
from mailrelay.web.form import FormLimits, read_form
from mailrelay.web.headers import STRICT_HEADERS
from mailrelay.web.intake import Intake
from mailrelay.web.request import Request, Response, Route

PATH = "/unsubscribe/*"
FIELD, VALUE = "List-Unsubscribe", "One-Click"  # RFC 8058 section 3.2

HEADERS = {
    **STRICT_HEADERS,
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Robots-Tag": "noindex",
}
_LIMITS = FormLimits(files=0, urlencoded=4096, fields=4096, parts=10)


@frozen
class UnsubscribePages:
    """The pages of a link."""

    unsubscribing: Unsubscribing
    directory: Callable[[], Directory]
    intake: Intake

    def routes(self) -> list[Route]:
        """Everything below PATH: the token is in no log, whatever is asked of it."""
        return [Route((), PATH, self._get, HEADERS, is_secret=True)]

    async def _get(self, request: Request) -> Response:
        of = self._subscription(request)
        if of is None:
            return not_ours()
        if request.method == "POST":
            return await self._end(request, of)
        if request.method not in ("GET", "HEAD"):
            return not_allowed()
        return question(f"{self._whom(of)} gets no more mail?")

    async def _end(self, request: Request, of: Subscription) -> Response:
        if not await is_one_click(request, self.intake):
            return not_understood()
        whom = self._whom(of)  # the account may be gone behind the commit
        try:
            await self.unsubscribing.end(of)
        except StoreUnavailable:
            return not_now()
        return page(200, "Unsubscribed", f"<p>{whom} gets no more mail.</p>")

    def _subscription(self, request: Request) -> Subscription | None:
        of = self.unsubscribing.read(request.params["*"])
        return of if of is not None and of.account_id in self.directory().accounts else None

    def _whom(self, of: Subscription) -> str:
        sender = self.directory().accounts[of.account_id].full_name
        whom = f"<strong>{escape(of.recipient.unicode)}</strong>"
        whom += f" on the list {escape(of.list_name)}" if of.list_name else ""
        return f"{whom} of {escape(sender)}" if sender else whom


async def is_one_click(request: Request, intake: Intake) -> bool:
    """Whether the body is what RFC 8058 section 3.2 has, in either encoding of forms."""
    try:
        async with await read_form(request, intake, _LIMITS) as form:
            return list(form.fields.get(FIELD, ())) == [VALUE]
    except BodyRefused:
        return False


def not_allowed() -> Response:
    """What is neither GET nor POST."""
    answer = page(405, "Not allowed", "<p>A link is followed by GET or POST.</p>")
    return evolve(answer, headers={"Allow": "GET, HEAD, POST"})


def not_now() -> Response:
    """While nothing can be stored."""
    answer = page(503, "Not now", "<p>Please try again in a minute.</p>")
    return evolve(answer, headers={"Retry-After": "60"})


def not_understood() -> Response:
    """A POST that is no one-click."""
    return page(400, "Not understood", f"<p>The form must say {FIELD}={VALUE}.</p>")


def question(text: str) -> Response:
    """What a GET shows: the same POST behind a button; ``text`` is HTML."""
    button = (
        f'<form method="post"><input type="hidden" name="{escape(FIELD)}" value="{VALUE}">'
        '<button type="submit">Unsubscribe</button></form>'
    )
    return page(200, "Unsubscribe", f"<p>{text}</p>{button}")


def not_ours() -> Response:
    """A link that is for nothing."""
    text = "<p>This link is none of ours, is not whole, or is too old.</p>"
    return page(404, "Not found", text)


def page(status: int, title: str, body: str) -> Response:
    """``body`` is HTML."""
    return Response.html(
        status,
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n",
    )
