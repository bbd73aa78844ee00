"""Targets: reports of others, and where records want ours."""

from __future__ import annotations

import gzip
from contextlib import suppress
from random import Random

from mailrelay.reporting.destinations import MOST_DESTINATIONS, destinations_in
from mailrelay.reporting.dmarc_read import MOST_ROWS, read_dmarc
from mailrelay.reporting.dmarc_write import written_dmarc
from mailrelay.reporting.model import MalformedReport, TLSReport
from mailrelay.reporting.reading import read_report, report_in
from mailrelay.reporting.tls_read import read_tls
from mailrelay.reporting.tls_write import written_tls
from tests.fuzz.generators import cut, damaged, grown
from tests.reporting.samples import NAMESPACED, OFFICE, TLS, WEBMAIL, letter, zipped

XML = (
    *(b"<feedback>", b"</feedback>", b"<record>", b"</record>", b"<row>", b"</row>", b"<a/>"),
    *(b"<source_ip>192.0.2.1</source_ip>", b"<count>7</count>", b"<count>99999999999999999999"),
    *(b"<auth_results>", b"<dkim>", b"</dkim>", b"<spf>", b"<reason>", b"&amp;", b"&#0;", b"&x;"),
    *(b"<!DOCTYPE feedback>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<?xml version='1.0'?>"),
    *(b"<x:feedback xmlns:x='y'>", b"\xff\xfe", b"\x00", "é".encode(), b"xmlns='u'"),
)
JSON = (
    *(
        b'{"policies":',
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"policy":',
        b'"summary":',
        b"null",
        b"1e400",
    ),
    *(b'"policy-domain":"example.org"', b'"total-failure-session-count":', b"99999999999999999999"),
    *(b'"date-range":', b'"start-datetime":"2026-01-01T00:00:00+99:99"', b"true", b'"\\ud800"'),
)
RUA = (
    *(b"mailto:", b"https://", b"a@b.example", b",", b"!", b"10m", b"?subject=x", b"%0d", b" "),
    *(b"[::1]", b":", b"/", b"xn--", "ü".encode(), b"\x00", b"!!", b"99999999999999t"),
)


def aggregate(random: Random) -> None:
    """XML: in any pieces it reads the same, and what we write of it again."""
    sample = random.choice((WEBMAIL, OFFICE, NAMESPACED))
    data = damaged(random, sample) if random.random() < 0.7 else grown(random, XML, 40)
    with suppress(MalformedReport):
        report = read_dmarc([data])
        assert len(report.rows) <= MOST_ROWS
        assert report.succeeded + report.failed == sum(row.count for row in report.rows)
        assert read_dmarc(cut(random, data)) == report
        again = read_dmarc([written_dmarc(report)])
        assert again.rows == report.rows


def tls_report(random: Random) -> None:
    """JSON, and what we write of it again."""
    data = damaged(random, TLS) if random.random() < 0.7 else grown(random, JSON, 40)
    with suppress(MalformedReport):
        report = read_tls([data])
        assert report.domain
        assert read_tls([written_tls(report)]) == report


def report_mail(random: Random) -> None:
    """Files and mail that bring them: what is declared leaves, and nothing else."""
    inner = random.choice((WEBMAIL, TLS))
    packed = random.choice((gzip.compress(inner, 1), zipped(inner), inner))
    data = damaged(random, packed)
    with suppress(MalformedReport):
        assert isinstance(read_report(data), TLSReport) in (True, False)
    with suppress(MalformedReport):
        report_in(damaged(random, letter(data)))


def rua(random: Random) -> None:
    """Where reports go: what is found can stand in a command, or a request."""
    usual = random.choice((b"", b"mailto:a@b.example", b"https://b.example/x", b"mailto:"))
    found = destinations_in((usual + grown(random, RUA, 8)).decode("utf-8", "replace"))
    assert len(found) <= MOST_DESTINATIONS
    for one in found:
        assert str(one).isprintable()
        assert (one.address is None) != (one.url is None)
        assert one.domain
