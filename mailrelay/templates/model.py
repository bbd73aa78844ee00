"""Templates as they are kept, and what is made with them."""

from __future__ import annotations

import re

from attrs import asdict, frozen

from mailrelay.message.words import CONTROLS

MOST_SOURCE_CHARACTERS = 256 * 1024
MOST_SUBJECT_CHARACTERS = 2000
MOST_TEMPLATES = 500
"""Of one account."""

MOST_VERSIONS = 100
MOST_KEPT_CHARACTERS = 4 * 1024 * 1024
"""Of all versions of one template: the oldest go when there are more, of either."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/@+-]{0,99}")

PARTS = ("subject", "text", "html")


class BadTemplate(Exception):
    """This cannot be a template.  ``part`` is one of PARTS; ``line`` is 0 where there is none."""

    def __init__(self, part: str, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}" if line else text)
        self.part, self.line = part, line


class CannotRender(Exception):
    """With these variables a template makes no message.

    ``variable`` is the name of one that is missing, or empty.
    """

    def __init__(self, part: str, line: int, text: str, variable: str = "") -> None:
        place = f"{part}, line {line}" if line else part
        super().__init__(f"{place}: {text}" if part else text)
        self.part, self.line, self.variable = part, line, variable


@frozen
class Source:
    """What a template says; a part that is empty is not there."""

    subject: str = ""
    text: str = ""
    html: str = ""

    def check(self) -> None:
        """Raises: BadTemplate, for what cannot be stored or is no template at all."""
        for part, source in asdict(self).items():
            most = MOST_SUBJECT_CHARACTERS if part == "subject" else MOST_SOURCE_CHARACTERS
            if len(source) > most:
                raise BadTemplate(part, 0, f"is longer than {most} characters")
            found = _UNSTORABLE.search(source)
            if found is not None:
                line = source.count("\n", 0, found.start()) + 1
                said = f"has the control character U+{ord(found.group()):04X}"
                raise BadTemplate(part, line, said)
        if CONTROLS.search(self.subject):
            raise BadTemplate("subject", 0, "must be one line, without control characters")
        if not self.text and not self.html:
            raise BadTemplate("text", 0, "at least one of text and html must be there")


_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@frozen
class Written:
    """A message's subject and bodies, made of a template."""

    subject: str
    text: str
    html: str


@frozen
class Template:
    """A template of an account.  ``version`` is its newest.  Times are since the epoch."""

    id: int
    account_id: int
    name: str
    created_at: float
    version: int


@frozen
class Version:
    """What a template said from ``created_at`` on; it never changes."""

    template_id: int
    version: int
    created_at: float
    source: Source
