"""Reports of others are read as they are written, and hostile ones are refused cheaply."""

from __future__ import annotations

import contextlib
import gzip
import random
import re
import struct
import tracemalloc
import zipfile
import zlib
from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.reporting import dmarc_read, tls_read, unpack
from mailrelay.reporting.model import AuthResult, DMARCReport, MalformedReport, Reason, TLSReport
from mailrelay.reporting.reading import read_report, report_in
from tests.reporting.samples import NAMESPACED, OFFICE, TLS, WEBMAIL, letter, packed, zipped

DAY = 1767225600.0


def dmarc(data: bytes) -> DMARCReport:
    """``data`` as a report of mail."""
    report = read_report(data)
    assert isinstance(report, DMARCReport)
    return report


def tls(data: bytes) -> TLSReport:
    """``data`` as a report about TLS."""
    report = read_report(data)
    assert isinstance(report, TLSReport)
    return report


class DMARCTests(SynchronousTestCase):
    """Samples, whole and in parts."""

    def test_webmail(self) -> None:
        """Two sources, one of which was excused."""
        report = dmarc(WEBMAIL)
        self.assertEqual(
            (report.organization, report.report_id, report.began_at, report.ended_at),
            ("webmail.example", "10883374850934857021", DAY, DAY + 86399),
        )
        policy = report.policy
        self.assertEqual(
            (policy.domain, policy.p, policy.sp, policy.np, policy.pct),
            ("example.org", "quarantine", "reject", "reject", 100),
        )
        ours, other = report.rows
        self.assertEqual((ours.source_ip, ours.count, ours.is_aligned), ("192.0.2.10", 42, True))
        self.assertEqual(
            ours.dkim_results,
            (
                AuthResult("example.org", "pass", "r20260101"),
                AuthResult("example.org", "pass", "e20260101"),
            ),
        )
        self.assertEqual((other.source_ip, other.is_aligned), ("2001:db8::25", False))
        self.assertEqual(other.reasons, (Reason("local_policy", "arc=pass"),))
        self.assertEqual((report.succeeded, report.failed), (42, 3))

    def test_office(self) -> None:
        """Identities of the envelope, and a scope."""
        [row] = dmarc(OFFICE).rows
        self.assertEqual(
            (row.disposition, row.envelope_to, row.envelope_from, row.header_from),
            ("quarantine", "office.example", "bad.example", "example.org"),
        )
        self.assertEqual(row.spf_results, (AuthResult("bad.example", "fail", "mfrom"),))

    def test_namespaces(self) -> None:
        """The successor's, with prefixes, and elements that are empty, new or missing."""
        report = dmarc(NAMESPACED)
        [row] = report.rows
        self.assertEqual(
            (row.count, row.disposition, row.dkim, row.spf), (7, "pass", "pass", "fail")
        )
        self.assertEqual((row.header_from, row.envelope_from), ("news.example.org", ""))
        self.assertEqual(report.errors, ("DNS was slow",))
        self.assertEqual(
            (report.policy.p, report.policy.sp, report.policy.pct), ("reject", "", 100)
        )

    def test_alike_rows_are_one(self) -> None:
        """Counts of rows that say the same are added."""
        begin, record, end = OFFICE.partition(b"  <record>")[0], b"", b"</feedback>"
        record = OFFICE[len(begin) : OFFICE.index(end)]
        report = dmarc(begin + record * 5 + end)
        self.assertEqual([row.count for row in report.rows], [5])

    def test_too_many_rows(self) -> None:
        """What is beyond the bound is counted, and kept by nobody."""
        self.patch(dmarc_read, "MOST_ROWS", 1)
        report = dmarc(WEBMAIL)
        self.assertEqual((len(report.rows), report.left_out, report.failed), (1, 3, 0))

    def test_records_that_say_nothing(self) -> None:
        """A record without an address or count is left out, and its values are no other's."""
        for old, new in (
            (b"<source_ip>192.0.2.10</source_ip>", b""),
            (b"<count>42</count>", b"<count>many</count>"),
            (b"<count>42</count>", b"<count>" + b"9" * 5000 + b"</count>"),
        ):
            report = dmarc(WEBMAIL.replace(old, new))
            self.assertEqual([row.source_ip for row in report.rows], ["2001:db8::25"])
            self.assertGreater(report.left_out, 0)
            self.assertEqual(len(report.rows[0].dkim_results), 0)

    def test_without_what_is_needed(self) -> None:
        """Domain, id and dates must be there."""
        for name in (b"domain", b"report_id", b"begin", b"end"):
            broken = re.sub(b"<%s>.*?</%s>" % (name, name), b"", WEBMAIL, count=1)
            with self.assertRaisesRegex(MalformedReport, "lacks"):
                read_report(broken)

    def test_doctype(self) -> None:
        """No entity is expanded, none is fetched."""
        bomb = b'<?xml version="1.0"?><!DOCTYPE feedback [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        for start in (bomb, b'<!DOCTYPE feedback SYSTEM "file:///etc/passwd">'):
            with self.assertRaisesRegex(MalformedReport, "document type"):
                read_report(start + b"<feedback>&b;</feedback>")

    def test_hostile(self) -> None:
        """Depth, long tokens, other roots, other encodings, and what is cut."""
        for data, why in (
            (b"<feedback>" + b"<a>" * 100, "deep"),
            (b"<html></html>", "root"),
            (b"<feedback " + b"a" * 400_000 + b"='1'></feedback>", "too long"),
            (b"<!--" + b"a" * 400_000 + b"--><feedback/>", "too long"),
            (WEBMAIL[:-30], "well-formed"),
            (b"<?xml version='1.0' encoding='no-such'?><feedback/>", "well-formed"),
            (b"<feedback/>" * 2, "well-formed"),
            (b"", "well-formed"),
        ):
            with self.assertRaisesRegex(MalformedReport, why):
                read_report(data)

    def test_text_is_made_safe(self) -> None:
        """What people are shown is one line without what is invisible."""
        named = WEBMAIL.replace(
            b"<org_name>webmail", "<org_name>a\u202eb\n\x85c".encode() + b"x" * 9999
        )
        organization = dmarc(named).organization
        self.assertTrue(organization.isprintable())
        self.assertEqual(len(organization), 255)

    @given(st.integers(1, 500))
    def test_any_chunks(self, size: int) -> None:
        """However it is cut, it reads the same."""
        pieces = [WEBMAIL[at : at + size] for at in range(0, len(WEBMAIL), size)]
        self.assertEqual(dmarc_read.read_dmarc(pieces), dmarc(WEBMAIL))


class TLSTests(SynchronousTestCase):
    """Reports about TLS."""

    def test_sample(self) -> None:
        """Sessions and failures of a policy."""
        report = tls(TLS)
        [policy] = report.policies
        self.assertEqual((report.domain, report.succeeded, report.failed), ("example.org", 58, 3))
        self.assertEqual((report.began_at, report.ended_at), (DAY, DAY + 86399))
        self.assertEqual((policy.policy_type, policy.mx_hosts), ("sts", ("mx.example.org",)))
        expired, missing = policy.failures
        self.assertEqual((expired.result_type, expired.sessions), ("certificate-expired", 2))
        self.assertEqual((missing.reason, missing.sending_ip), ("454 4.7.0", "198.51.100.7"))

    def test_wrong_types(self) -> None:
        """What is of another type is as if it was not there."""
        odd = TLS.replace(b'["mx.example.org"]', b'"mx.example.org"').replace(b"58", b'"58"')
        odd = odd.replace(b'"failed-session-count": 2', b'"failed-session-count": -2')
        [policy] = tls(odd).policies
        self.assertEqual((policy.mx_hosts, policy.succeeded), (("mx.example.org",), 0))
        self.assertEqual(policy.failures[0].sessions, 0)

    def test_hostile(self) -> None:
        """Depth, numbers, many values, other JSON."""
        for data, why in (
            (b'{"a":' + b"[" * 50_000, "JSON"),
            (b'{"policies": 1' + b"0" * 5000 + b"}", "JSON"),
            (b'{"a":[' + b"[]," * 300_000, "too many"),
            (b"{}", "lacks"),
            (TLS.replace(b"2026-01-01T00:00:00Z", b"2026-13-01T00:00:00Z", 1), "lacks"),
            (TLS.replace(b'"example.org"', b'"no domain"'), "lacks"),
        ):
            with self.assertRaisesRegex(MalformedReport, why):
                read_report(data)
        with self.assertRaises(MalformedReport):
            tls_read.read_tls([b"[1]"])


class UnpackTests(SynchronousTestCase):
    """Compression, undone within bounds."""

    def test_ways(self) -> None:
        """Gzip, several members of it, zip deflated and stored, and nothing."""
        half = len(WEBMAIL) // 2
        for data in (
            packed(WEBMAIL),
            packed(WEBMAIL[:half]) + packed(WEBMAIL[half:]),
            zipped(WEBMAIL),
            zipped(WEBMAIL, stored=True),
            b"\xef\xbb\xbf" + WEBMAIL,
        ):
            self.assertEqual(dmarc(data), dmarc(WEBMAIL))
        self.assertEqual(tls(packed(TLS)), tls(TLS))

    def test_bombs(self) -> None:
        """What grows without end is left after ten megabytes, with little in memory."""
        small = zlib.compressobj(9, wbits=31)
        chunk = b" " * 1024 * 1024
        bomb = b"".join([*(small.compress(chunk) for _ in range(40)), small.flush()])
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for data in (bomb, zipped(chunk * 15), packed(b"{" + chunk * 15)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with self.assertRaisesRegex(MalformedReport, "too large"):
                read_report(data)
            self.assertLess(tracemalloc.get_traced_memory()[1] - before, 40 * 1024 * 1024)

    def test_blanks(self) -> None:
        """However much blank there is before a report, little of it is in memory."""
        blanks = packed(b" " * 9 * 1024 * 1024 + random.Random(1).randbytes(60_000))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        with self.assertRaises(MalformedReport):
            read_report(blanks)
        self.assertLess(tracemalloc.get_traced_memory()[1] - before, 4 * 1024 * 1024)
        self.assertEqual(tls(packed(b" " * 100_000 + TLS)), tls(TLS))

    def test_many_members(self) -> None:
        """Of gzip files, one after the other, a few are read: each copies those behind it."""
        with self.assertRaisesRegex(MalformedReport, "too many"):
            read_report(packed(WEBMAIL) + packed(b"") * 1000)

    def test_ratio(self) -> None:
        """A small bomb is stopped early."""
        with self.assertRaisesRegex(MalformedReport, "too large"):
            read_report(packed(b"<feedback>" + b" " * 1024 * 1024))
        self.assertLess(unpack.MOST_RATIO * 1500, 1024 * 1024)

    def test_broken(self) -> None:
        """What is cut, encrypted, of another method, or no file."""
        whole, file = packed(WEBMAIL), bytearray(zipped(WEBMAIL))
        encrypted, other = bytearray(file), bytearray(file)
        at = file.index(b"PK\x03\x04", 4)
        struct.pack_into("<H", encrypted, at + 6, 1)
        struct.pack_into("<H", other, at + 8, 12)
        nothing = BytesIO()
        with zipfile.ZipFile(nothing, "w") as archive:
            for number in range(20):
                archive.writestr(f"{number}/", b"")
        for data, why in (
            (whole[:-20], "breaks off"),
            (whole[:20], "breaks off"),
            (whole[:40] + b"\xff" * 20 + whole[60:], "cannot be undone|breaks off|well-formed"),
            (bytes(encrypted), "encrypted"),
            (bytes(other), "unknown method"),
            (nothing.getvalue(), "no file"),
            (b"PK\x03\x04", "no file"),
        ):
            with self.assertRaisesRegex(MalformedReport, why):
                read_report(data)


class LetterTests(SynchronousTestCase):
    """Messages that bring reports."""

    def test_any_part(self) -> None:
        """Whatever the part is called, and with no multipart around it."""
        for type_ in (
            "application/gzip",
            "application/octet-stream",
            "application/x-zip-compressed",
        ):
            report = report_in(letter(packed(WEBMAIL), type_))
            self.assertEqual(report, dmarc(WEBMAIL))
        told = report_in(letter(packed(TLS), "application/tlsrpt+gzip", "tlsrpt"))
        self.assertEqual(told, tls(TLS))
        bare = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        body = letter(zipped(WEBMAIL)).partition(b"base64\r\n\r\n")[2].partition(b"--b--")[0]
        self.assertEqual(report_in(bare + body), dmarc(WEBMAIL))

    def test_none(self) -> None:
        """Other mail, and a report that cannot be read."""
        with self.assertRaisesRegex(MalformedReport, "no part"):
            report_in(b"Subject: hello\r\n\r\n<feedback>\r\n")
        with self.assertRaisesRegex(MalformedReport, "no part"):
            report_in(letter(b"\x00\x01\x02"))
        with self.assertRaisesRegex(MalformedReport, "breaks off"):
            report_in(letter(gzip.compress(WEBMAIL)[:100]))

    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Nothing but the declared exception leaves."""
        for start in (b"", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"{", b"<feedback>", WEBMAIL[:700]):
            with contextlib.suppress(MalformedReport):
                report_in(letter(start + data))
