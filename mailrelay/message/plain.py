"""Text made of HTML, for those who read no HTML: paragraphs, lists, links with where they lead.

In one pass, in time that grows with the length alone.  The standard library's html.parser is not
used: its time grows with the square (40 kB of ``<a`` take it half a minute, in CPython 3.11).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from attrs import define, field, frozen

_LINES = frozenset(
    (
        *("address", "article", "aside", "body", "caption", "center", "dd", "div", "dt"),
        *("fieldset", "figure", "footer", "form", "header", "html", "li", "main", "nav"),
        *("section", "tbody", "tfoot", "thead", "tr"),
    )
)
_PARAGRAPHS = frozenset(
    (
        *("blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre"),
        *("table", "ul"),
    )
)
_UNSEEN = frozenset(
    (
        *("iframe", "noscript", "object", "script", "select", "style", "template", "textarea"),
        "title",
    )
)
_SCHEMES = ("http:", "https:", "mailto:", "tel:")
_DEEPEST = 8  # lists are not indented further


def plain_text(source: str) -> str:
    """What a reader of ``source`` sees, without the pictures; each link with its address."""
    page = _Page()
    for token in _tokens(source):
        match token:
            case str():
                page.text(token)
            case _Tag(is_end=True):
                page.end(token)
            case _Tag():
                page.start(token)
    return page.finished()


@frozen
class _Tag:
    name: str
    is_end: bool
    inside: str

    def attribute(self, name: str) -> str:
        """Its value, empty when it is not there."""
        at = 0
        while found := _ATTRIBUTE.match(self.inside, at):
            at = found.end()
            if found[1].lower() == name:
                return _unescaped((found[2] or "").strip("\"'")).strip()
        return ""


_ATTRIBUTE = re.compile(r"""[\s/]*([^\s/=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"']\S*))?""")
_NAME = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]*)")
_EDGE = re.compile("[>\"']")


def _tokens(source: str) -> Iterator[str | _Tag]:
    """Text and tags, in order; what is open at the end ends there."""
    at = 0
    while (found := source.find("<", at)) >= 0:
        yield source[at:found]
        named = _NAME.match(source, found)
        if named is not None:
            end = _tag_end(source, named.end())
            name, is_end = named[2].lower(), bool(named[1])
            yield _Tag(name, is_end, source[named.end() : end])
            at = end + 1
            if name in _UNSEEN and not is_end:
                at = _behind(source, at, name)
        elif source.startswith("<!--", found):
            at = _after(source, "-->", found + 4)
        elif source.startswith(("<!", "<?", "</"), found):
            at = _after(source, ">", found)
        else:
            yield "<"
            at = found + 1
    yield source[at:]


def _tag_end(source: str, at: int) -> int:
    """Where the ``>`` of a tag is, which does not stand in quotes."""
    while found := _EDGE.search(source, at):
        if found.group() == ">":
            return found.start()
        at = source.find(found.group(), found.end()) + 1
        if not at:
            break
    return len(source)


def _after(source: str, end: str, at: int) -> int:
    found = source.find(end, at)
    return len(source) if found < 0 else found + len(end)


def _behind(source: str, at: int, name: str) -> int:
    """Where the element ``name``, of which nothing is shown, is over."""
    found = re.compile(f"</{name}", re.IGNORECASE).search(source, at)
    return len(source) if found is None else found.start()


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character of thousands of digits
        return text


@define
class _Page:
    """What was read so far.  ``_gap`` is how many line ends are due before the next word."""

    _out: list[str] = field(factory=list)
    _gap: int = 0
    _has_space: bool = False
    _line_is_empty: bool = True
    _preformatted: int = 0
    _lists: list[int] = field(factory=list)  # the number of the next item; 0 without numbers
    _link: str = ""
    _link_text: list[str] = field(factory=list)

    def text(self, text: str) -> None:
        """Some text; spaces of all kinds are one, but within ``pre``."""
        text = _unescaped(text)
        if self._preformatted:
            for number, line in enumerate(text.splitlines()):
                self._gap = max(self._gap, 1 if number else 0)
                self._word(line)
            return
        if text[:1].isspace():
            self._has_space = True
        words = _SPACES.sub(" ", text).strip(" ")
        if words:
            self._word(words)
            self._has_space = text[-1:] in _SPACE_CHARACTERS

    def _word(self, text: str) -> None:
        if self._gap:
            self._out.append("\n" * self._gap if self._out else "")
            self._gap, self._line_is_empty = 0, True
        if self._has_space and not self._line_is_empty:
            self._out.append(" ")
        self._out.append(text)
        self._line_is_empty = self._has_space = False
        if self._link:
            self._link_text.append(text)

    def _break(self, lines: int) -> None:
        self._gap = max(self._gap, lines)
        self._has_space = False

    def start(self, tag: _Tag) -> None:
        """An element begins."""
        self._edge(tag)
        match tag.name:
            case "br":
                self._gap = min(self._gap + 1, 2)
            case "a":
                self._end_link()
                link = tag.attribute("href")
                self._link = link if link.lower().startswith(_SCHEMES) else ""
            case "img":
                self.text(tag.attribute("alt"))
            case "td" | "th":
                self._has_space = True
            case "hr":
                self._word("-" * 20)
                self._break(2)
            case "pre":
                self._preformatted += 1
            case "ul" | "ol":
                self._lists.append(1 if tag.name == "ol" else 0)
            case "li":
                self._item()

    def end(self, tag: _Tag) -> None:
        """An element is over."""
        match tag.name:
            case "a":
                self._end_link()
            case "pre":
                self._preformatted = max(0, self._preformatted - 1)
            case "ul" | "ol" if self._lists:
                self._lists.pop()
        self._edge(tag)

    def _edge(self, tag: _Tag) -> None:
        if tag.name in _PARAGRAPHS:
            is_inner_list = tag.name in ("ul", "ol") and len(self._lists) > 0
            self._break(1 if is_inner_list else 2)
        elif tag.name in _LINES:
            self._break(1)

    def _item(self) -> None:
        mark = "*"
        if self._lists and self._lists[-1]:
            mark = f"{self._lists[-1]}."
            self._lists[-1] += 1
        indent = "  " * min(max(len(self._lists) - 1, 0), _DEEPEST)
        self._word(f"{indent}{mark}")
        self._has_space = True

    def _end_link(self) -> None:
        link, text = self._link, "".join(self._link_text)
        self._link = ""
        self._link_text.clear()
        if link and text and link.removeprefix("mailto:").removeprefix("tel:") != text:
            self._has_space = True
            self._word(f"<{link}>")

    def finished(self) -> str:
        """The text, with a line end at its end."""
        self._end_link()
        made = "".join(self._out).replace("\xa0", " ")
        return made + "\n" if made else ""


_SPACE_CHARACTERS = " \t\n\r\f"
_SPACES = re.compile("[ \t\n\r\f]+")
