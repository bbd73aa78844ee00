"""What mail programs are told, and what hostile ones are not."""

from __future__ import annotations

import json
import plistlib
from urllib.parse import quote
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.smtp.address import Address
from mailrelay.web.autoconfig import (
    MOST_REQUEST_BYTES,
    PROFILE,
    Autoconfig,
    MalformedRequest,
    read_autodiscover,
)
from mailrelay.web.client_settings import ClientSettings, Place, outlook
from tests.web.wire import Reply, Wire, post

IMPLICIT = Place("mail.example.org", 465, True)
STARTTLS = Place("mail.example.org", 587, False)
IMAP = Place("imap.example.org", 993, True)
SENDING = ClientSettings((IMPLICIT, STARTTLS))
BOTH = ClientSettings((IMPLICIT, STARTTLS), IMAP)
OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
ASKED = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"


def request(address: str, schema: str = ASKED) -> bytes:
    """What Outlook posts."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{SCHEMA}"><Request>'
        f"<EMailAddress>{address}</EMailAddress>"
        f"<AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
        "</Request></Autodiscover>"
    ).encode()


class AutoconfigTests(SynchronousTestCase):
    """Each program's way."""

    settings = SENDING

    def say(self, data: bytes) -> Reply:
        """The answer of a server of example.org."""
        told = Autoconfig(
            lambda domain: domain == "example.org", self.settings, "https://mail.example.org"
        )
        (reply,) = Wire(told.routes()).say(data)
        return reply

    def get(self, target: str, host: str = "autoconfig.example.org") -> Reply:
        """The answer to a GET."""
        return self.say(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    def test_thunderbird(self) -> None:
        """By the name that was asked, or by the address; the servers in order."""
        for target, host in (
            ("/mail/config-v1.1.xml", "autoconfig.example.org"),
            ("/mail/config-v1.1.xml?emailaddress=a%40EXAMPLE.org", "other.test"),
            ("/.well-known/autoconfig/mail/config-v1.1.xml", "Example.org:443"),
        ):
            reply = self.get(target, host)
            self.assertEqual((reply.status, reply.headers["content-type"][:8]), (200, "text/xml"))
            provider = ElementTree.fromstring(reply.body).find("emailProvider")
            assert provider is not None
            self.assertEqual(provider.attrib["id"], "example.org")
            servers = [
                [one.attrib["type"], *(child.text for child in one)]
                for one in provider.findall("outgoingServer")
            ]
            rest = ["%EMAILADDRESS%", "password-cleartext"]
            self.assertEqual(
                servers,
                [
                    ["smtp", "mail.example.org", "465", "SSL", *rest],
                    ["smtp", "mail.example.org", "587", "STARTTLS", *rest],
                ],
            )
            self.assertIsNone(provider.find("incomingServer"))

    def test_an_incoming_server(self) -> None:
        """It is told where the operator names one."""
        self.settings = BOTH
        text = self.get("/mail/config-v1.1.xml").body.decode()
        self.assertIn('<incomingServer type="imap">\n      <hostname>imap.example.org', text)
        reply = self.say(post(request("a@example.org"), "/autodiscover/autodiscover.xml"))
        types = [one.text for one in ElementTree.fromstring(reply.body).iter(f"{OUTLOOK}Type")]
        self.assertEqual(types, ["IMAP", "SMTP"])

    def test_other_domains(self) -> None:
        """Nothing is told of them, and the same of addresses that there are and are not."""
        self.assertEqual(self.get("/mail/config-v1.1.xml", "autoconfig.example.net").status, 404)
        self.assertEqual(self.get("/mail/config-v1.1.xml", "[::1]").status, 404)
        one, two = (
            self.get(f"/mail/config-v1.1.xml?emailaddress={name}@example.org").body
            for name in ("postmaster", "nobody-at-all")
        )
        self.assertEqual(one, two)
        for target in ("/mail.mobileconfig?address=", "/mail/config-v1.1.xml?emailaddress="):
            self.assertEqual(self.get(target + "a@example.net").status, 404)
            for text in ("a", "a@b@", "a%0d%0ab@example.org", "x" * 250 + "@example.org"):
                self.assertEqual(self.get(target + text).status, 400, text)

    def test_outlook(self) -> None:
        """One server, the name that was asked with, whatever the path's case."""
        for path in ("/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"):
            reply = self.say(post(request("a@example.org"), path))
            self.assertEqual(reply.status, 200)
            tree = ElementTree.fromstring(reply.body)
            [protocol] = tree.iter(f"{OUTLOOK}Protocol")
            values = {one.tag.removeprefix(OUTLOOK): one.text for one in protocol}
            self.assertEqual(values["LoginName"], "a@example.org")
            self.assertEqual((values["Server"], values["Port"]), ("mail.example.org", "465"))
            self.assertEqual((values["SSL"], values["Encryption"]), ("on", "SSL"))

    def test_outlook_is_refused(self) -> None:
        """In XML, with a code of its own."""
        path = "/autodiscover/autodiscover.xml"
        phone = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
        for body, status, code in (
            (request("a@example.net"), 404, b"603"),
            (request("a@example.org", phone), 200, b"601"),
            (request("nobody"), 400, b"600"),
            (b"<a/>", 400, b"600"),
            (b"no xml", 400, b"600"),
        ):
            reply = self.say(post(body, path))
            self.assertEqual(reply.status, status, body)
            self.assertIn(b"<ErrorCode>" + code, reply.body)
            ElementTree.fromstring(reply.body)
        self.assertEqual(self.say(post(b"x" * (MOST_REQUEST_BYTES + 1), path)).status, 413)
        self.assertEqual(self.get(path).status, 405)

    def test_json(self) -> None:
        """Where the XML is; nothing else is answered."""
        at = "https://mail.example.org/autodiscover/autodiscover.xml"
        for target in (
            "/autodiscover/autodiscover.json?Email=a@example.org&Protocol=AutodiscoverV1",
            "/autodiscover/autodiscover.json/v1.0/a@example.org?Protocol=Autodiscoverv1",
        ):
            found = json.loads(self.get(target).body)
            self.assertEqual(found, {"Protocol": "AutodiscoverV1", "Url": at})
        reply = self.get("/autodiscover/autodiscover.json?Email=a@example.org&Protocol=EWS")
        self.assertEqual(
            (reply.status, json.loads(reply.body)["ErrorCode"]), (400, "InvalidProtocol")
        )

    def test_apple(self) -> None:
        """A profile, where there is an incoming server; without one, why there is none."""
        target = "/mail.mobileconfig?address=a@example.org"
        self.assertIn(b"imap_host", self.get(target).body)
        self.settings = BOTH
        reply = self.get(target)
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, PROFILE))
        profile = plistlib.loads(reply.body)
        [account] = profile["PayloadContent"]
        self.assertEqual(account["OutgoingMailServerHostName"], "mail.example.org")
        self.assertEqual(account["IncomingMailServerPortNumber"], 993)
        self.assertNotEqual(account["PayloadUUID"], profile["PayloadUUID"])
        again = plistlib.loads(self.get(target).body)
        self.assertEqual(again, profile, "the same profile replaces the one before")

    @given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
    def test_addresses_stay_text(self, localpart: str) -> None:
        """Whatever a localpart is made of, it is the value of its element and nothing else."""
        address = Address(localpart, "example.org")
        tree = ElementTree.fromstring(outlook(address, BOTH))
        self.assertEqual({one.text for one in tree.iter(f"{OUTLOOK}LoginName")}, {str(address)})
        self.settings = BOTH
        asked = quote(str(address).encode())
        reply = self.get(f"/mail.mobileconfig?address={asked}")
        if reply.status == 200:
            [account] = plistlib.loads(reply.body)["PayloadContent"]
            self.assertEqual(account["EmailAddress"], str(Address.parse(str(address))))


class RequestTests(SynchronousTestCase):
    """XML that anybody may send."""

    def test_hostile(self) -> None:
        """Document types, entities, depth: refused, and at once."""
        bomb = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
        whole = request("a@example.org").partition(b"?>")[2]
        deep = b"<x>" * 10 + b"</x>" * 10 + b"</Request>"
        for body in (
            b"<!DOCTYPE Autodiscover>" + whole,
            whole.replace(b"</Request>", deep),
            f'<!DOCTYPE a [<!ENTITY l0 "x">{bomb}]><a>&l9;</a>'.encode(),
            b'<!DOCTYPE a SYSTEM "http://a.test/"><a/>',
            b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            b"<a>" * 1000,
            b"<Autodiscover><Request><EMailAddress>" + b"a" * 300 + b"</EMailAddress></Request>",
            b'<?xml version="1.0" encoding="utf-77"?><a/>',
            b"",
            b"\xff\xfe<\x00",
        ):
            self.assertRaises(MalformedRequest, read_autodiscover, body)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, noise: bytes) -> None:
        """Only the declared exception leaves, wherever noise stands in a request."""
        whole = request("a@example.org")
        for body in (noise, whole[:60] + noise + whole[60:], whole[: len(noise)]):
            try:
                read_autodiscover(body)
            except MalformedRequest:
                continue
