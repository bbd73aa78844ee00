"""``python -m mailrelay.testing.rfcs`` writes docs/rfcs.md from the references in the code.

Title, status and remark of each RFC are kept here by hand; sections and modules are found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import mailrelay

ROOT = Path(mailrelay.__file__).parent
_REFERENCE = re.compile(r"RFC (\d{3,5})(?: sections? (\d[\d.]*\d|\d)(?: and (\d[\d.]*\d|\d))?)?")

# Status: "yes", what concerns us is done; "partly", the remark says what is missing.
STATUS: Mapping[int, tuple[str, str, str]] = {
    1035: ("Zone files", "partly", "records to publish are written so"),
    1870: ("SIZE", "yes", ""),
    1928: ("SOCKS5", "partly", "as a client: CONNECT to addresses, without login"),
    1952: ("gzip", "partly", "of reports"),
    2034: ("ENHANCEDSTATUSCODES", "yes", ""),
    2045: ("MIME", "partly", "content with NUL is refused; passed on as it came"),
    2046: ("MIME media types", "partly", "multiparts; no message/partial"),
    2047: ("Encoded words", "yes", "written as Q"),
    2142: ("Names of role mailboxes", "partly", "postmaster and abuse"),
    2231: ("Parameter values", "yes", "written only where quoting does not do"),
    2369: ("List-* fields", "yes", "without List-Subscribe and List-Archive"),
    2387: ("multipart/related", "yes", ""),
    2397: ("data: URLs", "yes", "of images in HTML mail"),
    2919: ("List-Id", "yes", ""),
    2920: ("PIPELINING", "yes", ""),
    3030: ("CHUNKING and BINARYMIME", "partly", "BINARYMIME is not offered"),
    3207: ("STARTTLS", "yes", ""),
    3339: ("Times", "yes", "in the mail log and the log"),
    3461: ("DSN: the SMTP extension", "yes", ""),
    3463: ("Enhanced status codes", "yes", ""),
    3464: ("DSN: the message", "yes", ""),
    3834: ("Automatic responses", "partly", "DSNs are marked as automatic"),
    3848: ("Protocol names in Received", "yes", ""),
    3849: ("IPv6 addresses for examples", "yes", "as those of strangers"),
    4035: ("DNSSEC: protocol", "partly", "the AD bit of a resolver that is named as validating"),
    4155: ("mbox", "partly", "export and import, quoted as mboxrd"),
    4226: ("HOTP", "yes", "as what codes by time are made of"),
    4616: ("SASL PLAIN", "yes", ""),
    4865: ("FUTURERELEASE", "yes", "on submission"),
    4954: ("AUTH", "partly", "the AUTH parameter of MAIL is read and not passed on"),
    5321: ("SMTP", "partly", "see smtp.md for deviations"),
    5322: ("Message format", "partly", "header fields that decide; contents are never changed"),
    5737: ("IPv4 addresses for examples", "yes", "as those of strangers"),
    5782: ("DNS lists of addresses", "yes", ""),
    5802: ("SCRAM", "yes", ""),
    6052: ("Addresses of IPv4 in IPv6", "partly", "its prefix is looked through"),
    6068: ("mailto", "partly", "written only"),
    6152: ("8BITMIME", "partly", "no conversion to 7 bits: such mail is returned"),
    5965: ("Feedback reports", "partly", "read and kept, not sent"),
    6186: (
        "SRV records for mail programs",
        "partly",
        "to publish and to check; of submission alone",
    ),
    6238: ("TOTP", "yes", "at the pages"),
    6266: ("Content-Disposition in HTTP", "yes", ""),
    6265: ("Cookies", "partly", "of sessions"),
    6376: ("DKIM", "yes", ""),
    6409: ("Submission", "yes", ""),
    6522: ("multipart/report", "yes", ""),
    6531: ("SMTPUTF8", "yes", ""),
    6532: ("Internationalised headers", "yes", ""),
    6533: ("Internationalised DSNs", "yes", ""),
    6750: ("Bearer tokens", "partly", "in the Authorization field alone"),
    6698: ("DANE: TLSA records", "partly", "read as a sender; usages 2 and 3, as RFC 7672 says"),
    6647: ("Greylisting", "yes", ""),
    6840: ("DNSSEC clarified", "partly", "it is asked whether an answer was validated"),
    7208: ("SPF", "yes", "no Received-SPF: see 8601"),
    7372: ("Status codes of authentication", "yes", ""),
    7435: ("Opportunistic security", "yes", "the level `may`"),
    7489: ("DMARC", "partly", "as 9989 follows it; pct is honoured; no failure reports"),
    7505: ("Null MX", "yes", ""),
    7578: ("multipart/form-data", "yes", ""),
    7617: ("Basic authentication", "partly", "credentials in UTF-8 only"),
    7671: (
        "DANE: operation",
        "partly",
        "as a sender; anchors must be shown, or be in the record whole",
    ),
    7672: ("DANE for SMTP", "yes", "as a sender"),
    7677: ("SCRAM-SHA-256", "yes", ""),
    8187: ("Header parameters beyond ASCII", "yes", "written only"),
    8301: ("DKIM: algorithms and key sizes", "yes", ""),
    8314: ("TLS for submission", "yes", ""),
    8058: (
        "One-click unsubscribe",
        "yes",
        "in messages that ask for it, and those of lists, signed with DKIM",
    ),
    8460: ("TLSRPT", "yes", ""),
    8461: ("MTA-STS", "yes", ""),
    8463: ("DKIM: Ed25519", "yes", ""),
    8555: ("ACME", "partly", "by a library; http-01 and tls-alpn-01"),
    8601: ("Authentication-Results", "yes", ""),
    8617: ("ARC", "yes", "header.oldest-pass and smtp.remote-ip are not told"),
    8689: ("REQUIRETLS", "yes", ""),
    6125: ("Names in certificates", "partly", "by the library service-identity"),
    9051: ("IMAP4rev2", "no", "the names of flags"),
    8659: ("CAA", "partly", "records to publish, and whether our authority may"),
    9110: ("HTTP", "partly", "no ranges, conditions or codings"),
    9112: ("HTTP/1.1", "partly", "stricter than it asks: see web/framing"),
    9266: ("tls-exporter channel binding", "yes", ""),
    8737: ("ACME: tls-alpn-01", "yes", "with TLS 1.3"),
    9562: ("UUIDs", "partly", "version 8, of what a profile is for"),
    9990: ("DMARC: aggregate reports", "partly", "read; those sent are as RFC 7489 has them"),
    9457: ("Problem details", "yes", "of our own API"),
    9422: ("LIMITS", "partly", "RCPTMAX"),
    9773: ("ACME: renewal information", "yes", ""),
    9989: ("DMARC", "yes", "with the public suffix list as a guard"),
}


def references() -> dict[int, tuple[set[str], set[str]]]:
    """Sections and modules, by the number of the RFC."""
    found: dict[int, tuple[set[str], set[str]]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT)
        if module.parts[0] == "testing":
            continue
        text = re.sub(r"\s*\n\s*(?:#\s*)?", " ", path.read_text(encoding="utf-8"))
        for number, *sections in _REFERENCE.findall(text):
            mine = found.setdefault(int(number), (set(), set()))
            mine[0].update(section for section in sections if section)
            mine[1].add(module.as_posix().removesuffix(".py"))
    return found


def page() -> str:
    """docs/rfcs.md.  Raises: KeyError for an RFC that has no status."""
    lines = [
        "# RFCs",
        "",
        "What the code refers to, where. Made by `python -m mailrelay.testing.rfcs docs/rfcs.md`;",
        "titles, status and remarks are kept by hand in that module.",
        "",
        "| RFC | about | done | remark | sections | modules |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number, (sections, modules) in sorted(references().items()):
        title, status, remark = STATUS[number]
        shown = ", ".join(sorted(sections, key=_order))
        where = ", ".join(f"`{module}`" for module in sorted(modules))
        link = f"[{number}](https://www.rfc-editor.org/rfc/rfc{number})"
        lines.append(f"| {link} | {title} | {status} | {remark} | {shown} | {where} |")
    return "\n".join(lines) + "\n"


def _order(section: str) -> list[int]:
    return [int(part) for part in section.split(".") if part]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
