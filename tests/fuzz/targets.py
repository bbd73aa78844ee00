"""The targets.  Each makes an input from a Random and lets only declared exceptions pass unseen.

What else leaves one is a bug; so is a promise that is seen broken (an AssertionError).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path
from random import Random
from warnings import catch_warnings, simplefilter

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.json import encode

from mailrelay.acceptance.rspamd_answer import UnusableAnswer, fields_of, read_answer
from mailrelay.config.load import BadConfiguration, parse_settings
from mailrelay.directory.credentials import ScramVerifier, pretended_verifier
from mailrelay.inbound.proxy import MalformedHeader, parse_proxy_header
from mailrelay.inbound.sasl import (
    Login,
    MalformedResponse,
    Mechanism,
    NotAuthorized,
    Plain,
    Scram,
    Verify,
)
from mailrelay.mailauth.arc import MOST_SETS, chain_of
from mailrelay.mailauth.arc_trust import results_in
from mailrelay.mailauth.dane import authenticate, usable
from mailrelay.mailauth.dkim import (
    Algorithm,
    MalformedKey,
    MalformedSignature,
    parse_key,
    parse_signature,
    raw_fields,
)
from mailrelay.mailauth.dmarc_record import is_record as is_dmarc_record
from mailrelay.mailauth.dmarc_record import parse_record as parse_dmarc_record
from mailrelay.mailauth.mta_sts import MOST_AGE, MalformedPolicy, parse_policy, record_id
from mailrelay.mailauth.spf_macros import expand, letters_in
from mailrelay.mailauth.spf_record import MalformedRecord, parse_record
from mailrelay.message.auth_results import claiming
from mailrelay.message.dsn import Action, RecipientReport, Report, compose_dsn
from mailrelay.message.fields import read_fields
from mailrelay.message.header import (
    HeaderTooLarge,
    addresses_in,
    header_end,
    parse_header,
)
from mailrelay.message.plain import plain_text
from mailrelay.message.report import (
    MAX_REPORTED,
    DeliveryReport,
    FeedbackReport,
    code_of,
    read_report,
)
from mailrelay.message.structure import (
    decoded,
    decoded_text,
    part_at,
    read_structure,
    text_and_html,
)
from mailrelay.message.words import CONTROLS, decoded_words
from mailrelay.net.dnssec import TLSA
from mailrelay.net.peer_tls import CertificateRefused
from mailrelay.policy.file_links import PATH, PURPOSE, FileLinks
from mailrelay.policy.links import Links
from mailrelay.queue.entry import Entry, Message
from mailrelay.smtp.address import Address, MalformedAddress, parse_path
from mailrelay.smtp.command import BadCommand, parse_command
from mailrelay.smtp.extensions import Extensions
from mailrelay.smtp.reader import (
    CommandLine,
    ContentData,
    ContentEnd,
    LineTooLong,
    Reader,
    has_bare,
)
from mailrelay.smtp.reply import MalformedReply, Reply, ReplyLine, assemble
from mailrelay.templates.model import BadTemplate, CannotRender, Source
from mailrelay.templates.rendering import compiled, rendered
from mailrelay.testing.certificates import Authority
from mailrelay.web.files import disposition
from mailrelay.webhooks.complaint import About, complaint_event, is_complaint
from mailrelay.webhooks.received import Kept, received_mail
from mailrelay.webhooks.sent import SentEntry
from tests.fuzz.generators import cut, damaged, grown
from tests.fuzz.http import http_connection, url
from tests.fuzz.reports import aggregate, report_mail, rua, tls_report

ADDRESS = [
    b"user",
    b"@",
    b".",
    b'"',
    b'"a b"',
    b"\\",
    b"<",
    b">",
    b"@example.org",
    b"@[192.0.2.1]",
    b"@[IPv6:2001:db8::1]",
    b"@a.example,@b.example:",
    b"postmaster",
    b"%relay",
    b"host!",
    "ü".encode(),
    "münchen.example".encode(),
    b"xn--mnchen-3ya",
    b"xn--",
    b"x" * 63,
    b"-",
    b"_",
]

COMMAND = [
    b"EHLO ",
    b"HELO ",
    b"MAIL FROM:",
    b"RCPT TO:",
    b"BDAT ",
    b"DATA",
    b"NOOP",
    b"AUTH PLAIN ",
    b"<u@example.org>",
    b"<>",
    b" SIZE=",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b" RET=HDRS",
    b" ENVID=",
    b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;",
    b" ORCPT=utf-8;",
    b"\\x{E9}",
    b"+2B",
    b" HOLDFOR=",
    b" HOLDUNTIL=2030-01-02T03:04:05Z",
    b" REQUIRETLS",
    b" AUTH=<>",
    b"123",
    b" LAST",
    b"=",
    b" ",
    b"example.org",
]

STREAM = [
    b"DATA\r\n",
    b"BDAT 5\r\n",
    b"BDAT 0\r\n",
    b"BDAT 70 LAST\r\n",
    b"NOOP\r\n",
    b"\r\n.\r\n",
    b".\r\n",
    b"\n.\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"..",
    b"\r",
    b"\n",
    b"text",
    b"x" * 60,
]

REPLY = [
    b"250",
    b"550",
    b"354",
    b"-",
    b" ",
    b"2.0.0 ",
    b"5.1.1 ",
    b"ok",
    b"SIZE 10",
    b"AUTH=",
    b"LIMITS ",
]

HEADER = [
    b"From: ",
    b"Subject:",
    b"Received: x\r\n",
    b"Auto-Submitted: ",
    b"List-Id: <x>\r\n",
    b"Precedence: bulk\r\n",
    b"\r\n",
    b"\r\n ",
    b"a@example.org",
    b"<a@example.org>",
    b", ",
    b'"',
    b"(",
    b")",
    b"=?utf-8?q?=C3=BC?=",
    b"=?utf-8?b?w7w=?=",
    b"=?x?",
    b":",
    b";",
]

MIME = [
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Type: multipart/report; boundary=b\r\n",
    b"Content-Type: multipart/alternative;\r\n boundary=a\r\n",
    b"Content-Type: text/html; charset=",
    b"Content-Type: text/plain; name*0*=utf-8''%C3; name*1=",
    b"Content-Type: message/delivery-status\r\n",
    b"Content-Type: message/feedback-report\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename=",
    b"Content-ID: <a@b>\r\n",
    b"Date: Sat, 21 Nov 2026 09:08:18 +0000\r\n",
    b"Reporting-MTA: dns; x\r\n",
    b"Final-Recipient: utf-8; \\x{FC}@x\r\n",
    b"Action: failed\r\nStatus: 5.1.1\r\n",
    b"Diagnostic-Code: smtp; 550-5.1.1 x\r\n",
    b"Original-Rcpt-To: <a@b>\r\n",
    *(b"\r\n\r\n", b"\r\n", b"--a\r\n", b"--a--\r\n", b"--b\r\n", b"--b--\r\n", b"w7w=", b"=C3="),
    *(b"utf-7", b"utf-16", b"hz", b"text", b'"', b"(", b"=?utf-8?q?x?="),
]

PROXY = [
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"192.0.2.1 ",
    b"2001:db8::1 ",
    b"fe80::1%x ",
    b"65535",
    b" ",
    b"\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
    b"\xc0\0\2\1" * 3,
]

SASL = [
    b"\0",
    b"user@example.org",
    b"pencil",
    b"n,,",
    b"y,,",
    b"p=tls-server-end-point,,",
    b"n=user@example.org",
    b",r=abc",
    b",r=abcserver",
    b"c=biws",
    b",p=" + b"A" * 43 + b"=",
    b",",
    b"=",
    b"m=x",
    "é".encode(),
]

TOML = [
    b'hostname = "mx.example.org"\n',
    b'data_dir = "d"\n',
    b'[[listener]]\nrole = "mx"\nendpoint = "tcp:25"\n',
    b"[queue]\n",
    b'retry_profile = "mox"\n',
    b"first_retry_after = ",
    b"[limits]\nmessage_bytes = ",
    b"[relay_host]\n",
    b'host = "relay.example"\nport = ',
    b'tls = "verify"\n',
    b'password_file = "x\\u0000"\n',
    b'[[route]]\ndomain = "',
    b"mx = true\n",
    b'trusted_networks = ["',
    b"10.0.0.0/8",
    b'"]\n',
    b"[log.levels]\n",
    b'[smtp_out.host_overrides]\n"a" = "b:',
    b"nan\n",
    b"-1\n",
    b"1e400\n",
    b"true\n",
    b"[]\n",
    b"{}\n",
    b'"',
    b"\n",
    b"9" * 30 + b"\n",
    b"9" * 5000 + b"\n",
]

BASE = Path("/nonexistent")


def command_line(random: Random) -> None:
    """A command, or BadCommand with a 5yz reply that fits its line."""
    try:
        parse_command(grown(random, COMMAND))
    except BadCommand as error:
        assert error.reply.is_permanent
        assert b"\r" not in error.reply.to_wire()[:-2]


def address(random: Random) -> None:
    """An address that is read back from what it writes, or MalformedAddress."""
    text = grown(random, ADDRESS, 6).decode("utf-8", "replace")
    for parse in (Address.parse, lambda t: parse_path(f"<{t}>")[0], lambda t: parse_path(t)[0]):
        try:
            found = parse(text)
        except MalformedAddress:
            continue
        if found is not None and found.domain:
            assert str(found).isprintable()
            assert Address.parse(str(found)) == found


def reader(random: Random) -> None:
    """The same events however the bytes are cut; content never becomes a line."""
    stream = grown(random, STREAM, 20)
    whole, pieces = _events([stream]), _events(cut(random, stream))
    assert whole == pieces, f"{whole} != {pieces}"


def _events(pieces: list[bytes]) -> list[tuple[str, bytes, bool]]:
    reading = Reader(50)
    seen: list[tuple[str, bytes, bool]] = []
    for piece in pieces:
        reading.feed(piece)
        while (event := reading.next_event()) is not None:
            match event:
                case CommandLine(line, bare):
                    seen.append(("line", line, bare))
                    words = line.split()
                    if words == [b"DATA"]:
                        reading.expect_data()
                    elif words[:1] == [b"BDAT"] and len(words) > 1 and words[1].isdigit():
                        reading.expect_chunk(int(words[1][:6]), first=words[-1] == b"LAST")
                case LineTooLong():
                    seen.append(("too long", b"", False))
                case ContentData(data, bare):
                    assert data
                    if seen[-1][0] == "content":
                        _, before, was = seen.pop()
                        data, bare = before + data, was or bare
                    seen.append(("content", data, bare))
                case ContentEnd(bare):
                    seen.append(("end", b"", bare))
    return seen


def reply_lines(random: Random) -> None:
    """A reply that can be written again, or MalformedReply."""
    lines = grown(random, REPLY, 30).split(b"\r\n")
    try:
        parsed = [ReplyLine.parse(line) for line in lines]
        answer = assemble(parsed)
    except MalformedReply as error:
        assert len(str(error)) < 300
        return
    offered = Extensions.parse(answer)
    assert offered.size_bytes != 0
    assert offered.max_recipients != 0
    wire = answer.to_wire()
    assert wire.count(b"\r\n") == answer.text.count("\n") + 1


def header(random: Random) -> None:
    """A header, or HeaderTooLarge; everything asked of it is answered."""
    content = grown(random, HEADER, 40)
    try:
        found = parse_header(content)
    except HeaderTooLarge:
        return
    assert 0 <= found.size_bytes <= len(content)
    assert header_end(content) <= len(content)
    assert found.is_automatic in (True, False)
    for name, _ in found.fields:
        for text in found.all(name):
            decoded_words(text)
            for one in addresses_in(text):
                assert str(one).isprintable()


def structure(random: Random) -> None:
    """Parts lie within their parts, and everything can be asked of any message."""
    content = grown(random, MIME, 40)
    todo = [read_structure(content)]
    for text in text_and_html(content, todo[0]):
        text.encode()
    while todo:
        part = todo.pop()
        assert 0 <= part.header_at <= part.body_at <= part.end <= len(content)
        assert part.parts or part.decoded_size == len(decoded(content, part))
        assert all(part.body_at <= p.header_at and p.end <= part.end for p in part.parts)
        decoded_text(content, part).encode()
        part.filename.encode()
        todo += part.parts


def received(random: Random) -> None:
    """Any message is told, and each link that is told leads to a part."""
    content = grown(random, MIME, 40)
    kept = Kept(1, 2, "Inbox", [], 3.0, len(content), "", "a@b.example", None)
    links = FileLinks(Links(b"secret", PURPOSE), "", 100.0)
    told = received_mail(content, kept, links, 3.0)
    encode(told)
    for one in told.attachments:
        file = links.read(one.url.removeprefix(PATH), 4.0)
        assert file is not None and file.part is not None
        part = part_at(read_structure(content), file.part)
        assert len(decoded(content, part)) == one.size_bytes
        disposition(one.filename).encode("ascii")


def report(random: Random) -> None:
    """Any message is a report or none; what one says can be asked."""
    front = b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\n--b\r\n"
    content = random.choice((b"", front)) + grown(random, MIME, 40)
    found = read_report(content)
    if isinstance(found, DeliveryReport):
        for recipient in found.recipients:
            code, status = code_of(recipient)
            assert code == 0 or 200 <= code <= 599
            assert not status or status[0] == str(code)[0]
    try:
        fields = read_fields(parse_header(content))
    except HeaderTooLarge:
        return
    assert fields.date is None or fields.date.utcoffset() is not None
    assert not CONTROLS.search(fields.subject)


def feedback(random: Random) -> None:
    """Whatever a feedback report says, its event is small, of one line a field, and can be kept."""
    fields = b"".join(
        name + b": " + grown(random, FEEDBACK, 4) + b"\r\n"
        for name in random.choices(FEEDBACK_FIELDS, k=random.randrange(8))
    )
    front = b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\n--b\r\n"
    part = b"Content-Type: message/feedback-report\r\n\r\n" + fields + b"\r\n--b\r\n"
    third = b"Content-Type: message/rfc822\r\n\r\nReturn-Path: " + grown(random, FEEDBACK, 3)
    found = read_report(front + part + third + b"\r\n\r\n--b--\r\n")
    assert isinstance(found, FeedbackReport)
    assert len(found.recipients) <= MAX_REPORTED
    is_complaint(found)
    message = Message(1, None, found.mail_from, 0.0, 1, "mx")
    entry = Entry(2, message, Address("r", "example.org"), 0.0, 0.0)
    about = About(SentEntry(3, 4, "r@example.net"), 5, "from_id")
    event = complaint_event(found, about, entry, 0.0)
    assert all(str(value).isprintable() and len(str(value)) < 300 for value in event.data.values())
    msgspec.json.encode(event.data)


FEEDBACK_FIELDS = [
    *(b"Feedback-Type", b"User-Agent", b"Original-Mail-From", b"Original-Rcpt-To"),
    *(b"Original-Envelope-Id", b"Arrival-Date", b"Received-Date", b"Version"),
]
FEEDBACK = [
    *(b"abuse", b"not-spam", b"opt-out", b"<a+b@example.org>", b"a@b", b"(", b")", b";", b"\r\n "),
    *(b"x" * 300, b"=?utf-8?b?w7w=?=", b"\x00", b"\x1b[2J", b"\xe2\x80\xa8", b"\xff", b"Loop/1.0"),
]

BOUNDARY = "0f" * 16
DELIMITER = b"--=_dsn_" + BOUNDARY.encode()


def dsn(random: Random) -> None:
    """Any reply, header and parameters make a well-formed DSN of three parts."""
    said = grown(random, [*REPLY, *SPECIAL_TEXT], 20).decode("utf-8", "replace")
    original = grown(random, HEADER, 20)
    block = RecipientReport(
        Address(random.choice(["u", "ü", "a b"]), "example.net"),
        random.choice(list(Action)),
        Reply(random.choice((250, 451, 550)), said),
        orcpt=random.choice((None, f"rfc822;{said}")),
        remote_host=random.choice((None, "mx.example.net")),
    )
    report = Report(
        "mail.example.org",
        Address("s", "example.org"),
        "<1.dsn.2@mail.example.org>",
        BOUNDARY,
        random.choice((None, said)),
        random.choice((None, said)),
        0.0,
        1.0,
        [block],
        original,
        len(original),
        return_full=random.random() < 0.5,
    )
    made = compose_dsn(report)
    *ours, returned = made.split(b"\r\n" + DELIMITER + b"\r\n", 3)
    assert len(ours) == 3, made
    assert not has_bare(b"".join(ours)), ours
    wanted = original if report.return_full else original[: header_end(original)]
    ending = b"" if wanted.endswith(b"\r\n") else b"\r\n"
    assert returned.endswith(b"\r\n\r\n" + wanted + ending + DELIMITER + b"--\r\n"), returned
    message = message_from_bytes(made, policy=policy.compat32)
    parts = message.get_payload()
    assert isinstance(parts, list) and len(parts) == 3, made


SPECIAL_TEXT = [
    b"\n",
    b"\r\nBcc: x\r\n",
    "größe".encode(),
    b"\r\n\r\n",
    DELIMITER,
    b"x" * 500,
]


def proxy_header(random: Random) -> None:
    """The same answer for the whole and for every beginning that is long enough."""
    data = grown(random, PROXY, 8)
    try:
        whole = parse_proxy_header(data)
    except MalformedHeader:
        return
    for size in range(len(data)):
        found = parse_proxy_header(data[:size])
        assert found in (None, whole)
    if whole is not None:
        assert whole.size_bytes <= len(data)
        if whole.source is not None:
            assert whole.source[0].isprintable()
            assert 0 <= whole.source[1] <= 65535


def _verifier(identity: str) -> ScramVerifier:
    return pretended_verifier(b"secret", identity)


def sasl(random: Random) -> None:
    """Challenges, then credentials or a declared refusal; nothing is proven by noise."""
    binding = random.choice((None, ("tls-server-end-point", b"x" * 32)))
    mechanism: Mechanism = random.choice(
        (
            lambda: Plain("192.0.2.1"),
            lambda: Login("192.0.2.1"),
            lambda: Scram(
                "192.0.2.1",
                lambda identity: [_verifier(identity)],
                binding=binding,
                may_bind=random.random() < 0.5,
                nonce="server",
            ),
        )
    )()
    try:
        for _ in range(4):
            step = mechanism.step(None if random.random() < 0.05 else grown(random, SASL, 6))
            if isinstance(step, Verify):
                assert not getattr(step.credentials, "proven", False)
                return
    except (MalformedResponse, NotAuthorized):
        return


def configuration(random: Random) -> None:
    """Settings, or BadConfiguration that says what is wrong."""
    text = b"".join(TOML[:3]) if random.random() < 0.5 else b""
    text += grown(random, TOML, 10)
    name = random.choice(("QUEUE_WINDOW", "LIMITS", "HOSTNAME", "RELAY_HOST_PORT", "LOG_LEVELS"))
    value = grown(random, TOML, 2).decode("utf-8", "replace")
    environment = {f"MAILRELAY_{name}": value} if random.random() < 0.3 else {}
    try:
        parse_settings(text.decode("utf-8", "replace"), environment, file="f", base=BASE)
    except BadConfiguration as error:
        assert error.problems


TEMPLATE = (
    *(b"{{ ", b" }}", b"{% ", b" %}", b"{#", b"#}", b"{%- ", b" -%}", b"a", b"b", b"x", b"'", b'"'),
    *(
        b"for c in b",
        b"endfor",
        b"if a",
        b"else",
        b"elif x",
        b"endif",
        b"set a = ",
        b"raw",
        b"endraw",
    ),
    *(b"|upper", b"|join(", b"|replace('x', a)", b"|format(", b"|items", b"|sort", b"|truncate("),
    *(b" ~ ", b" + ", b" * ", b" % ", b" // ", b" == ", b" in ", b" is defined", b" not ", b"["),
    *(b"]", b"(", b")", b":", b",", b".", b"0", b"9", b"-1", b"1e9", b"range(9)", b"loop.index"),
    *(b"{% for c in b %}", b"{% endfor %}", b"{% if a %}", b"{% endif %}", b"<p>", b"\n", b"%99d"),
)
EXPRESSIONS = (
    *("a|upper ~ b[0]", "b[2].c + 1", "b[2]|items", "a|replace('x', a * 2)", "'%d'|format(b[1])"),
    *("b|join(a)", "x.y", "x|default(a)", "b|sort", "b[:2]|sum", "a[1:]|title", "b[0] // 0"),
    *("1 if a else b", "b|length > 1 and a", "a in b", "range(3)|join('-')", "b[0]|round(b[1])"),
    *("a|truncate(b[1])", "b|first|float", "a is number", "b|last|urlencode", "a|int(9)|abs"),
    *("'%99s'|format(a)", "b|reverse|max", "[1, 'a']|min", "-b[1] % 3", "a|e|safe", "x is defined"),
)
HTML = (
    *(b"<p>", b"</p>", b"<a href=", b"http://x", b"</a>", b"<ul>", b"<li>", b"</ul>", b"<ol>"),
    *(b"<pre>", b"</pre>", b"<script>", b"</script>", b"<!--", b"-->", b"<", b">", b"/", b"="),
    *(
        b"'",
        b'"',
        b"&amp;",
        b"&#",
        b"99999",
        b";",
        b"text",
        b" ",
        b"\n",
        b"<br>",
        b"<td>",
        b"<img alt=",
    ),
)


def template(random: Random) -> None:
    """A message, or what is wrong with a template or its variables; never much of either."""
    text = grown(random, TEMPLATE, 16).decode("utf-8", "replace")
    if random.random() < 0.7:
        pieces = random.choices(EXPRESSIONS, k=random.randint(1, 4))
        text = " ".join(
            random.choice(("{{ %s }}", "{%% if %s %%}y{%% endif %%}")) % p for p in pieces
        )
        text = damaged(random, text.encode()).decode("utf-8", "replace")
    variables = {"a": "x<", "b": [1, 2, {"c": 3}]}
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)  # "\9" in a string of a template
        try:
            made = rendered(compiled(Source(text=text, html=text)), variables)
        except (BadTemplate, CannotRender) as error:
            assert str(error).isprintable() and len(str(error)) < 1000, error
            return
    assert len(made.text) < 200 * (len(text) + 100)


def html(random: Random) -> None:
    """The text of HTML, which is not much longer."""
    source = grown(random, HTML, 30).decode("utf-8", "replace")
    assert len(plain_text(source)) <= 21 * len(source) + 2


SPF_TERMS = tuple(
    b"a mx ptr all include: exists: ip4: ip6: redirect= exp= x= - ~ ? + a: mx: ptr: /24 //64 /999"
    b" d.test %{i} %{ir}.%{v}._spf.%{d2} %{lr-} %{p} %{s1r.-+,/_=} %% %_ %- % %{ } %{c} 192.0.2.1"
    b" 2001:db8:: . .. : / v=spf1 \xff \x00 %{d0} %{d999}".split(b" ")
)
SPF_VALUES = {letter: "some.value-of+it" for letter in "slodiphcrtv"}


def spf(random: Random) -> None:
    """A record, whose macros can be expanded if it can be read."""
    text = b"v=spf1 " + b" ".join(grown(random, SPF_TERMS, 3) for _ in range(random.randint(0, 5)))
    try:
        record = parse_record(text)
    except MalformedRecord:
        return
    for written in filter(None, [*(m.domain for m in record.mechanisms), record.redirect]):
        assert set(letters_in(written)) <= set(SPF_VALUES)
        expand(written, SPF_VALUES)


DKIM_PIECES = (
    *(
        b"v=1;",
        b"a=rsa-sha256;",
        b"c=relaxed/simple;",
        b"c=;",
        b"d=d.test;",
        b"s=s;",
        b"h=from:to;",
    ),
    *(b"bh=AAAA;", b"b=AAAA", b"b=;", b"l=5;", b"l=999999999999;", b"t=1;", b"x=0;", b"i=@d.test;"),
    *(b"\r\n ", b" ", b";", b"=", b"\xff", b"v=DKIM1;", b"k=rsa;", b"p=AAAA;", b"p=;", b"t=y:s;"),
)


def dkim(random: Random) -> None:
    """A signature, what it signs of a header, and a key."""
    usual = b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=d.test; s=s; h=from; bh=AAAA; b=AAAA; "
    text = damaged(random, usual) if random.random() < 0.5 else b""
    raw = b"DKIM-Signature: " + text + grown(random, DKIM_PIECES, 20)
    fields = raw_fields(damaged(random, raw + b"\r\nFrom: a@d.test\r\nTo : x\r\n"))
    with suppress(MalformedSignature):
        signature = parse_signature(raw)
        assert signature.signed_bytes([*fields, raw])
    with suppress(MalformedKey):
        parse_key(grown(random, DKIM_PIECES, 8), random.choice(list(Algorithm)))


ARC_PIECES = (
    *(b"ARC-Seal:", b"ARC-Message-Signature:", b"ARC-Authentication-Results:", b"\r\n"),
    *(b" i=1;", b" i=2;", b" i=50;", b" i=;", b" cv=none;", b" cv=pass;", b" cv=fail;", b" cv=;"),
    *(b" mx.test; spf=pass", b" v=1;", b" h=from:arc-seal;", b"\xff", b" (", *DKIM_PIECES[1:15]),
)


RESULT_PIECES = (
    *(b"dmarc=pass", b" header.from=a.test", b";", b" ", b'"', b"(", b")", b"\\", b"=", b"\xff"),
    *(b"dkim=pass", b"/1", b"pass", b"\r\n\t"),
)


def arc(random: Random) -> None:
    """A chain of seals: it is whole, and what its seals cover can be told, or is none."""
    usual = b"a=rsa-sha256; d=d.test; s=s; b=AAAA"
    sets = b"".join(
        b"ARC-Seal: i=%d; cv=%s; %s\r\nARC-Message-Signature: i=%d; h=from; bh=AAAA; %s\r\n"
        b"ARC-Authentication-Results: i=%d; mx.test; none\r\n"
        % (number, b"pass" if number > 1 else b"none", usual, number, usual, number)
        for number in range(1, random.randrange(2, 5))
    )
    text = damaged(random, sets) if random.random() < 0.5 else sets
    chain = chain_of(raw_fields(text + grown(random, ARC_PIECES, random.choice((0, 20)))))
    assert not (chain.problem and chain.sets)
    assert len(chain.sets) <= MOST_SETS
    for number in range(1, len(chain.sets) + 1):
        assert chain.sealed_bytes(number)
    for method, _ in results_in(b"x: i=1; mx.test; " + grown(random, RESULT_PIECES, 12)):
        assert method == method.lower()


CLAIM_PIECES = (
    *(b"Authentication-Results:", b"authentication-results :", b"\r\n", b"\r\n ", b" mx.test"),
    *(b"; spf=pass", b" (", b")", b'"', b"\\", b" MX.TEST.", b"/1", b"\xff", b" other.test"),
)


def auth_results(random: Random) -> None:
    """What claims our name is found, whatever stands above it."""
    head = grown(random, CLAIM_PIECES, 30)
    ours = b"\r\nAuthentication-Results: (x) mx.test; spf=pass\r\n"
    found = list(claiming(head + ours + b"\r\n", "mx.test"))
    assert all(at < end for at, end in found)
    if header_end(head + ours + b"\r\n") > len(head) + 2:
        assert len(head) + 2 in [at for at, _ in found]


DMARC_PIECES = (
    *(b"p=", b"sp=", b"np=", b"none", b"reject", b";", b" ; ", b"psd=y", b"psd=", b"t=y", b"pct="),
    *(b"999", b"rua=", b"mailto:a@b.test", b",", b"!10m", b"!", b"\xff", b"=", b"v=DMARC1", b" "),
)


def dmarc(random: Random) -> None:
    """A DMARC record is read, whatever is in it."""
    text = b"v=DMARC1;" + grown(random, DMARC_PIECES, 20)
    assert is_dmarc_record(text)
    record = parse_dmarc_record(text)
    assert 0 <= record.percent <= 100
    assert all(one.lower().startswith("mailto:") for one in (*record.rua, *record.ruf))


RSPAMD_PIECES = (
    *(b'{"action":', b'"reject"', b'"no action"', b'"greylist"', b",", b"}", b"]", b"[", b"{"),
    *(b'"score":', b'"required_score":', b"1e999", b"-1.5", b"15", b"null", b'"symbols":'),
    *(b'"GTUBE":', b'"messages":', b'"smtp_message":', b'"a\\r\\nb\\u0000\\ud800"', b'"milter":'),
    *(b'"add_headers":', b'"remove_headers":', b'"X-A":', b'"Subject":', b'"value":', b"\xff"),
)


def rspamd(random: Random) -> None:
    """rspamd's answer: what it becomes in a header is whole, short lines of ASCII."""
    usual = (
        b'{"action": "add header", "score": 7, "required_score": 15,'
        b' "symbols": {"A": {"score": 7}},'
        b' "messages": {"smtp_message": "x"}, "milter": {"add_headers": {"X-A": "b", "X-C": '
        b'{"value": "d"}}, "remove_headers": {"X-E": 0}}}'
    )
    text = damaged(random, usual) if random.random() < 0.7 else grown(random, RSPAMD_PIECES, 20)
    try:
        answer = read_answer(text)
    except UnusableAnswer as error:
        assert str(error).isprintable()
        return
    fields = fields_of(answer)
    assert str(answer).isprintable() and answer.message.isprintable()
    assert fields.isascii() and fields.endswith(b"\r\n") and b"\0" not in fields
    for line in fields.split(b"\r\n")[:-1]:
        assert len(line) < 300 and b"\n" not in line
        assert line[:2].upper() == b"X-" or line[:1] == b" "


TLSA_CHAIN = [Authority().issue(["mx.peer.test"])[0]]
STS_RECORD = b"v=STSv1; id=20160831085700Z; later=yes;"
STS_POLICY = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
    b"max_age: 604800\r\n"
)


def mta_sts(random: Random) -> None:
    """MTA-STS records and policies; what is read as a policy is served as what is read again."""
    with suppress(MalformedPolicy):
        found = record_id([damaged(random, STS_RECORD), damaged(random, b"v=spf1 -all")])
        assert found is None or found.isalnum()
    with suppress(MalformedPolicy):
        policy = parse_policy(damaged(random, STS_POLICY))
        assert parse_policy(str(policy).encode()) == policy
        assert 0 <= policy.max_age <= MOST_AGE
        policy.fits(damaged(random, b"mx.example.net").decode("utf-8", "replace"))


def tlsa(random: Random) -> None:
    """TLSA records of any bytes, against a chain."""
    certificate = TLSA_CHAIN[0].public_bytes(Encoding.DER)
    data = random.choice([damaged(random, certificate), random.randbytes(random.choice([32, 64]))])
    numbers = random.choices([0, 1, 2, 3, 4, 255], k=3)
    record = TLSA(numbers[0], numbers[1], numbers[2], data)
    good = usable([record, record])
    with suppress(CertificateRefused):
        assert authenticate(good, ["mx.peer.test"], TLSA_CHAIN) == record
        assert data == certificate


TARGETS: dict[str, Callable[[Random], None]] = {
    target.__name__: target
    for target in (
        command_line,
        address,
        reader,
        reply_lines,
        header,
        structure,
        received,
        report,
        feedback,
        dsn,
        proxy_header,
        sasl,
        configuration,
        http_connection,
        url,
        template,
        html,
        spf,
        dkim,
        dmarc,
        auth_results,
        arc,
        rspamd,
        aggregate,
        tls_report,
        report_mail,
        rua,
        mta_sts,
        tlsa,
    )
}
