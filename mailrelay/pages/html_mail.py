"""HTML that a stranger wrote, so that a browser can show it (threat 22).

Three walls, each enough alone: what can act is taken out; the policy of the answer lets nothing
run, load or be sent; and the page shows it in a frame that is no page of ours.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote

import nh3
from attrs import define, field, frozen

from mailrelay.web.request import Response

SHOWN_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})

MOST_OWN_CHARACTERS = 16 * 1024 * 1024
"""Of a message's own images, which are written out wherever its HTML shows them."""

FRAME = "allow-popups allow-popups-to-escape-sandbox"
"""What the frame may do: links open in a window of their own."""


def policy(*, shows_remote: bool) -> str:
    """The Content-Security-Policy of a message's HTML."""
    images = "data: https: http:" if shows_remote else "data:"
    return (
        f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; base-uri 'none';"
        f" form-action 'none'; frame-ancestors 'self'; sandbox {FRAME}"
    )


def framed(document: str, *, shows_remote: bool) -> Response:
    """The answer that the frame of a page shows: a document of SafeHTML."""
    answer = Response.html(200, document)
    headers = {
        "Content-Security-Policy": policy(shows_remote=shows_remote),
        "X-Frame-Options": "sameorigin",
        "Referrer-Policy": "no-referrer",
    }
    return Response(200, answer.body, headers, content_type=answer.content_type)


@frozen
class SafeHTML:
    """A whole document.  ``remote`` counts the images that others would be asked for."""

    document: str
    remote: int


_LINKS = {"http", "https", "mailto", "tel"}
_LAYOUT = {"align", "valign", "bgcolor", "width", "height", "border", "dir", "lang", "style"}
_TAGS = nh3.ALLOWED_TAGS | {
    *("body", "center", "font", "section", "article", "header", "footer", "main", "figure"),
    *("figcaption", "style", "picture", "u", "big", "label", "address", "nav", "aside"),
}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {*_LAYOUT, "class", "id", "title", "role", "aria-label", "aria-hidden"},
    "a": {"href", "name"},
    "img": {"src", "alt"},
    "font": {"color", "face", "size"},
    "table": {"cellpadding", "cellspacing", "summary"},
    "td": {"colspan", "rowspan", "headers"},
    "th": {"colspan", "rowspan", "scope", "headers"},
    "ol": {"start", "type"},
    "ul": {"type"},
    "li": {"value"},
}


@define
class _Sources:
    """Decides on links, and on the source of each image."""

    own: Mapping[str, str]
    shows_remote: bool
    remote: int = field(default=0, init=False)
    _room: int = field(default=MOST_OWN_CHARACTERS, init=False)

    def attribute(self, tag: str, name: str, value: str) -> str | None:
        """What stands there; None for nothing."""
        scheme, _, rest = value.strip().partition(":")
        scheme = scheme.lower()
        if name == "style":
            return self.style(value)
        if name == "href":
            return value if scheme in _LINKS else None
        if name != "src":
            return value
        if scheme == "cid":
            return self._placed(self.own.get(unquote(rest)) or self.own.get(rest))
        if scheme in ("http", "https"):
            self.remote += 1
            return value if self.shows_remote else None
        is_image = rest.partition(";")[0].lower() in SHOWN_IMAGES
        return value if scheme == "data" and is_image else None

    def style(self, css: str) -> str:
        """``css`` made safe; its pictures are counted with the images."""
        self.remote += len(_PICTURE.findall(_plain(css)))
        return safe_style(css, shows_remote=self.shows_remote)

    def _placed(self, image: str | None) -> str | None:
        """One of the message's own, as long as there is room."""
        if image is None or len(image) > self._room:
            return None
        self._room -= len(image)
        return image


def _plain(css: str) -> str:
    """``css`` without escapes, which could spell the words that are looked for.

    A blank lets nothing come together that was apart, such as the end of the style element.
    """
    return css.replace("\\", " ")


def safe_style(css: str, *, shows_remote: bool) -> str:
    """``css`` without what loads anything; pictures are left when ``shows_remote``."""
    safe = _LOADING.sub("@none", _plain(css))
    return safe if shows_remote else _PICTURE.sub("none(", safe)


_LOADING = re.compile(r"@(?:import|font-face)", re.IGNORECASE)
_PICTURE = re.compile(
    r"""(?:url\((?!\s*["']?data:image/)|(?:image-set|image|src)\s*\()""", re.IGNORECASE
)


def _with_safe_styles(body: str, sources: _Sources) -> str:
    """``body`` with the content of its style elements made safe."""
    pieces, at = [], 0
    while (start := body.find("<style", at)) >= 0:
        end = body.find("</style", start)
        end = len(body) if end < 0 else end
        pieces += [body[at:start], sources.style(body[start:end])]
        at = end
    return "".join([*pieces, body[at:]])


def safe_html(html: str, own_images: Mapping[str, str], *, shows_remote: bool) -> SafeHTML:
    """``html`` as a document that does nothing."""
    sources = _Sources(own_images, shows_remote)
    body = nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags={"script", "title", "template", "iframe", "object", "noscript"},
        attributes=_ATTRIBUTES,
        attribute_filter=sources.attribute,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        strip_comments=True,
    )
    document = (
        '<!doctype html><html><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<style>html{color-scheme:light;background:#fff;color:#111;"
        "font:15px/1.5 system-ui,sans-serif}body{margin:12px;overflow-wrap:anywhere}"
        "img{max-width:100%}</style></head><body>"
        f"{_with_safe_styles(body, sources)}</body></html>"
    )
    return SafeHTML(document, sources.remote)


def data_url(content_type: str, data: bytes) -> str:
    """``data`` as a URL that holds it (RFC 2397)."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
