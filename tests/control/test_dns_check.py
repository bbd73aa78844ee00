"""What is to be published, and what a check says of what is, over records in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dns.rdata
import dns.zone
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.dns_check import DNSControl
from mailrelay.control.dns_finding import CheckReport, Finding, Status
from mailrelay.control.dns_records import (
    MailHost,
    Need,
    Record,
    ReportAddresses,
    Topic,
)
from mailrelay.control.dns_zone import presented, quoted, zone_text
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.dkim import KeyState, StoredKey
from mailrelay.directory.model import Directory, DMARCPolicy, Domain, MTASTSMode
from mailrelay.mailauth.dkim import Algorithm
from mailrelay.mailauth.dkim_sign import SigningKey, new_key
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.testing.fake_dns import FakeDNS

IPV4, IPV6 = "192.0.2.25", "2001:db8::25"
POINTER = "25.2.0.192.in-addr.arpa"
HOST = MailHost(
    "mail.example.org",
    addresses=(IPV4, IPV6),
    submission_port=587,
    submissions_port=465,
    autoconfig_port=443,
)


def key(selector: str, state: KeyState = KeyState.ACTIVE) -> StoredKey:
    """A key of example.org."""
    record = SigningKey("example.org", selector, new_key(Algorithm.ED25519)).record()
    return StoredKey("example.org", selector, "ed25519-sha256", b"", record, state, 0.0)


KEY, NEXT = key("e1"), key("e2", KeyState.NEXT)
Zone = dict[str, dict[str, list[str]]]


def zone_of(records: Sequence[Record]) -> Zone:
    """What DNS has when all of them are published, hints aside."""
    zone: Zone = {}
    for one in records:
        if one.need is not Need.HINT:
            zone.setdefault(one.name, {}).setdefault(one.type, []).append(presented(one))
    return zone


class Checked(SynchronousTestCase):
    """A domain and its DNS."""

    def setUp(self) -> None:
        """Everything is as it should be."""
        self.domain = Domain(1, "example.org", dmarc=DMARCPolicy.QUARANTINE)
        self.keys: Sequence[StoredKey] = [KEY, NEXT]
        self.host = HOST
        self.validating = False
        self.reports = ReportAddresses("dmarc-reports@example.org", "tls-reports@example.org")
        self.zone = zone_of(self.records())
        self.failing: frozenset[str] = frozenset()
        self.validating = self.authentic = False
        self.served: HTTPAnswer | None = None

    async def fetch(self, url: str) -> HTTPAnswer:
        """What is served at the policy's place."""
        self.assertEqual(url, "https://mta-sts.example.org/.well-known/mta-sts.txt")
        if self.served is None:
            raise CallFailed("no route")
        return self.served

    def control(self) -> DNSControl:
        """Over one domain."""
        directory = Directory({"example.org": self.domain}, dkim_keys={"example.org": self.keys})
        return DNSControl(
            lambda: succeed(directory),
            lambda: succeed((self.host, "settings")),
            lambda domain: self.reports,
            self.validating,
        )

    def records(self) -> Sequence[Record]:
        """To publish."""
        found: Sequence[Record] = self.done(self.control().records("example.org"))
        return found

    def done(self, work: Any) -> Any:
        """Its result."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def check(self) -> CheckReport:
        """What is found."""
        lookups = FakeDNS(self.zone, self.failing, self.authentic)
        checking = self.control().check("example.org", lookups, self.fetch)
        report: CheckReport = self.done(checking)
        return report

    def find(self, topic: Topic, name: str = "") -> Finding:
        """The one finding of a topic that is not ok."""
        found = [one for one in self.check().findings if one.topic is topic and name in one.name]
        [finding] = [one for one in found if one.status is not Status.OK]
        return finding

    def complains(
        self,
        topic: Topic,
        status: Status,
        text: str,
        changes: Mapping[str, Mapping[str, Sequence[str]] | None],
    ) -> Finding:
        """With these names changed, None for gone, there is one complaint of the topic."""
        before = self.zone
        self.zone = {**before}
        for name, records in changes.items():
            self.zone.pop(name, None)
            if records is not None:
                self.zone[name] = {type_: list(values) for type_, values in records.items()}
        found = self.find(topic)
        self.zone = before
        self.assertEqual(found.status, status, found)
        self.assertIn(text, found.text)
        return found

    def txt(self, name: str, *texts: str) -> dict[str, dict[str, list[str]]]:
        """A name with these texts alone."""
        return {name: {"TXT": [quoted(text) for text in texts]}}


class RecordTests(Checked):
    """What is to be published."""

    def test_zone_file(self) -> None:
        """It is one, with long strings cut, and everything but the hints in it."""
        long = StoredKey("example.org", "r1", "", b"", "v=DKIM1; p=" + "A" * 600, KEY.state, 0.0)
        self.keys = [long]
        self.host = evolve(HOST, tlsa=["3 1 1 " + "ab" * 32], authority="letsencrypt.org")
        records = self.records()
        text = zone_text("example.org", records)
        zone = dns.zone.from_text(text, "example.org.", relativize=False, check_origin=False)
        [texts] = zone.get_rdataset("r1._domainkey.example.org.", "TXT")  # type: ignore[misc]
        self.assertEqual([len(one) for one in texts.strings], [255, 255, 101])
        self.assertEqual(b"".join(texts.strings).decode(), long.record)
        names = {name.to_text(omit_final_dot=True) for name in zone.nodes}
        hints = {one.name for one in records if one.need is Need.HINT or one.topic is Topic.PTR}
        self.assertEqual(names, {one.name for one in records} - (hints - {"mail.example.org"}))
        self.assertIn("\n; _25._tcp.mail.example.org. 3600 IN TLSA 3 1 1 abab", text)
        self.assertIn(f"\n; {POINTER}. 3600 IN PTR mail.example.org.\n", text)

    def test_quoted(self) -> None:
        """What would end a string, or is no ASCII, is escaped."""
        self.assertEqual(quoted('a"b\\c'), '"a\\"b\\\\c"')
        self.assertEqual(quoted("é"), '"\\195\\169"')
        self.assertEqual(quoted(""), '""')

    @given(st.text(st.characters(codec="utf-8"), max_size=600))
    def test_any_text(self, text: str) -> None:
        """Read as name servers read it, a text is what it was."""
        record: Any = dns.rdata.from_text("IN", "TXT", quoted(text))
        self.assertEqual(b"".join(record.strings), text.encode())

    def test_reports_elsewhere(self) -> None:
        """Whoever takes a domain's reports says so in DNS; a name below the domain need not."""
        self.reports = ReportAddresses("dmarc@reports.test", "")
        values = {one.name: one.value for one in self.records()}
        self.assertEqual(values["example.org._report._dmarc.reports.test"], "v=DMARC1")
        self.assertNotIn("_smtp._tls.example.org", values)
        self.reports = ReportAddresses("dmarc@mail.example.org", "")
        self.assertFalse([one for one in self.records() if "_report" in one.name])

    def test_unknown_domain(self) -> None:
        """Refused, with what to do."""
        for name, kind in (("example.net", NoSuch), ("a b", Refusal)):
            asking = Deferred.fromCoroutine(self.control().records(name))
            self.failureResultOf(asking, kind)


class CheckTests(Checked):
    """What is said of what there is."""

    def test_green(self) -> None:
        """Every record as it should be, and a finding for each."""
        report = self.check()
        self.assertEqual([one for one in report.findings if one.status is not Status.OK], [])
        self.assertTrue(report.is_green)
        self.assertEqual((report.addresses, report.addresses_from), ((IPV4, IPV6), "settings"))
        topics = {one.topic for one in report.findings}
        self.assertEqual(topics, {one.topic for one in self.records()})

    def test_nothing_there(self) -> None:
        """Every record that is needed is missing, and told with what to publish."""
        self.zone = {}
        report = self.check()
        self.assertFalse(report.is_green)
        told = {(one.name, one.type, one.value) for f in report.findings for one in f.publish}
        wanted = {
            (one.name, one.type, one.value) for one in self.records() if one.need is Need.NEEDED
        }
        self.assertEqual(wanted - told, set())
        needed = [f for f in report.findings if any(r.need is Need.NEEDED for r in f.publish)]
        self.assertEqual({one.status for one in needed}, {Status.MISSING})

    def test_dns_does_not_answer(self) -> None:
        """Unknown is not missing, and is not green."""
        self.failing = frozenset(self.zone)
        report = self.check()
        self.assertFalse(report.is_green)
        self.assertEqual({one.status for one in report.findings}, {Status.UNKNOWN})

    def test_host(self) -> None:
        """Its addresses are ours, all of them, and it is no alias."""
        name = "mail.example.org"
        own = self.zone[name]
        topic, wrong = Topic.HOST, Status.WRONG
        self.complains(topic, wrong, "our address 2001:db8::25", {name: {"A": [IPV4]}})
        self.complains(
            topic, Status.WARNING, "192.0.2.99", {name: {**own, "A": [IPV4, "192.0.2.99"]}}
        )
        alias = {name: {"CNAME": ["other.example.org."]}, "other.example.org": own}
        self.complains(topic, wrong, "alias of other.example.org", alias)
        found = self.complains(topic, Status.MISSING, "no address", {name: {"TXT": ['"x"']}})
        self.assertEqual({one.value for one in found.publish}, {IPV4, IPV6})

    def test_mx(self) -> None:
        """Here, by a name of its own."""
        own = self.zone["example.org"]
        other = {"A": ["192.0.2.99"]}

        def mx(*values: str) -> dict[str, Any]:
            return {"example.org": {**own, "MX": values}, "other.test": other}

        topic = Topic.MX
        found = self.complains(topic, Status.WRONG, "not to this server", mx("10 other.test."))
        self.assertEqual(found.publish[0].value, "10 mail.example.org.")
        self.complains(
            *(topic, Status.WARNING, "also goes to other.test"),
            mx("10 mail.example.org.", "20 other.test."),
        )
        self.complains(topic, Status.WRONG, "null MX", mx("0 ."))
        alias = {**mx("10 alias.test."), "alias.test": {"CNAME": ["mail.example.org."]}}
        self.complains(topic, Status.WRONG, "alias.test is an alias", alias)
        self.complains(topic, Status.MISSING, "no MX", {"example.org": {"TXT": own["TXT"]}})
        self.zone |= {**mx("10 MX.other.test."), "mx.other.test": {"A": [IPV4], "AAAA": [IPV6]}}
        self.assertTrue(self.check().is_green, "another name of ours is as good")

    def test_pointer(self) -> None:
        """To the name in EHLO, and back."""
        topic = Topic.PTR
        self.complains(topic, Status.MISSING, IPV4, {POINTER: None})
        strange = {POINTER: {"PTR": ["host.isp.test."]}}
        self.complains(topic, Status.WRONG, "does not point back", strange)
        strange["host.isp.test"] = {"A": [IPV4]}
        self.complains(topic, Status.WARNING, "EHLO says mail.example.org", strange)

    def test_spf(self) -> None:
        """One record, which has our addresses and can be evaluated."""
        mx = self.zone["example.org"]["MX"]
        topic = Topic.SPF

        def spf(*texts: str) -> dict[str, Any]:
            return {"example.org": {"MX": mx, "TXT": [quoted(text) for text in texts]}}

        self.complains(topic, Status.MISSING, "no SPF record", spf("google-site-verification=x"))
        self.complains(topic, Status.WRONG, "2 SPF records", spf("v=spf1 mx ~all", "v=spf1 -all"))
        self.complains(topic, Status.WRONG, f"our address {IPV4}", spf("v=spf1 ip4:192.0.2.1 -all"))
        self.complains(
            *(topic, Status.WRONG, f"our address {IPV6}"), spf("v=spf1 ip4:192.0.2.25 -all")
        )
        self.complains(topic, Status.WRONG, "no mechanism", spf("v=spf1 mx nonsense ~all"))
        self.complains(topic, Status.WRONG, "anybody", spf("v=spf1 mx +all"))
        self.complains(topic, Status.WARNING, "~all", spf("v=spf1 mx"))
        many = " ".join(f"include:{i}.test" for i in range(11))
        includes = {f"{i}.test": {"TXT": ['"v=spf1 ip4:198.51.100.1 -all"']} for i in range(11)}
        changes = {**spf(f"v=spf1 mx {many} ~all"), **includes}
        self.complains(topic, Status.WRONG, "more than 10 look-ups", changes)
        self.zone |= spf("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/64 -all")
        self.assertTrue(self.check().is_green, "other words for the same")

    def test_host_spf(self) -> None:
        """For HELO: not needed, but not wrong."""
        name = "mail.example.org"
        own = self.zone[name]
        bare = {name: {"A": own["A"], "AAAA": own["AAAA"]}}
        self.complains(Topic.SPF, Status.WARNING, "no SPF record", bare)
        wrong = {name: {**own, "TXT": ['"v=spf1 -all"']}}
        self.complains(Topic.SPF, Status.WRONG, f"our address {IPV4}", wrong)

    def test_dkim(self) -> None:
        """The key itself, and it alone."""
        topic, name = Topic.DKIM, KEY.name
        self.complains(topic, Status.MISSING, "no TXT record", {name: None})
        self.complains(topic, Status.WRONG, "another key", self.txt(name, NEXT.record))
        self.complains(topic, Status.WRONG, "revoked", self.txt(name, "v=DKIM1; k=ed25519; p="))
        self.complains(topic, Status.WRONG, "2 TXT records", self.txt(name, KEY.record, "more"))
        self.complains(topic, Status.WRONG, "cannot be read", self.txt(name, "nothing"))
        testing = self.txt(name, KEY.record.replace("v=DKIM1;", "v=DKIM1; t=y;"))
        self.complains(topic, Status.WARNING, "t=y", testing)
        self.complains(topic, Status.MISSING, "no TXT record", {NEXT.name: None})
        tags = KEY.record.split("; ")
        self.zone |= self.txt(name, " ;  ".join([tags[0], *reversed(tags[1:])]))
        self.assertTrue(self.check().is_green, "spaces and order do not matter")

    def test_no_keys(self) -> None:
        """A domain that signs nothing is told how to."""
        self.keys = []
        self.assertIn("mailrelay dkim add example.org", self.find(Topic.DKIM).text)

    def test_retired_key(self) -> None:
        """Its record may be gone."""
        self.keys = [KEY, key("old", KeyState.RETIRED)]
        self.assertTrue(self.check().is_green)

    def test_dmarc(self) -> None:
        """One record, of the policy that is wished for."""
        topic, name = Topic.DMARC, "_dmarc.example.org"
        rua = "rua=mailto:dmarc-reports@example.org"
        for status, text, record in (
            (Status.WRONG, "weaker", f"v=DMARC1; p=none; {rua}"),
            (Status.WARNING, "--dmarc reject", f"v=DMARC1; p=reject; {rua}"),
            (Status.WRONG, "none of none", "v=DMARC1; p=block"),
            (Status.WRONG, "none of none", "v=DMARC1"),
            (Status.WRONG, "cannot be read", "v=DMARC1; p=none; p=none"),
            (Status.WRONG, "must begin", "p=quarantine; v=DMARC1"),
            (Status.WARNING, "go nowhere", "v=DMARC1; p=quarantine"),
            (Status.WARNING, "go to mailto:x@y.test", "v=DMARC1;p=quarantine;rua=mailto:x@y.test"),
            (Status.WARNING, "sp=none", f"v=DMARC1; p=quarantine; sp=none; {rua}"),
            (Status.WARNING, "pct", f"v=DMARC1; p=quarantine; pct=20; {rua}"),
        ):
            self.complains(topic, status, text, self.txt(name, record))
        self.complains(topic, Status.MISSING, "no DMARC", {name: None})
        one = f"v=DMARC1; p=quarantine; {rua}"
        self.complains(topic, Status.WRONG, "2 DMARC", self.txt(name, one, f"{one}; pct=100"))
        self.zone |= self.txt(name, f"v=DMARC1 ; {rua}!10m,mailto:x@y.test; adkim=r;p=Quarantine")
        self.assertTrue(self.check().is_green, "order and others do not matter")

    def test_reports_elsewhere(self) -> None:
        """Whoever takes them must say so."""
        self.reports = ReportAddresses("dmarc@reports.test", "tls@reports.test")
        self.zone = zone_of(self.records())
        self.assertTrue(self.check().is_green)
        gone = {"example.org._report._dmarc.reports.test": None}
        self.complains(Topic.DMARC, Status.MISSING, "not sent there", gone)

    def test_tlsrpt(self) -> None:
        """Somebody is told."""
        topic, name = Topic.TLSRPT, "_smtp._tls.example.org"
        self.complains(topic, Status.MISSING, "no TXT", {name: None})
        for status, text, record in (
            (Status.WRONG, "no rua=", "v=TLSRPTv1;"),
            (Status.WRONG, "none of TLSRPT", "v=TLSRPT1; rua=mailto:a@b.test"),
            (Status.WARNING, "go to https://x.test", "v=TLSRPTv1; rua=https://x.test"),
            (Status.WRONG, "cannot be read", "v=TLSRPTv1; rua"),
        ):
            self.complains(topic, status, text, self.txt(name, record))

    def test_clients(self) -> None:
        """They find this server, or none."""
        topic, srv = Topic.CLIENTS, "_submissions._tcp.example.org"
        self.complains(topic, Status.WARNING, "no SRV", {srv: None})
        wrong = {srv: {"SRV": ["0 1 25 mail.example.org."]}}
        self.complains(topic, Status.WRONG, "port 465", wrong)
        alias = "autoconfig.example.org"
        self.complains(topic, Status.WARNING, "no CNAME", {alias: None})
        strange = {alias: {"A": ["192.0.2.99"]}}
        self.complains(topic, Status.WRONG, "does not lead", strange)
        self.zone[srv] = {"SRV": ["5 7 465 MAIL.example.org."]}
        self.zone[alias] = {"A": [IPV4]}
        self.assertTrue(self.check().is_green, "weights, case and how it is written do not matter")

    def test_addresses_that_nobody_told(self) -> None:
        """Those of the server's name are taken, and that is said."""
        self.host = evolve(HOST, addresses=())
        report = self.check()
        self.assertEqual(set(report.addresses), {IPV4, IPV6})
        self.assertIn("[dns] addresses", report.addresses_from)
        self.assertTrue(report.is_green)

    def test_words_from_outside(self) -> None:
        """What DNS says is shown without what a terminal acts on, and with an end."""
        self.zone |= self.txt("_dmarc.example.org", "v=DMARC1; p=\x1b[31m" + "x" * 5000)
        found = self.find(Topic.DMARC)
        self.assertTrue(found.text.isprintable() and found.seen[0].isprintable())
        self.assertLessEqual(max(len(found.text), len(found.seen[0])), 1000)


class TLSTests(Checked):
    """What others may expect of TLS."""

    PIN = "3 1 1 " + "ab" * 32

    def test_tlsa(self) -> None:
        """A record fits the certificate in use, or mail stops."""
        self.host = evolve(HOST, tlsa=[self.PIN])
        name = "_25._tcp.mail.example.org"
        topic, wrong = Topic.DANE, Status.WRONG
        self.assertEqual([f for f in self.check().findings if f.topic is topic], [])
        other = "3 1 1 " + "cd" * 32
        found = self.complains(topic, wrong, "fits no certificate", {name: {"TLSA": [other]}})
        self.assertEqual(found.publish[0].value, self.PIN)
        anchor = {name: {"TLSA": ["2 1 1 " + "cd" * 32]}}
        self.complains(topic, Status.WARNING, "authority", anchor)
        both = {name: {"TLSA": [other, self.PIN.upper()]}}
        self.zone |= {name: {"TLSA": both[name]["TLSA"]}}
        self.assertTrue(self.check().is_green, "the next certificate's may be there, too")
        self.validating = True
        self.assertIn("not signed", self.find(topic).text)
        self.authentic = True
        report = self.check()
        self.assertEqual([f for f in report.findings if f.status is not Status.OK], [])
        [signed] = [f for f in report.findings if f.topic is Topic.DNSSEC]
        self.assertEqual(signed.text, "the zone is signed")

    def test_caa(self) -> None:
        """The authority that makes our certificates may."""
        self.host = evolve(HOST, authority="ca.test")
        topic = Topic.CAA
        self.assertEqual([f for f in self.check().findings if f.topic is topic], [])
        own = self.zone["example.org"]
        other = {"example.org": {**own, "CAA": ['0 issue "other.test"']}}
        self.complains(topic, Status.WRONG, "ca.test may make no certificates", other)
        well = {"CAA": ['0 issue "other.test"', '0 issue "ca.test; validationmethods=x"']}
        self.zone["example.org"] = {**own, **well}
        self.assertTrue(self.check().is_green)

    def test_policy_that_nobody_serves(self) -> None:
        """A record without a policy sends senders to look for one."""
        name = "_mta-sts.example.org"
        text = "the domain has no policy"
        self.complains(Topic.MTA_STS, Status.WRONG, text, self.txt(name, "v=STSv1; id=1"))

    def test_mta_sts(self) -> None:
        """Record and policy are of what we serve."""
        self.domain = evolve(self.domain, mta_sts=MTASTSMode.TESTING, mta_sts_changed_at=1.0)
        self.zone = zone_of(self.records())
        text = "version: STSv1\r\nmode: testing\r\nmx: mail.example.org\r\nmax_age: 1209600\r\n"
        plain = {"content-type": "text/plain; charset=utf-8"}
        self.served = HTTPAnswer(200, plain, text.encode(), True)
        report = self.check()
        self.assertEqual([f for f in report.findings if f.status is not Status.OK], [])
        topic, name = Topic.MTA_STS, "_mta-sts.example.org"
        self.complains(topic, Status.MISSING, "no TXT", {name: None})
        for status, said, record in (
            (Status.WRONG, "not that of the policy", "v=STSv1; id=20260101"),
            (Status.WRONG, "no id", "v=STSv1; id="),
        ):
            self.complains(topic, status, said, self.txt(name, record))
        elsewhere = {"mta-sts.example.org": {"A": ["192.0.2.99"]}}
        self.complains(topic, Status.WRONG, "does not lead", elsewhere)
        for status, said, body, headers in (
            (Status.WRONG, "another policy", text.replace("testing", "enforce"), plain),
            (Status.WRONG, "another policy", text.replace("mail.", "old."), plain),
            (Status.WARNING, "kept for 60", text.replace("1209600", "60"), plain),
            (Status.WARNING, "text/plain", text, {}),
            (Status.WRONG, "no field", "<html>: x", plain),
        ):
            self.served = HTTPAnswer(200, headers, body.encode(), True)
            self.complains(topic, status, said, {})
        self.served = HTTPAnswer(404, plain, b"", True)
        self.complains(topic, Status.WRONG, "status 404", {})
        self.served = None
        self.complains(topic, Status.WRONG, "no route", {})
