"""What types cannot say of ``[reports]``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailrelay.reporting.settings import ReportSettings
from mailrelay.smtp.address import Address, MalformedAddress, normal_domain

_MOST_CHARACTERS = 255


def check_reports(reports: ReportSettings, problem: Callable[[str, str], None]) -> None:
    """Tell ``problem`` what is wrong, and where."""
    domains: Sequence[tuple[str, str]] = [
        *([("domain", reports.domain)] if reports.domain else ()),
        *((f"suppress[{number}]", name) for number, name in enumerate(reports.suppress, 1)),
    ]
    for name, domain in domains:
        try:
            if normal_domain(domain) != domain:
                problem(f"reports.{name}", f"write it as {normal_domain(domain)}")
        except MalformedAddress:
            problem(f"reports.{name}", f"{domain!r} is not a domain")
    for name, text in (("organization", reports.organization), ("contact", reports.contact)):
        if not text.isprintable() or len(text) > _MOST_CHARACTERS:
            problem(f"reports.{name}", f"must be one line of at most {_MOST_CHARACTERS} characters")
    for number, text in enumerate(reports.receive_at, 1):
        try:
            Address.parse(text if "@" in text else f"{text}@example.org")
        except MalformedAddress:
            problem(f"reports.receive_at[{number}]", f"{text!r} is no localpart and no address")
    if reports.keep_after <= 0:
        problem("reports.keep_after", "must be more than 0 seconds")
    if reports.most < 1:
        problem("reports.most", "must be at least 1")
