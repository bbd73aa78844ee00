"""Destinations, as the administrator sees them and has them tried again."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from attrs import frozen

from mailrelay.control.destinations import BY_MX, LiveControl
from mailrelay.control.errors import NoSuch
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.web.request import Response, Route

LIST = "/admin/destinations"
COUNTED = 10_000
"""Entries of which the domains are counted."""

DOMAINS = 50
LONGEST_KEY = 1000
SENTENCES = {"resumed": "Its failures are forgotten: what is due is tried now."}
TONES = {"backing off": "bad", "failing": "bad", "limited": "warn", "open": "good"}


@frozen
class DestinationPages:
    """``/admin/destinations``.  ``control`` is for whoever is named in the audit."""

    doors: Doors
    control: Callable[[str], LiveControl]

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            self.doors.admin(LIST, self.list),
            self.doors.admin(f"{LIST}/{{key}}", self.show),
            self.doors.admin_form(f"{LIST}/{{key}}", self.change),
        ]

    async def list(self, asked: Asked) -> Response:
        """Those in memory, and what the store has for which domain."""
        control = self.control(asked.actor)
        return self.doors.page(
            asked,
            "admin_destinations.html",
            live=control.all()[:200],
            counted=await control.destinations.domains(COUNTED, DOMAINS),
            tones=TONES,
            path_of=path_of,
            by_mx=BY_MX,
        )

    async def show(self, asked: Asked) -> Response:
        """One of them, whether anything of it is in memory or not."""
        key = _key(asked)
        domain = key.removeprefix(BY_MX).partition(":")[0] if key.startswith(BY_MX) else ""
        return self.doors.page(
            asked,
            "admin_destination.html",
            done=asked.done(SENTENCES),
            one=self.control(asked.actor).get(key),
            domain=domain,
            path=path_of(key),
            tones=TONES,
        )

    async def change(self, asked: Asked) -> Response:
        """Forget that its host failed; with ``retry`` have all that waits for it tried."""
        key, action = _key(asked), asked.value("action")
        control = self.control(asked.actor)
        if action == "resume":
            await control.resume(key)
            return see_other(link(path_of(key), done="resumed"))
        if action != "retry":
            raise NoSuch("that is nothing that can be done with a destination")
        work = await control.try_now(key)
        return see_other(f"/admin/works/{work.id}")


def path_of(key: str) -> str:
    """Where a destination is shown."""
    return f"{LIST}/{quote(key, safe='')}"


def _key(asked: Asked) -> str:
    key = asked.request.params["key"]
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise NoSuch("there is no such destination")
    return key
