"""``MAILRELAY_...`` variables, which win over the file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from mailrelay.config.handoffs import override_handoffs
from mailrelay.config.read import Reader, sections_of
from mailrelay.config.settings import Settings
from mailrelay.config.transports import DOCKER_VARIABLES

ENVIRONMENT_PREFIX = "MAILRELAY_"
NOT_SETTINGS = frozenset({"CONFIG", "PASSWORD", "TEST"})
"""Variables with our prefix that are no settings."""


def override(table: dict[str, Any], environment: Mapping[str, str], reader: Reader) -> None:
    """Put ``MAILRELAY_SECTION_NAME`` into ``table``; values are read as TOML, else as text."""
    sections = sections_of(Settings)
    for name, value in sorted(environment.items()):
        rest = name.removeprefix(ENVIRONMENT_PREFIX)
        if rest == name or rest.split("_")[0] in NOT_SETTINGS or rest in NOT_SETTINGS:
            continue
        key = rest.lower()
        section = next((s for s in sections if key.startswith(f"{s}_")), None)
        target = table if section is None else table.setdefault(section, {})
        if not isinstance(target, dict):
            reader.problem(section or "", "must be a table")
            continue
        target[key if section is None else key.removeprefix(f"{section}_")] = _toml_value(value)
    relaying = {
        setting: environment[name]
        for name, setting in DOCKER_VARIABLES.items()
        if environment.get(name)
    }
    if relaying and isinstance(table.setdefault("relaying", {}), dict):
        table["relaying"].update(relaying)
    override_handoffs(table, environment)


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
