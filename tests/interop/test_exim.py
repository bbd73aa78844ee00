"""Debian's Exim, in both directions."""

from __future__ import annotations

from typing_extensions import override

from tests.interop.exim import IN_TLS, Exim
from tests.interop.peers import OUR_LOGIN, FromPeerContract, ToPeerContract
from tests.interop.programs import InteropTestCase


class FromEximTests(FromPeerContract, InteropTestCase):
    """Exim hands mail to us; it knows no mechanism but PLAIN here."""

    @override
    async def peer(self, next_port: int, mechanism: str = "") -> Exim:
        """See FromPeerContract."""
        transport = f"{IN_TLS}\n  hosts_require_auth = *" if mechanism else IN_TLS
        login = OUR_LOGIN if mechanism else ("", "")
        self.exim = await Exim.start(self, next_port, transport=transport, login=login)
        return self.exim

    @override
    async def test_as_mx(self) -> None:
        """In chunks, too: Exim prefers BDAT."""
        await super().test_as_mx()
        log = (self.exim.home / "log/mainlog").read_text()
        self.assertRegex(log, r"=> user@example.org .* K ")  # K: by CHUNKING


class ToEximTests(ToPeerContract, InteropTestCase):
    """We hand mail to Exim."""

    saw_login = b"with esmtpsa"

    @override
    async def peer(self, next_port: int, *, wants_login: bool = False) -> Exim:
        """See ToPeerContract."""
        check = "accept authenticated = *" if wants_login else "accept"
        transport = "hosts_avoid_tls = *"
        return await Exim.start(
            self, next_port, transport=transport, check=check, offers_auth=wants_login
        )
