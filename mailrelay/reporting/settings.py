"""``[reports]`` of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@frozen
class ReportSettings:
    """What is reported to others, and what of theirs is read."""

    send_dmarc: bool = field(
        default=True, metadata=_doc("tell domains daily what was judged of mail in their name")
    )
    send_tls: bool = field(
        default=True, metadata=_doc("tell domains daily how TLS went with their hosts")
    )
    domain: str = field(
        default="",
        metadata=_doc(
            "whose reports they are, and where they are from: one of ours that has DKIM keys;"
            " empty: the one that hostname is in"
        ),
    )
    organization: str = field(
        default="", metadata=_doc("what the reports call us; empty: the domain")
    )
    contact: str = field(
        default="", metadata=_doc("in the reports: an address or a page for questions about them")
    )
    suppress: Sequence[str] = field(
        factory=tuple, metadata=_doc("domains that get no reports, nor do addresses in them")
    )
    receive_at: Sequence[str] = field(
        default=("dmarc-reports", "tls-reports"),
        metadata=_doc(
            "localparts of our domains, or whole addresses, whose mail is read for reports; by"
            " default dmarc-reports and tls-reports, which are postmaster's where nobody has them"
        ),
    )
    receive_https: bool = field(
        default=False,
        metadata=_doc("take reports about TLS by POST at /tlsrpt, on listeners with webapi"),
    )
    keep_after: float = field(
        default=400 * 86400.0,
        metadata=_doc("seconds for which reports of others, and the list of ours, are kept"),
    )
    most: int = field(
        default=20_000, metadata=_doc("reports of others that are kept; verified ones longer")
    )
