"""``[[handoff]]``, ``[[handoff_in]]`` and ``[handoff_relay]``, completed and checked.

``PSK``, ``DOMAIN`` and ``SMTP_CLIENT_...`` are the names that pipelines around mailx have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from mailrelay.config.read import Reader, check_networks, from_file
from mailrelay.handoff.endpoints import HandOffInSettings, problems_of_endpoint, problems_together
from mailrelay.handoff.settings import JSON, HandOffSettings, handed_off, problems_of

if TYPE_CHECKING:
    from mailrelay.config.settings import Settings

RELAY_VARIABLES = {
    "SMTP_CLIENT_HOST": "host",
    "SMTP_CLIENT_PORT": "port",
    "SMTP_CLIENT_USER": "username",
    "SMTP_CLIENT_PASSWORD": "password",
}


def override_handoffs(table: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put what ``environment`` says into ``table``; DOMAIN counts along with PSK alone."""
    if environment.get("PSK"):
        _override_endpoint(table, environment["PSK"], environment.get("DOMAIN", ""))
    if environment.get("SMTP_CLIENT_HOST"):
        section = table.setdefault("handoff_relay", {})
        if isinstance(section, dict):
            _override_relay(section, environment)


def _override_endpoint(table: dict[str, Any], token: str, domains: str) -> None:
    sections = table.setdefault("handoff_in", [{"name": "psk"}])
    if not isinstance(sections, list) or not sections or not isinstance(sections[0], dict):
        return  # which is told as the problem that it is
    first = sections[0]
    tokens = first.get("tokens", [])
    first["tokens"] = [*tokens, token] if isinstance(tokens, list) else tokens
    named = domains.replace(",", " ").split()
    if named:
        first["domains"] = named


def _override_relay(section: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, setting in RELAY_VARIABLES.items():
        if given := environment.get(name):
            is_number = setting == "port" and given.isascii() and given.isdigit()
            section[setting] = int(given[:20]) if is_number else given
    if section.get("username"):
        section.setdefault("tls", "verify")  # a password is for nobody but its host
    elif section.get("port") == 587:
        section.setdefault("tls", "encrypt")


def completed_handoffs(
    sections: Sequence[HandOffSettings], reader: Reader, base: Path
) -> Sequence[HandOffSettings]:
    """Paths made absolute, tokens read from their files."""
    return tuple(
        evolve(
            section,
            token=from_file(
                section.token, section.token_file, reader, base, f"handoff[{number}].token"
            ),
            sign_key=from_file(
                section.sign_key, section.sign_key_file, reader, base, f"handoff[{number}].sign_key"
            ),
            trusted_ca=str(base / section.trusted_ca) if section.trusted_ca else "",
        )
        for number, section in enumerate(sections, 1)
    )


def completed_endpoints(
    sections: Sequence[HandOffInSettings], reader: Reader, base: Path
) -> Sequence[HandOffInSettings]:
    """Tokens read from their files; an empty one is nobody's."""
    return tuple(
        evolve(section, tokens=_tokens(section, reader, base, f"handoff_in[{number}]"))
        for number, section in enumerate(sections, 1)
    )


def _tokens(section: HandOffInSettings, reader: Reader, base: Path, place: str) -> Sequence[str]:
    of_files = [
        from_file("", file, reader, base, f"{place}.token").strip() for file in section.token_files
    ]
    return tuple(token for token in (*section.tokens, *of_files) if token)


def handoff_files(settings: Settings) -> Iterator[str]:
    """The files that hold their secrets, as they are named."""
    relay = settings.handoff_relay
    yield from (file for section in settings.handoff_in for file in section.token_files)
    yield from (section.token_file for section in settings.handoff if section.token_file)
    if relay is not None and relay.password_file:
        yield relay.password_file


def check_handoffs(settings: Settings, reader: Reader) -> None:
    """What types cannot say, of both directions."""
    _check_out(settings.handoff, reader)
    for number, out in enumerate(settings.handoff, 1):
        if out.body == JSON and not settings.http.public_url:
            said = "needs http.public_url, where the links to attachments begin"
            reader.problem(f"handoff[{number}].body", said)
    for number, section in enumerate(settings.handoff_in, 1):
        for setting, text in problems_of_endpoint(section):
            reader.problem(f"handoff_in[{number}].{setting}", text)
        check_networks(f"handoff_in[{number}].networks", section.networks, reader)
    for number, setting, text in problems_together(settings.handoff_in):
        reader.problem(f"handoff_in[{number}].{setting}", text)
    relay = settings.handoff_relay
    if relay is not None and not all(part.strip() for part in relay.host.split(",")):
        reader.problem("handoff_relay.host", "must be hosts with commas between them")
    if relay is not None and bool(relay.username) != bool(relay.password):
        reader.problem("handoff_relay.username", "needs a password, and a password needs it")


def _check_out(sections: Sequence[HandOffSettings], reader: Reader) -> None:
    names: set[str] = set()
    taken: set[str] = set()
    for number, section in enumerate(sections, 1):
        problems = list(problems_of(section))
        for setting, text in problems:
            reader.problem(f"handoff[{number}].{setting}", text)
        if section.name in names:
            reader.problem(f"handoff[{number}].name", f"{section.name!r} is another one's, too")
        names.add(section.name)
        for key in () if problems else handed_off([section]):
            if key in taken:
                reader.problem(f"handoff[{number}]", f"another one takes mail for {key}, too")
            taken.add(key)
        check_networks(f"handoff[{number}].allowed_networks", section.allowed_networks, reader)
