"""The configuration that the server runs with, for the administrator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from mailrelay.control.configuration import Configuration, Section
from mailrelay.pages.door import Asked, Doors
from mailrelay.web.request import Response, Route


@frozen
class ConfigPages:
    """``/admin/config``."""

    doors: Doors
    configuration: Callable[[], Configuration]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [self.doors.admin("/admin/config", self.show)]

    async def show(self, asked: Asked) -> Response:
        """Every setting, or those that are not as they are by default."""
        shown, only_set = self.configuration(), asked.value("only") == "set"
        sections = [_set_ones(one) for one in shown.sections] if only_set else shown.sections
        return self.doors.page(
            asked,
            "admin_config.html",
            file=shown.file,
            sections=[one for one in sections if one.settings],
            only_set=only_set,
        )


def _set_ones(section: Section) -> Section:
    return evolve(section, settings=[one for one in section.settings if not one.is_default])
