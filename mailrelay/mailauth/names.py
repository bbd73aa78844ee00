"""Domain names as authentication compares them.  Pure."""

from __future__ import annotations


def is_domain(name: str) -> bool:
    """Whether DNS can be asked for ``name``: of several labels, none empty or too long."""
    labels = name.removesuffix(".").split(".")
    is_long = len(name) > 253 or any(not 0 < len(label) < 64 for label in labels)
    return len(labels) > 1 and not is_long


def is_within(name: str, domain: str) -> bool:
    """Whether ``name`` is ``domain`` or below it."""
    name, domain = name.lower().rstrip("."), domain.lower().rstrip(".")
    return name == domain or name.endswith(f".{domain}")
