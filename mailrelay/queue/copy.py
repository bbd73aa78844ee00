"""One recipient's copy of a message, where it differs from the others'."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from mailrelay.message.edit import Edit
from mailrelay.queue.entry import Content


async def copy_of(
    content: Content,
    edit: Edit | None,
    read_spool: Callable[[str, int, int], Deferred[bytes]],
) -> Content:
    """``content`` as the copy with ``edit`` has it; of a large body only the start is read."""
    if edit is None:
        return content
    read = edit.reads_bytes
    rest, start = content.body, b""
    if rest is not None:
        start, rest = rest[:read], rest[read:]
    elif read:
        assert content.spool_name is not None
        start = await read_spool(content.spool_name, 0, read)
    return Content(
        edit.front + content.prefix + edit.edited(start),
        rest,
        content.spool_name,
        content.body_size_bytes - read,
        content.body_from + read,
    )
