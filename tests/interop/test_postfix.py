"""Debian's Postfix, in both directions."""

from __future__ import annotations

from typing_extensions import override

from tests.interop.peers import OUR_LOGIN, THEIR_LOGIN, FromPeerContract, ToPeerContract
from tests.interop.postfix import Postfix
from tests.interop.programs import InteropTestCase, reactor
from tests.interop.sasl_server import AuthenticationServer


class FromPostfixTests(FromPeerContract, InteropTestCase):
    """Postfix hands mail to us."""

    @override
    async def peer(self, next_port: int, mechanism: str = "") -> Postfix:
        """See FromPeerContract."""
        server, login = f"[127.0.0.1]:{next_port}", ":".join(OUR_LOGIN)
        more = (
            "smtp_sasl_auth_enable = yes\n"
            f"smtp_sasl_password_maps = inline:{{{{{server}={login}}}}}\n"
            f"smtp_sasl_mechanism_filter = {mechanism}"
        )
        return await Postfix.start(self, next_port, more if mechanism else "")

    async def test_submission_by_login(self) -> None:
        """STARTTLS, then AUTH LOGIN."""
        await self.submitted("login")

    async def test_submission_by_scram(self) -> None:
        """STARTTLS, then SCRAM-SHA-256 as Cyrus SASL speaks it."""
        await self.submitted("scram-sha-256")


class ToPostfixTests(ToPeerContract, InteropTestCase):
    """We hand mail to Postfix."""

    saw_login = b"(Authenticated sender: relay)"

    @override
    async def peer(self, next_port: int, *, wants_login: bool = False) -> Postfix:
        """See ToPeerContract."""
        more = "smtp_tls_security_level = none\n"
        if wants_login:
            port = AuthenticationServer(*THEIR_LOGIN).start(self, reactor)
            more += (
                "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n"
                "mynetworks = 192.0.2.0/24\n"
                f"smtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:127.0.0.1:{port}\n"
            )
        return await Postfix.start(self, next_port, more)
