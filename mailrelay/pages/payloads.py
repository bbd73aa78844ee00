"""What webhook calls say, so that people can read it.  Pure."""

from __future__ import annotations

from contextlib import suppress

import msgspec


def payload_text(payload: bytes, most: int) -> str:
    """JSON with its values below each other; the beginning of what has more than ``most`` bytes."""
    if len(payload) <= most:
        with suppress(msgspec.DecodeError, RecursionError):
            payload = msgspec.json.format(payload, indent=2)
        return payload.decode("utf-8", "replace")
    return payload[:most].decode("utf-8", "replace")
