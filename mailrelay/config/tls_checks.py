"""``[tls]`` and ``[acme]``: paths made absolute, and what types cannot say."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import evolve

from mailrelay.certificates.held import Place
from mailrelay.certificates.settings import (
    AUTO,
    HTTP_01,
    TLS_ALPN_01,
    ACMESettings,
    TLSPairSection,
    TLSSection,
)
from mailrelay.config.read import Reader, from_file
from mailrelay.config.settings import Settings
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.net.privileges import user_id
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

MOST_ACME_NAMES = 1000

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*=*")


def completed_tls(tls: TLSSection, base: Path) -> TLSSection:
    """With absolute paths."""
    if tls.certificate and tls.private_key:
        tls = evolve(
            tls,
            certificate=str(base / tls.certificate),
            private_key=str(base / tls.private_key),
        )
    others = [
        TLSPairSection(str(base / one.certificate), str(base / one.private_key))
        for one in tls.certificates
    ]
    directory = str(base / tls.directory) if tls.directory else ""
    return evolve(tls, certificates=tuple(others), directory=directory)


def completed_acme(acme: ACMESettings | None, reader: Reader, base: Path) -> ACMESettings | None:
    """With absolute paths, and the key from its file."""
    if acme is None:
        return None
    place = "acme.eab_key"
    return evolve(
        acme,
        eab_key=from_file(acme.eab_key, acme.eab_key_file, reader, base, place).strip(),
        ca_file=str(base / acme.ca_file) if acme.ca_file else "",
    )


def has_certificates(settings: Settings) -> bool:
    """Whether listeners have something to show."""
    tls = settings.tls
    return bool(tls.certificate or tls.certificates or settings.acme)


def check_tls(settings: Settings, reader: Reader) -> None:
    """Note the problems of both sections."""
    tls = settings.tls
    if bool(tls.certificate) != bool(tls.private_key):
        reader.problem("tls", "certificate and private_key go together")
    if settings.acme is not None:
        _check_acme(settings.acme, settings, reader)


def _check_acme(acme: ACMESettings, settings: Settings, reader: Reader) -> None:
    if not acme.terms_agreed:
        text = "read the authority's terms, then say terms_agreed = true; or take [acme] out"
        reader.problem("acme.terms_agreed", text)
    roles = {TLS_ALPN_01: "https", HTTP_01: "http"}
    role = roles.get(acme.challenge)
    if role is None:
        reader.problem("acme.challenge", f"must be one of {', '.join(roles)}")
    elif not any(one.role == role for one in settings.listener):
        text = f"{acme.challenge} needs a [[listener]] with role {role} that the authority reaches"
        reader.problem("acme.challenge", text)
    _check_names(acme, reader)
    _check_binding(acme, reader)
    if acme.orders_per_hour < 1:
        reader.problem("acme.orders_per_hour", "must be at least 1")
    try:
        if acme.contact:
            Address.parse(acme.contact)
    except MalformedAddress as error:
        reader.problem("acme.contact", f"{acme.contact!r} is no address: {error}")
    try:
        if not acme.directory.startswith("https://"):
            raise UnusableURL("it must begin with https://")
        parse_url(acme.directory)
    except UnusableURL as error:
        reader.problem("acme.directory", str(error))
    if acme.ca_file and not Path(acme.ca_file).is_file():
        reader.problem("acme.ca_file", f"there is no file {acme.ca_file}")


def _check_names(acme: ACMESettings, reader: Reader) -> None:
    if not 1 <= len(acme.names) <= MOST_ACME_NAMES:
        reader.problem("acme.names", f"must be 1 to {MOST_ACME_NAMES} names, or auto")
    for number, name in enumerate(acme.names, 1):
        place = f"acme.names[{number}]"
        if name == AUTO:
            continue
        try:
            if normal_domain(name) != name.lower() or "." not in name:
                reader.problem(place, f"write it whole, as {normal_domain(name)}")
        except MalformedAddress:
            text = f"{name!r} is no host name; for one with * set a file in [tls] certificates"
            reader.problem(place, text)


def _check_binding(acme: ACMESettings, reader: Reader) -> None:
    if bool(acme.eab_kid) != bool(acme.eab_key):
        reader.problem("acme.eab_kid", "goes together with eab_key, or eab_key_file")
    if not _BASE64URL.fullmatch(acme.eab_key):
        reader.problem("acme.eab_key", "is not base64url")


def place_of(settings: Settings) -> Place:
    """Where the files are; the server's user may own keys, and so may who looks at them."""
    owner = user_id(settings.run_as) if settings.run_as else None
    owners = () if owner is None else (owner,)
    return Place.of(settings.tls, settings.data_dir, *owners)
