"""``[tls]`` and ``[acme]``."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

HTTP_01, TLS_ALPN_01 = "http-01", "tls-alpn-01"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
AUTO = "auto"


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class TLSPairSection:
    """One of ``[tls] certificates``."""

    certificate: str = field(metadata=_doc("PEM file, chain included"))
    private_key: str = field(metadata=_doc("PEM file, readable by its owner only"))


@frozen
class TLSSection:
    """``[tls]``."""

    certificate: str = field(default="", metadata=_doc("PEM file, chain included"))
    private_key: str = field(default="", metadata=_doc("PEM file, readable by its owner only"))
    certificates: Sequence[TLSPairSection] = field(
        factory=tuple, metadata=_doc("more of them, for clients that ask for a name they have")
    )
    directory: str = field(
        default="",
        metadata=_doc("more of them: NAME/fullchain.pem with NAME/privkey.pem, or NAME.pem"),
    )
    warn_days: float = field(
        default=14.0, metadata=_doc("days before its end from which a certificate is an alarm")
    )


@frozen
class ACMESettings:
    """``[acme]``: certificates are ordered and renewed by the server."""

    terms_agreed: bool = field(
        default=False, metadata=_doc("true says that you agree to the terms of the authority")
    )
    contact: str = field(default="", metadata=_doc("your address, for the authority"))
    directory: str = field(
        default=LETS_ENCRYPT, metadata=_doc("the authority's directory; Let's Encrypt's if unset")
    )
    names: Sequence[str] = field(
        default=(AUTO,),
        metadata=_doc(
            "host names to have certificates for; auto is hostname, and of each domain served"
            " those of mta-sts, autoconfig and autodiscover that resolve to its addresses"
        ),
    )
    challenge: str = field(
        default=TLS_ALPN_01,
        metadata=_doc("tls-alpn-01 (an https listener at 443) or http-01 (an http one at 80)"),
    )
    key_is_kept: bool = field(
        default=True, metadata=_doc("renew with the same key, so that TLSA records stay right")
    )
    eab_kid: str = field(
        default="", metadata=_doc("the key's name in an external account binding (EAB)")
    )
    eab_key: str = field(default="", metadata=_doc("the EAB's MAC key, in base64url"))
    eab_key_file: str = field(default="", metadata=_doc("a file whose first line it is, instead"))
    ca_file: str = field(
        default="", metadata=_doc("PEM file of who signs the directory's certificate; for tests")
    )
    orders_per_hour: int = field(default=20, metadata=_doc("orders in an hour at the most"))
