"""webapi.md section 2, the Suppression methods."""

from __future__ import annotations

import re

from mailrelay.control.suppression import NewSuppression
from mailrelay.smtp.address import Address
from mailrelay.testing.loopback import USER
from tests.integration.webapi.api import APICase
from tests.integration.world import OTHER_PASSWORD


class SuppressionTests(APICase):
    """SuppressionList, Add, Remove, Present."""

    async def test_life(self) -> None:
        """An address is added once, found in all its spellings, listed as in mox, and removed."""
        api = await self.start()
        address = "Joe.Doe-x+tag@Example.NET"
        added = await api.call(
            "SuppressionAdd", {"EmailAddress": address, "Manual": True, "Reason": "asked"}
        )
        self.assertEqual((added.status, added.json), (200, {}))
        again = await api.call("SuppressionAdd", {"EmailAddress": "j.oedoe@example.net"})
        self.assertEqual(again.code, "error")
        [one] = (await api.call("SuppressionList")).json["Suppressions"]
        self.assertEqual(
            list(one),
            ["ID", "Created", "Account", "BaseAddress", "OriginalAddress", "Manual", "Reason"],
        )
        self.assertRegex(one["Created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z$")
        self.assertEqual(
            (one["Account"], one["BaseAddress"], one["Manual"], one["Reason"]),
            ("user", "joedoe@example.net", True, "asked"),
        )
        self.assertEqual(one["OriginalAddress"], re.sub("Example.NET", "example.net", address))
        self.assertGreater(one["ID"], 0)
        present = {"EmailAddress": "JOEDOE+other@example.net"}
        self.assertEqual((await api.call("SuppressionPresent", present)).json, {"Present": True})
        self.assertEqual((await api.call("SuppressionRemove", present)).json, {})
        self.assertEqual((await api.call("SuppressionPresent", present)).json, {"Present": False})
        self.assertEqual((await api.call("SuppressionRemove", present)).code, "error")

    async def test_order(self) -> None:
        """The list is by base address."""
        api = await self.start()
        for address in ("c@x.example", "a@x.example", "b@x.example"):
            await api.call("SuppressionAdd", {"EmailAddress": address})
        listed = (await api.call("SuppressionList")).json["Suppressions"]
        self.assertEqual([one["BaseAddress"][0] for one in listed], ["a", "b", "c"])

    async def test_addresses(self) -> None:
        """What is no address is badAddress in all three."""
        api = await self.start()
        for method in ("SuppressionAdd", "SuppressionRemove", "SuppressionPresent"):
            for address in ("", "x", "x@", "@x.example", "a b@x.example", "<a@x.example>"):
                answered = await api.call(method, {"EmailAddress": address})
                self.assertEqual(answered.code, "badAddress", (method, address))

    async def test_accounts(self) -> None:
        """Each account has its own list."""
        api = await self.start()
        other = api.logged_in("other@example.org", OTHER_PASSWORD)
        suppressed = {"EmailAddress": "a@x.example"}
        await api.call("SuppressionAdd", suppressed)
        self.assertEqual((await other.call("SuppressionList")).json, {"Suppressions": []})
        self.assertEqual(
            (await other.call("SuppressionPresent", suppressed)).json["Present"], False
        )
        self.assertEqual((await other.call("SuppressionRemove", suppressed)).code, "error")
        self.assertEqual((await other.call("SuppressionAdd", suppressed)).status, 200)
        await api.call("SuppressionRemove", suppressed)
        self.assertEqual((await other.call("SuppressionPresent", suppressed)).json["Present"], True)

    async def test_sending(self) -> None:
        """Send takes a suppressed address; the delivery is what is suppressed, and a DSN comes."""
        api = await self.start()
        await api.call("SuppressionAdd", {"EmailAddress": "joe@example.net"})
        result = await api.send(To=[{"Address": "j.oe+x@example.net"}])
        [dsn] = await self.arrived(api)
        meta = (await api.call("MessageGet", {"MsgID": dsn.id})).json["Meta"]
        self.assertEqual(
            (meta["DSN"], meta["RcptTo"], meta["MsgFrom"], meta["MailFrom"], meta["RemoteIP"]),
            (True, "", "", "", ""),
        )
        self.assertEqual(dsn.recipient, USER)
        self.assertEqual(len(result["Submissions"]), 1)

    async def test_what_mox_does_not_have(self) -> None:
        """Whole domains, the server's list and what has ended are not seen; * is a mailbox."""
        api = await self.start()
        control = self.control(api)
        await control.suppression.add("user", "*@x.example")
        await control.suppression.add(None, "a@x.example")
        past = NewSuppression(Address("b", "x.example"), 1.0, expires_at=2.0)
        await control.suppression.import_all("user", [past])
        for address in ("a@x.example", "b@x.example", "*@x.example"):
            present = await api.call("SuppressionPresent", {"EmailAddress": address})
            self.assertEqual(present.json, {"Present": False}, address)
        self.assertEqual((await api.call("SuppressionList")).json, {"Suppressions": []})
        for address, base in (("*@y.example", '"*"@y.example'), ("b@x.example", "b@x.example")):
            mailbox = {"EmailAddress": address}
            self.assertEqual((await api.call("SuppressionAdd", mailbox)).json, {})
            present = await api.call("SuppressionPresent", mailbox)
            self.assertEqual(present.json, {"Present": True})
            [one] = (await api.call("SuppressionList")).json["Suppressions"]
            self.assertEqual((one["BaseAddress"], one["OriginalAddress"]), (base, address))
            self.assertEqual((await api.call("SuppressionRemove", mailbox)).json, {})
        removed = await api.call("SuppressionRemove", {"EmailAddress": "*@x.example"})
        self.assertEqual(removed.code, "error")
