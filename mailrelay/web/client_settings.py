"""What mail programs are told of how to send, and how to read where there is something to read.

The documents are made of an address's domain and our own names.  The address itself is in two of
them, as it was asked with: each writer escapes what it is given.  Pure.
"""

from __future__ import annotations

import hashlib
import json
import plistlib
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from attrs import field, frozen

from mailrelay.smtp.address import Address

AUTODISCOVER_RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
OUTLOOK_RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"

IMPLICIT_TLS = (465, 993)


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class AutoconfigSettings:
    """``[autoconfig]``."""

    imap_host: str = field(
        default="",
        metadata=_doc("the IMAP server of your people, if there is one: programs are told of it"),
    )
    imap_port: int = field(default=993, metadata=_doc("993 is TLS from the start, else STARTTLS"))


@frozen
class Place:
    """A server that mail programs talk to, by TLS from the first byte or STARTTLS."""

    host: str
    port: int
    is_implicit: bool


@frozen
class ClientSettings:
    """How the mail of a domain is sent, best first, and read."""

    outgoing: tuple[Place, ...]
    incoming: Place | None = None


def thunderbird(domain: str, settings: ClientSettings) -> bytes:
    """Mozilla's config-v1.1.xml.

    Thunderbird wants an incoming server and makes no account without; others take what there is.
    """
    servers = [_mozilla("outgoing", "smtp", place) for place in settings.outgoing]
    if settings.incoming is not None:
        servers.insert(0, _mozilla("incoming", "imap", settings.incoming))
    name = escape(domain)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<clientConfig version="1.1">\n'
        f'  <emailProvider id="{name}">\n'
        f"    <domain>{name}</domain>\n"
        f"    <displayName>{name}</displayName>\n"
        f"    <displayShortName>{name}</displayShortName>\n"
        f"{''.join(servers)}"
        "  </emailProvider>\n"
        "</clientConfig>\n"
    ).encode()


def _mozilla(direction: str, type_: str, place: Place) -> str:
    return (
        f'    <{direction}Server type="{type_}">\n'
        f"      <hostname>{escape(place.host)}</hostname>\n"
        f"      <port>{place.port}</port>\n"
        f"      <socketType>{'SSL' if place.is_implicit else 'STARTTLS'}</socketType>\n"
        "      <username>%EMAILADDRESS%</username>\n"
        "      <authentication>password-cleartext</authentication>\n"
        f"    </{direction}Server>\n"
    )


def outlook(address: Address, settings: ClientSettings) -> bytes:
    """The answer to autodiscover.xml, of Outlook's own schema."""
    protocols = "".join(_protocol(address, "SMTP", place) for place in settings.outgoing[:1])
    if settings.incoming is not None:
        protocols = _protocol(address, "IMAP", settings.incoming) + protocols
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Autodiscover xmlns="{AUTODISCOVER_RESPONSE}">\n'
        f'  <Response xmlns="{OUTLOOK_RESPONSE}">\n'
        "    <Account>\n"
        "      <AccountType>email</AccountType>\n"
        "      <Action>settings</Action>\n"
        f"{protocols}"
        "    </Account>\n"
        "  </Response>\n"
        "</Autodiscover>\n"
    ).encode()


def _protocol(address: Address, type_: str, place: Place) -> str:
    values = {
        "Type": type_,
        "Server": place.host,
        "Port": str(place.port),
        "DomainRequired": "off",
        "LoginName": str(address),
        "SPA": "off",
        "SSL": "on",
        "Encryption": "SSL" if place.is_implicit else "TLS",
        "AuthRequired": "on",
    }
    lines = [f"        <{name}>{escape(text)}</{name}>\n" for name, text in values.items()]
    return f"      <Protocol>\n{''.join(lines)}      </Protocol>\n"


def outlook_refusal(code: int, text: str) -> bytes:
    """An answer that says why there are no settings."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Autodiscover xmlns="{AUTODISCOVER_RESPONSE}">\n'
        f'  <Response><Error Time="00:00:00" Id="0"><ErrorCode>{code}</ErrorCode>'
        f"<Message>{escape(text)}</Message><DebugData /></Error></Response>\n"
        "</Autodiscover>\n"
    ).encode()


def outlook_place(protocol: str, url: str) -> bytes | None:
    """The JSON that says where ``protocol`` is answered; None when it is not."""
    if protocol.lower() != "autodiscoverv1":
        return None
    return json.dumps({"Protocol": "AutodiscoverV1", "Url": url}).encode()


def apple(address: Address, settings: ClientSettings) -> bytes | None:
    """A profile for Apple's Mail, unsigned; None without an incoming server, which it must have."""
    if settings.incoming is None or not settings.outgoing:
        return None
    account = {
        **_payload("com.apple.mail.managed", f"mail.{address}", str(address)),
        "EmailAccountDescription": str(address),
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAddress": str(address),
        **dict(_apple("Incoming", settings.incoming, address)),
        **dict(_apple("Outgoing", settings.outgoing[0], address)),
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    profile = {
        **_payload("Configuration", f"profile.{address}", f"Mail of {address}"),
        "PayloadContent": [account],
        "PayloadRemovalDisallowed": False,
    }
    return plistlib.dumps(profile)


def _apple(which: str, place: Place, address: Address) -> Iterator[tuple[str, object]]:
    server = f"{which}MailServer"
    yield f"{server}HostName", place.host
    yield f"{server}PortNumber", place.port
    yield f"{server}UseSSL", True
    yield f"{server}Username", str(address)
    yield f"{server}Authentication", "EmailAuthPassword"


def _payload(type_: str, identifier: str, name: str) -> Mapping[str, object]:
    return {
        "PayloadType": type_,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"mailrelay.{identifier}",
        "PayloadUUID": _uuid(identifier),
        "PayloadDisplayName": name,
    }


def _uuid(identifier: str) -> str:
    """The same for the same: a profile replaces the one before (RFC 9562 section 5.8)."""
    digits = hashlib.sha256(identifier.encode()).hexdigest()
    parts = (digits[:8], digits[8:12], f"8{digits[13:16]}", f"8{digits[17:20]}", digits[20:32])
    return "-".join(parts).upper()
