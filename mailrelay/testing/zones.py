"""Zone files as a test's name server has them."""

from __future__ import annotations

import dns.rdatatype
import dns.zone


def records_of_zone(text: str) -> dict[str, dict[str, list[str]]]:
    """The records of a zone file whose names are whole, read as name servers read it."""
    zone = dns.zone.from_text(text, ".", relativize=False, check_origin=False)
    records: dict[str, dict[str, list[str]]] = {}
    for name, _, record in zone.iterate_rdatas():
        own = records.setdefault(name.to_text(omit_final_dot=True).lower(), {})
        own.setdefault(dns.rdatatype.to_text(record.rdtype), []).append(record.to_text())
    return records
