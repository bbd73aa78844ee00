"""JSON in Go's ways, against what a running mox wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.webhooks.gojson import GoStruct, MalformedJSON, decode, encode, go_name, go_time
from mailrelay.webhooks.types import Incoming, IncomingMeta, NameAddress, Outgoing, Structure

DELIVERED = (
    rb'{"Version":0,"Event":"delivered","DSN":false,"Suppressing":false,"QueueMsgID":3,'
    rb'"FromID":"BJt8g280KHlLHkyxDofFnA","MessageID":"\u003cd9nRlC1SIb8q3zSGbYl9qQ@localhost\u003e",'
    rb'"Subject":"second hello","WebhookQueued":"2026-11-21T09:06:34.193556Z","SMTPCode":0,'
    rb'"SMTPEnhancedCode":"","Error":"","Extra":{"userid":"456"}}'
)
INCOMING = (
    '{"Version":0,"From":[{"Name":"","Address":"mox@localhost"}],'
    '"To":[{"Name":"","Address":"mox@localhost"}],"CC":[],"BCC":[],"ReplyTo":[],'
    r'"Subject":"second hello","MessageID":"\u003cd9nRlC1SIb8q3zSGbYl9qQ@localhost\u003e",'
    '"InReplyTo":"","References":[],"Date":"2026-11-21T09:06:34Z","Text":"hi ☺\\n","HTML":"",'
    '"Structure":{"ContentType":"text/plain","ContentTypeParams":{"charset":"utf-8"},'
    '"ContentID":"","ContentDisposition":"","Filename":"","DecodedSize":8,"Parts":[]},'
    '"Meta":{"MsgID":3,"MailFrom":"mox+BJt8g280KHlLHkyxDofFnA@localhost","MailFromValidated":true,'
    '"MsgFromValidated":true,"RcptTo":"mox@localhost","DKIMVerifiedDomains":["localhost"],'
    '"RemoteIP":"127.0.0.1","Received":"2026-11-21T09:06:34.185150Z","MailboxName":"Inbox",'
    '"Automated":false}}'
).replace(".185150Z", ".18515Z")
MOX = NameAddress(address="mox@localhost")


class Inner(GoStruct, frozen=True):
    """A struct in a list."""

    name: str = ""


class Request(GoStruct, frozen=True):
    """A request as the webapi knows them."""

    from_: list[Inner] = []
    msg_id: int = 0
    extra: dict[str, str] = {}
    future_release: str | None = None


class EncodeTests(SynchronousTestCase):
    """What goes out."""

    def test_delivered(self) -> None:
        """An outgoing call's body is byte for byte what mox sent."""
        said = Outgoing(
            event="delivered",
            queue_msg_id=3,
            from_id="BJt8g280KHlLHkyxDofFnA",
            message_id="<d9nRlC1SIb8q3zSGbYl9qQ@localhost>",
            subject="second hello",
            webhook_queued=go_time(1795251994.193556),
            extra={"userid": "456"},
        )
        self.assertEqual(encode(said, escape_html=True), DELIVERED)

    def test_incoming(self) -> None:
        """So is an incoming one's."""
        said = Incoming(
            from_=[MOX],
            to=[MOX],
            subject="second hello",
            message_id="<d9nRlC1SIb8q3zSGbYl9qQ@localhost>",
            date=go_time(1795251994),
            text="hi ☺\n",
            structure=Structure(
                content_type="text/plain",
                content_type_params={"charset": "utf-8"},
                decoded_size=8,
            ),
            meta=IncomingMeta(
                msg_id=3,
                mail_from="mox+BJt8g280KHlLHkyxDofFnA@localhost",
                mail_from_validated=True,
                msg_from_validated=True,
                rcpt_to="mox@localhost",
                dkim_verified_domains=["localhost"],
                remote_ip="127.0.0.1",
                received=go_time(1795251994.18515),
                mailbox_name="Inbox",
            ),
        )
        self.assertEqual(encode(said, escape_html=True).decode(), INCOMING)

    def test_escapes(self) -> None:
        """HTML is escaped where asked for, line separators always."""
        self.assertEqual(encode("<&>\u2028"), rb'"<&>\u2028"')
        self.assertEqual(encode("<&>\u2029", escape_html=True), rb'"\u003c\u0026\u003e\u2029"')

    def test_names(self) -> None:
        """Initialisms are upper case, a trailing underscore is Python's own."""
        names = ["from_", "smtp_enhanced_code", "remote_ip", "dkim_verified_domains", "html"]
        expected = ["From", "SMTPEnhancedCode", "RemoteIP", "DKIMVerifiedDomains", "HTML"]
        self.assertEqual([go_name(name) for name in names], expected)


class DecodeTests(SynchronousTestCase):
    """What comes in."""

    def test_any_case(self) -> None:
        """Field names match in any case, keys of maps stay as they are."""
        found = decode('{"FROM":[{"nAmE":"x"}],"msgid":7,"Extra":{"User-ID":"1"}}', Request)
        expected = Request(from_=[Inner(name="x")], msg_id=7, extra={"User-ID": "1"})
        self.assertEqual(found, expected)

    def test_null_and_rest(self) -> None:
        """Null is the zero value, at every level; what follows the value is ignored."""
        for text in ("null", "{}", '{"From":null,"MsgID":null,"Extra":null}', "{} x", " {}{}"):
            self.assertEqual(decode(text, Request), Request(), text)
        self.assertEqual(decode('{"From":[{"Name":null}]}', Request), Request(from_=[Inner()]))

    def test_refused(self) -> None:
        """Unknown fields, wrong types and what is no JSON."""
        for text in (
            "",
            "[]",
            "1",
            '{"Unknown":1}',
            '{"MsgID":"1"}',
            '{"MsgID":1.5}',
            '{"From":{}}',
            '{"Extra":{"a":1}}',
            '{"MsgID":NaN}',
            '{"MsgID":1.0}',
            '{"MsgID":1e3}',
            '{"MsgID":true}',
            '{"MsgID":9223372036854775808}',
            '{"MsgID":%s}' % ("9" * 5000),
            '{"Extra":{"a":"\\ud800"}}',
            "[" * 100_000,
            '{"From":[{"Name":"\\udfff"}]}',
        ):
            self.assertRaises(MalformedJSON, decode, text, Request)

    @given(
        st.builds(
            Request,
            from_=st.lists(st.builds(Inner, name=st.text()), max_size=2),
            msg_id=st.integers(-(2**63), 2**63 - 1),
            extra=st.dictionaries(st.text(), st.text(), max_size=2),
            future_release=st.none() | st.text(),
        )
    )
    def test_both_ways(self, request: Request) -> None:
        """What is read at once is what is read with all of Go's leniency."""
        text = encode(request).decode()
        self.assertEqual(decode(text, Request), decode(f"{text} rest", Request))

    @given(st.text(max_size=40))
    def test_only_one_error(self, text: str) -> None:
        """Whatever comes, only the declared exception leaves."""
        try:
            decode(text, Request)
        except MalformedJSON:
            return

    @given(
        st.builds(
            Request,
            from_=st.lists(st.builds(Inner, name=st.text(max_size=5)), max_size=3),
            msg_id=st.integers(0, 2**53),
            extra=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        )
    )
    def test_round_trip(self, request: Request) -> None:
        """What is encoded, with or without escapes, is read back."""
        for escape in (False, True):
            self.assertEqual(decode(encode(request, escape_html=escape).decode(), Request), request)
