"""Every page that can be reached from another, one of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from attrs import define, field

from tests.browser.looking import Look

_CHANGING = re.compile(r"[0-9]|%[0-9A-F]{2}|@")
"""A segment of a path with one of these names a thing, not a page."""
_NAMED = re.compile(r"(?<=/)(accounts|domains|peers|routes)/[^/?]+")
"""Where things are called by a name."""
PASSING = "/admin/destinations/"
"""What is in memory only may be gone by the time that its link is followed."""
KEPT_QUERY = ("view", "state")
"""Fields of a query that make another page of it."""


@define
class Anchors(HTMLParser):
    """Where a page leads: links, frames, and forms that only ask."""

    found: list[str] = field(factory=list)
    is_page: bool = False
    _action: str | None = None
    _fields: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = {name: value or "" for name, value in attrs}
        if tag == "main":
            self.is_page = True
        elif tag == "a" and "download" not in given:
            self.found.append(given.get("href", ""))
        elif tag == "form" and given.get("method", "get").lower() == "get":
            self._action, self._fields = given.get("action", ""), {}
        elif tag in ("input", "select") and self._action is not None and "name" in given:
            self._fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser."""
        if tag == "form" and self._action is not None:
            self.found.append(f"{self._action}?{urlencode(self._fields)}")
            self._action = None


def kind_of(path: str) -> str:
    """What pages have in common that differ by the thing that they are about."""
    parts = urlsplit(path)
    path = _NAMED.sub(r"\1/{}", parts.path)
    segments = ["{}" if _CHANGING.search(one) else one for one in path.split("/")]
    query = [
        f"{name}={value}" if name in KEPT_QUERY else name
        for name, value in sorted(parse_qsl(parts.query))
    ]
    return "/".join(segments) + ("?" + "&".join(query) if query else "")


def pages(look: Look, *starts: str) -> Mapping[str, str]:
    """A path for each kind of page that ``starts`` lead to, by kind."""
    found: dict[str, str] = {}
    waiting, seen = [*starts], {*starts}
    while waiting:
        path = waiting.pop(0)
        if kind_of(path) in found:
            continue
        answer = look.context.request.get(f"{look.server.base}{path}", max_redirects=0)
        if answer.status in (302, 303):
            there = answer.headers["location"]
            leads: Iterator[str] = iter([there])
        elif answer.status == 200:
            reader = Anchors()
            if "text/html" in answer.headers.get("content-type", ""):
                reader.feed(answer.text())
            if not reader.is_page:
                continue
            found[kind_of(path)] = path
            leads = iter(reader.found)
        elif answer.status == 404 and path.startswith(PASSING):
            continue
        else:
            raise AssertionError(f"{path} is answered {answer.status}")
        for lead in leads:
            whole = urlsplit(urljoin(path, lead))
            there = whole.path + (f"?{whole.query}" if whole.query else "")
            if not whole.scheme and not whole.netloc and there not in seen:
                seen.add(there)
                waiting.append(there)
    return found
