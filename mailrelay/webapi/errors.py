"""What a method answers instead of a result."""

from __future__ import annotations


class APIError(Exception):
    """A failed call; ``code`` is for programs, ``message`` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def user_error(message: str) -> APIError:
    """A mistake of the caller's without a code of its own."""
    return APIError("user", message)
