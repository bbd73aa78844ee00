"""How commands tell by which alias something came."""

from __future__ import annotations

from collections.abc import Iterable

from mailrelay.control.came_by import came_by
from mailrelay.directory.model import Directory
from mailrelay.queue.entry import Entry
from mailrelay.service.controls import Control


def directory_for(control: Control, entries: Iterable[Entry]) -> Directory:
    """What is asked about ``entries``; it is read only where there is something to ask."""
    if all(entry.alias is None for entry in entries):
        return Directory({}, {}, {})
    return control.routes.router.directory()


def alias_object(directory: Directory, entry: Entry) -> dict[str, object]:
    """For programs; nothing of what was written to its recipient."""
    found = came_by(directory, entry)
    if found is None:
        return {"alias": None, "alias_is": None, "member": None}
    member = str(found.member) if found.member is not None else None
    return {"alias": str(found.address), "alias_is": found.kind.value, "member": member}


def alias_properties(directory: Directory, entry: Entry) -> dict[str, object]:
    """For people; None where there is nothing to tell."""
    found = came_by(directory, entry)
    if found is None:
        return {"alias": None, "member": None}
    member = found.member.unicode if found.member is not None else "none: it is thrown away"
    return {"alias": found.words, "member": member}
