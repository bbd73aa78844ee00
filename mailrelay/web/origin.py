"""Requests that a browser makes for a page of another site."""

from __future__ import annotations

from mailrelay.web.headers import Headers


def is_of_foreign_page(headers: Headers) -> bool:
    """Whether a browser says so: it sends a login that it knows with any site's forms."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is None and origin is not None:
        is_own = origin.partition("://")[2].lower() == (headers.get("host") or "").lower()
        site = "same-origin" if is_own else "cross-site"
    return site not in (None, "none", "same-origin")
