"""The pages of the webapi."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import unescape
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailrelay
from mailrelay.webapi import types
from mailrelay.webapi.caller import Caller
from mailrelay.webapi.draft import Upload
from mailrelay.webapi.methods import Method, Result
from mailrelay.webapi.pages import example_request, index_page, method_page
from mailrelay.webhooks.gojson import decode

PAGE = Path(mailrelay.__file__).parent.parent / "docs" / "webapi.md"


async def nothing(caller: Caller, request: object, uploads: Sequence[Upload]) -> Result:
    """Is not called."""
    raise AssertionError("a page calls nothing")


class PageTests(SynchronousTestCase):
    """index_page, method_page, example_request."""

    def test_example(self) -> None:
        """Every field is in it, one element in each list, zero times; it decodes."""
        example = example_request(types.SendRequest)
        self.assertIn('\n\t"To": [\n\t\t{\n\t\t\t"Name": ""', example)
        shown = json.loads(example)
        self.assertEqual(shown["Date"], "0001-01-01T00:00:00Z")
        self.assertEqual(shown["FutureRelease"], "0001-01-01T00:00:00Z")
        self.assertEqual((shown["Extra"], shown["Headers"]), ({"": ""}, [[""]]))
        self.assertEqual(
            set(shown["AttachedFiles"][0]), {"Name", "ContentType", "ContentID", "Data"}
        )
        self.assertIs(shown["RequireTLS"], False)
        decode(example, types.SendRequest)

    def test_method(self) -> None:
        """The form has the example; where the answer is JSON there is a place for it."""
        for is_bytes in (False, True):
            method = Method("Some", types.MessageRequest, nothing, "does <b>", is_bytes=is_bytes)
            page = method_page(method)
            self.assertIn('name="request"', page)
            self.assertIn("does &lt;b&gt;", page)
            self.assertIn('{\n\t"MsgID": 0\n}', unescape(page))
            self.assertEqual("<script>" in page, not is_bytes)

    def test_index(self) -> None:
        """Names are escaped."""
        page = index_page([Method("<b>", types.MessageRequest, nothing, "x")])
        self.assertNotIn("<b>", page)


class ReferenceTests(SynchronousTestCase):
    """docs/webapi.md."""

    def test_everything_is_told(self) -> None:
        """Every method has an example, every field of a request and every code is named."""
        page = PAGE.read_text(encoding="utf-8")
        root = Path(mailrelay.__file__).parent / "webapi"
        source = "".join(path.read_text() for path in root.glob("*.py"))
        for name in METHODS:
            self.assertIn(f'"{name}"', source)
            self.assertIn(f"/webapi/v0/{name} ", page)
        for name in json.loads(example_request(types.SendRequest)):
            self.assertIn(f"`{name}`", page)
        for code in CODES:
            self.assertIn(f'"{code}"', source)
            self.assertIn(f"`{code}`", page)


METHODS = [
    *("Send", "SuppressionAdd", "SuppressionPresent", "SuppressionList", "SuppressionRemove"),
    *("MessageGet", "MessageRawGet", "MessagePartGet", "MessageDelete", "MessageMove"),
    *("MessageFlagsAdd", "MessageFlagsRemove"),
]
CODES = [
    *("protocol", "server", "user", "error", "badAddress", "missingBody", "multipleFrom"),
    *("badFrom", "domainDisabled", "noRecipients", "messageLimitReached"),
    *("recipientLimitReached", "messageTooLarge", "malformedMessageID", "sentOverQuota"),
    *("messageNotFound", "partNotFound"),
]
