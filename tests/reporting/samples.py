"""Reports in the manner of those who send many; nothing in them is anybody's."""

from __future__ import annotations

import gzip
import zipfile
from base64 import encodebytes
from io import BytesIO

# As large webmail providers write it: no namespace, no envelope_from.
WEBMAIL = b"""\
<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <report_metadata>
    <org_name>webmail.example</org_name>
    <email>noreply-dmarc-support@webmail.example</email>
    <extra_contact_info>https://support.webmail.example/dmarc</extra_contact_info>
    <report_id>10883374850934857021</report_id>
    <date_range>
      <begin>1767225600</begin>
      <end>1767311999</end>
    </date_range>
  </report_metadata>
  <policy_published>
    <domain>example.org</domain>
    <adkim>r</adkim>
    <aspf>r</aspf>
    <p>quarantine</p>
    <sp>reject</sp>
    <pct>100</pct>
    <np>reject</np>
  </policy_published>
  <record>
    <row>
      <source_ip>192.0.2.10</source_ip>
      <count>42</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>pass</dkim>
        <spf>pass</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>example.org</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>example.org</domain>
        <result>pass</result>
        <selector>r20260101</selector>
      </dkim>
      <dkim>
        <domain>example.org</domain>
        <result>pass</result>
        <selector>e20260101</selector>
      </dkim>
      <spf>
        <domain>example.org</domain>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
  <record>
    <row>
      <source_ip>2001:DB8::0:25</source_ip>
      <count>3</count>
      <policy_evaluated>
        <disposition>none</disposition>
        <dkim>fail</dkim>
        <spf>fail</spf>
        <reason>
          <type>local_policy</type>
          <comment>arc=pass</comment>
        </reason>
      </policy_evaluated>
    </row>
    <identifiers>
      <header_from>example.org</header_from>
    </identifiers>
    <auth_results>
      <spf>
        <domain>lists.example.net</domain>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
</feedback>
"""

# As a large company's mail service writes it: declarations, envelope_to, an empty report.
OFFICE = b"""\
<?xml version="1.0"?>
<feedback xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <version>1.0</version>
  <report_metadata>
    <org_name>Office Example</org_name>
    <email>dmarcreport@office.example</email>
    <report_id>5f0a6f0b3d1c4e6d9a0f1e2d3c4b5a69</report_id>
    <date_range><begin>1767225600</begin><end>1767312000</end></date_range>
  </report_metadata>
  <policy_published>
    <domain>example.org</domain><adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct><fo>0</fo>
  </policy_published>
  <record>
    <row>
      <source_ip>203.0.113.9</source_ip><count>1</count>
      <policy_evaluated><disposition>quarantine</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated>
    </row>
    <identifiers>
      <envelope_to>office.example</envelope_to>
      <envelope_from>bad.example</envelope_from>
      <header_from>example.org</header_from>
    </identifiers>
    <auth_results>
      <spf><domain>bad.example</domain><scope>mfrom</scope><result>fail</result></spf>
    </auth_results>
  </record>
</feedback>
"""

# The successor (RFC 9990), by a server like ours.
NAMESPACED = b"""\
<?xml version="1.0" encoding="UTF-8"?>
<d:feedback xmlns:d="urn:ietf:params:xml:ns:dmarc-2.0">
<d:version>1.0</d:version>
<d:report_metadata><d:org_name>mail.example.net</d:org_name><d:email>postmaster@mail.example.net</d:email>
<d:report_id>20260101.example.org</d:report_id>
<d:date_range><d:begin>1767225600</d:begin><d:end>1767312000</d:end></d:date_range>
<d:error>DNS was slow</d:error><d:generator>some server</d:generator></d:report_metadata>
<d:policy_published><d:domain>example.org</d:domain><d:discovery_method>treewalk</d:discovery_method>
<d:p>reject</d:p><d:testing>n</d:testing></d:policy_published>
<d:record><d:row><d:source_ip>192.0.2.10</d:source_ip><d:count>7</d:count>
<d:policy_evaluated><d:disposition>pass</d:disposition><d:dkim>pass</d:dkim><d:spf>fail</d:spf></d:policy_evaluated></d:row>
<d:identifiers><d:header_from>news.example.org</d:header_from><d:envelope_from/></d:identifiers>
<d:auth_results><d:dkim><d:domain>example.org</d:domain><d:selector>r1</d:selector><d:result>pass</d:result>
<d:human_result>it is fine</d:human_result></d:dkim></d:auth_results></d:record>
</d:feedback>
"""

TLS = b"""\
{"organization-name": "webmail.example",
 "date-range": {"start-datetime": "2026-01-01T00:00:00Z", "end-datetime": "2026-01-01T23:59:59Z"},
 "contact-info": "smtp-tls-reporting@webmail.example",
 "report-id": "2026-01-01T00:00:00Z_example.org",
 "policies": [{
   "policy": {"policy-type": "sts", "policy-domain": "example.org",
     "policy-string": ["version: STSv1", "mode: enforce", "mx: mx.example.org", "max_age: 604800"],
     "mx-host": ["mx.example.org"]},
   "summary": {"total-successful-session-count": 58, "total-failure-session-count": 3},
   "failure-details": [{"result-type": "certificate-expired", "sending-mta-ip": "2001:db8::25",
     "receiving-mx-hostname": "mx.example.org", "receiving-ip": "192.0.2.10",
     "failed-session-count": 2},
    {"result-type": "starttls-not-supported", "sending-mta-ip": "198.51.100.7",
     "receiving-mx-hostname": "mx.example.org", "failed-session-count": 1,
     "failure-reason-code": "454 4.7.0"}]}]}
"""


def zipped(data: bytes, name: str = "report.xml", *, stored: bool = False) -> bytes:
    """A zip file of one file."""
    out = BytesIO()
    how = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w", how) as file:
        file.writestr("folder/", b"")
        file.writestr(f"folder/{name}", data)
    return out.getvalue()


def letter(data: bytes, type_: str = "application/gzip", report_type: str = "") -> bytes:
    """A message that brings ``data``."""
    kind = f'report; report-type="{report_type}"' if report_type else "mixed"
    encoded = encodebytes(data).decode().replace("\n", "\r\n")
    return (
        "From: <noreply@webmail.example>\r\nTo: <dmarc-reports@example.org>\r\n"
        "Subject: Report Domain: example.org\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: multipart/{kind}; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an aggregate report.\r\n"
        f"--b\r\nContent-Type: {type_}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}"
        "--b--\r\n"
    ).encode()


def packed(data: bytes) -> bytes:
    """Gzip."""
    return gzip.compress(data, mtime=0)
