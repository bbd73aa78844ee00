"""Writing a message in plain text; and, in a localserve, to addresses that simulate failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from attrs import field, frozen

from mailrelay.directory.model import Account, Directory
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.web.request import Response, Route

MOST_CHARACTERS = 100_000
SUBJECT = "A test message"
TEXT = "This message was sent from a page of mailrelay.\n"

SIMULATED: Sequence[tuple[str, str]] = (
    ("you@example.org", "is delivered"),
    ("x-temperror@localhost", "is delayed: 451 at every attempt"),
    ("x-permerror@localhost", "fails: 550"),
    ("x421@localhost", "is delayed: 421; any code from 400 to 599 will do"),
    ("x552@localhost", "fails: 552"),
    ("x-timeout@localhost", "is answered after an hour"),
)
"""Addresses for a localserve, and what becomes of a message to each (policy/simulated)."""


@frozen
class Letter:
    """What was written into the form."""

    from_: str = ""
    to: str = ""
    subject: str = SUBJECT
    text: str = field(default=TEXT, repr=False)


class NotSent(Exception):
    """The letter cannot be sent as it is: the text says why."""


@frozen
class WritePages:
    """``/write``.  ``send`` gives the message's number; it raises NotSent."""

    doors: Doors
    directory: Callable[[], Directory]
    send: Callable[[Account, str, Letter], Awaitable[int]]
    simulates: bool

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/write", self.show),
            self.doors.account_form("/write", self.take),
        ]

    async def show(self, asked: Asked) -> Response:
        """The form; ``to`` and ``subject`` may be in the query, for an answer."""
        to, subject = asked.value("to"), asked.value("subject")
        text = "" if to else TEXT
        return self._form(asked, Letter("", to, subject or ("" if to else SUBJECT), text))

    async def take(self, asked: Asked) -> Response:
        """Send it, and go on to its timeline."""
        text = asked.value("text")[:MOST_CHARACTERS].replace("\r\n", "\n") + "\n"
        letter = Letter(asked.value("from"), asked.value("to"), asked.value("subject"), text)
        try:
            id_ = await self.send(asked.account, asked.request.peer_ip, letter)
        except NotSent as problem:
            return self._form(asked, letter, str(problem), 422)
        return see_other(f"/sent/{id_}")

    def _form(self, asked: Asked, letter: Letter, problem: str = "", status: int = 200) -> Response:
        own = self.directory().addresses_of(asked.account)
        addresses = [one for one in own if one[:1] != "@"]
        return self.doors.page(
            asked,
            "write.html",
            status,
            addresses=addresses,
            letter=letter,
            problem=problem,
            simulated=SIMULATED if self.simulates else (),
            text=TEXT,
            subject=SUBJECT,
        )
