"""Pages of templates, and the header fields that each has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib.resources import files
from typing import Any

import idna
from attrs import define, field, frozen
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup
from typing_extensions import override

from mailrelay.control.sessions import Visitor
from mailrelay.pages.menu import ACCOUNT, ADMIN, served
from mailrelay.web.request import Response

STATIC = "/static/"
TOKEN_FIELD = "form_token"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
}
"""Of every page: nothing is run or loaded that is not ours, or looked up before it is chosen."""

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@frozen
class StaticFile:
    """A file that pages load.  ``path`` changes with its content: it is kept for ever."""

    path: str
    content: bytes = field(repr=False)
    content_type: str


def static_files() -> Mapping[str, StaticFile]:
    """Those that are shipped, by name.  Blocks."""
    found = {}
    for file in sorted((files("mailrelay.pages") / "static").iterdir(), key=lambda one: one.name):
        extension = file.name.rpartition(".")[2]
        if extension in _TYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            path = f"{STATIC}{digest}/{file.name}"
            found[file.name] = StaticFile(path, content, _TYPES[extension])
    return found


class Compiled(BytecodeCache):
    """Templates that were compiled in this process, for all renderers: that takes half a second."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    @override
    def load_bytecode(self, bucket: Bucket) -> None:
        """See BytecodeCache."""
        code = self._code.get(bucket.key)
        if code is not None:
            bucket.bytecode_from_string(code)

    @override
    def dump_bytecode(self, bucket: Bucket) -> None:
        """See BytecodeCache."""
        self._code[bucket.key] = bucket.bytecode_to_string()


_compiled = Compiled()


@define
class Renderer:
    """Fills templates.  Text is escaped wherever it comes from.  Made before the reactor runs."""

    now: Callable[[], float]
    statics: Mapping[str, StaticFile] = field(factory=static_files)

    @cached_property
    def _environment(self) -> Environment:
        environment = Environment(
            loader=PackageLoader("mailrelay.pages", "html"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            bytecode_cache=_compiled,
        )
        environment.filters["time"] = self._time
        environment.filters["size"] = size_text
        environment.filters["address"] = address_text
        environment.filters["counted"] = counted
        environment.filters["token"] = token_field
        environment.globals["static"] = lambda name: self.statics[name].path
        return environment

    def offer(self, paths: Collection[str]) -> None:
        """Have the menus lead to ``paths``, those of all pages that are served."""
        self._environment.globals["menus"] = {
            "account": served(ACCOUNT, paths),
            "admin": served(ADMIN, paths),
        }

    def load(self) -> None:
        """Compile all templates.  Blocks."""
        for name in self._environment.list_templates(["html"]):
            self._environment.get_template(name)

    def page(self, name: str, status: int = 200, **values: Any) -> Response:
        """The page that the template ``name`` makes of ``values``."""
        return Response.html(status, self._environment.get_template(name).render(values))

    def _time(self, at: float | None) -> Markup:
        """How long ago, with the exact time behind it."""
        if at is None:
            return Markup("")
        exact = datetime.fromtimestamp(at, UTC)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            exact.isoformat(timespec="seconds"),
            exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
            ago_text(self.now() - at),
        )


def ago_text(seconds: float) -> str:
    """A time some seconds ago, or to come when negative, as people say it."""
    distance = abs(seconds)
    if distance < 5:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if distance >= size:
            text = f"{int(distance // size)} {unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "now"


def counted(count: int, noun: str) -> str:
    """How many of them."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def token_field(visitor: Visitor) -> Markup:
    """What each form brings back, so that it is known to be ours."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(
        TOKEN_FIELD, visitor.form_token
    )


def address_text(text: str) -> str:
    """An address, or a domain, as people write it: labels of other scripts are not encoded."""
    local, at, domain = text.rpartition("@")
    if "xn--" not in domain:
        return text
    try:
        return f"{local}{at}{idna.decode(domain)}"
    except idna.IDNAError:
        return text


def size_text(count: int) -> str:
    """Bytes, as people say it."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5 or unit == "GB":
            return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"
    raise AssertionError("there is a unit for every size")
