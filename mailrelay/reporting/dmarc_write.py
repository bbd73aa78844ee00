"""DMARC aggregate reports written (RFC 7489 appendix C)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from mailrelay.mailauth.dmarc_result import DMARCResult, PublishedPolicy
from mailrelay.reporting.model import AuthResult, DMARCReport, Reason, Row
from mailrelay.reporting.model import PublishedPolicy as Policy

_OVERRIDES = {
    *("forwarded", "sampled_out", "trusted_forwarder"),
    *("mailing_list", "local_policy", "other"),
}


def row_of(result: DMARCResult) -> Row:
    """What a report says of one message; its ``count`` is 1."""
    return Row(
        result.source_ip,
        1,
        result.disposition if result.disposition in ("quarantine", "reject") else "none",
        "pass" if result.is_dkim_aligned else "fail",
        "pass" if result.is_spf_aligned else "fail",
        result.header_from,
        result.envelope_from,
        result.envelope_to,
        tuple(Reason(_override(one.type), one.comment[:200]) for one in result.overrides),
        tuple(AuthResult(one.domain, one.result, one.selector) for one in result.dkim),
        tuple(AuthResult(one.domain, one.result, one.scope) for one in result.spf),
    )


def policy_of(published: PublishedPolicy) -> Policy:
    """The policy as a report tells it."""
    return Policy(
        published.domain,
        published.p,
        published.sp or "",
        published.np or "",
        published.adkim,
        published.aspf,
        published.pct,
    )


def written_dmarc(report: DMARCReport) -> bytes:
    """``report`` as XML."""
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *_feedback(report), ""]).encode()


def _feedback(report: DMARCReport) -> Iterator[str]:
    policy = report.policy
    yield "<feedback>"
    yield " <version>1.0</version>"
    yield " <report_metadata>"
    yield _element("  ", "org_name", report.organization)
    yield _element("  ", "email", report.email)
    if report.contact:
        yield _element("  ", "extra_contact_info", report.contact)
    yield _element("  ", "report_id", report.report_id)
    yield "  <date_range>"
    yield _element("   ", "begin", int(report.began_at))
    yield _element("   ", "end", int(report.ended_at))
    yield "  </date_range>"
    yield from (_element("  ", "error", text) for text in report.errors)
    yield " </report_metadata>"
    yield " <policy_published>"
    for name, value in (
        ("domain", policy.domain),
        ("adkim", policy.adkim),
        ("aspf", policy.aspf),
        ("p", policy.p),
        ("sp", policy.sp or policy.p),
        ("pct", policy.pct),
    ):
        yield _element("  ", name, value)
    yield " </policy_published>"
    for row in report.rows:
        yield from _record(row)
    yield "</feedback>"


def _record(row: Row) -> Iterator[str]:
    yield " <record>"
    yield "  <row>"
    yield _element("   ", "source_ip", row.source_ip)
    yield _element("   ", "count", row.count)
    yield "   <policy_evaluated>"
    yield _element("    ", "disposition", row.disposition)
    yield _element("    ", "dkim", row.dkim)
    yield _element("    ", "spf", row.spf)
    for reason in row.reasons:
        yield from _group("    ", "reason", [("type", reason.type), ("comment", reason.comment)])
    yield "   </policy_evaluated>"
    yield "  </row>"
    identities = [("envelope_to", row.envelope_to), ("envelope_from", row.envelope_from)]
    known = [one for one in identities if one[1]]
    yield from _group("  ", "identifiers", [*known, ("header_from", row.header_from)])
    yield "  <auth_results>"
    for one in row.dkim_results:
        dkim = [("domain", one.domain), ("selector", one.name), ("result", one.result)]
        yield from _group("   ", "dkim", dkim)
    for one in row.spf_results:
        spf = [("domain", one.domain), ("scope", one.name), ("result", one.result)]
        yield from _group("   ", "spf", spf)
    yield "  </auth_results>"
    yield " </record>"


def _group(indent: str, name: str, values: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"{indent}<{name}>"
    yield from (_element(f"{indent} ", key, value) for key, value in values)
    yield f"{indent}</{name}>"


def _element(indent: str, name: str, value: str | int) -> str:
    return f"{indent}<{name}>{escape(_printable(str(value)))}</{name}>"


def _printable(text: str) -> str:
    """Without what XML does not have: control characters, surrogates and the like."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _override(type_: str) -> str:
    return type_ if type_ in _OVERRIDES else "other"
