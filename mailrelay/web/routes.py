"""Which route a request takes; nothing is looked at but its method and path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote_to_bytes

from attrs import frozen

from mailrelay.web.request import Route


@frozen
class Match:
    """``route`` fits; ``params`` are what stands for its names, percent-decoded."""

    route: Route
    params: Mapping[str, str]


@frozen
class WrongMethod:
    """There is a route for the path, but not for the method; ``route`` is the first of them."""

    route: Route
    allowed: Sequence[str]


class Routes:
    """Routes in order: the first that fits a path and a method is taken."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._patterns: list[tuple[Sequence[str], Route]] = []
        for route in routes:
            if "{" in route.path or route.path.endswith("/*"):
                self._patterns.append((route.path.split("/"), route))
            else:
                self._exact.setdefault(route.path, []).append(route)

    def find(self, method: str, path: str) -> Match | WrongMethod | None:
        """The route for ``path``; None when there is none, or the path is not well-formed.

        A path without names goes before one with them.
        """
        fitting = [Match(route, {}) for route in self._exact.get(path, ())]
        for match in fitting:
            if not match.route.methods or method in match.route.methods:
                return match
        segments = path.split("/")
        for pattern, route in self._patterns:
            params = _params(pattern, segments)
            if params is not None:
                match = Match(route, params)
                if not route.methods or method in route.methods:
                    return match
                fitting.append(match)
        if not fitting:
            return None
        allowed = sorted({name for match in fitting for name in match.route.methods})
        return WrongMethod(fitting[0].route, allowed)

    def around(self, path: str) -> Route | None:
        """The route of any rest below which ``path`` lies, well-formed or not."""
        segments = path.split("/")
        for pattern, route in self._patterns:
            fixed = list(pattern[:-1])
            if pattern[-1] == "*" and segments[: len(fixed)] == fixed:
                return route
        return None


def _params(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    takes_rest = pattern[-1] == "*"
    if takes_rest:
        pattern = pattern[:-1]
        if len(segments) <= len(pattern):
            return None
    elif len(pattern) != len(segments):
        return None
    params = {}
    for wanted, segment in zip(pattern, segments, strict=False):
        if wanted[:1] != "{":
            if wanted != segment:
                return None
            continue
        value = _decoded(segment)
        if not value:
            return None
        params[wanted[1:-1]] = value
    if takes_rest:
        rest = _decoded("/".join(segments[len(pattern) :]))
        if rest is None:
            return None
        params["*"] = rest
    return params


def _decoded(segment: str) -> str | None:
    """``segment`` with its percent signs resolved; None for what no path of ours has."""
    if "%" not in segment:
        return segment
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
