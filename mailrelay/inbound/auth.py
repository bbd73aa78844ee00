"""twisted.cred at the SMTP door: who logs in becomes a Submitter."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from mailrelay.directory.keys import Scope
from mailrelay.directory.login import Authenticator, LoginRefused, TooManyFailures
from mailrelay.directory.model import Account
from mailrelay.inbound.sasl import ISASLCredentials, PasswordGiven, ScramFinished


class ISubmitter(Interface):
    """What a login yields: the Account that may submit."""


@implementer(ICredentialsChecker)
class SubmissionChecker:
    """Judges SASL credentials by the directory.  Fails with UnauthorizedLogin, or Overloaded."""

    credentialInterfaces = (ISASLCredentials,)

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The Account itself: it is an immutable value."""
        return Deferred.fromCoroutine(self._judge(credentials))

    async def _judge(self, given: PasswordGiven | ScramFinished) -> Account:
        try:
            if isinstance(given, PasswordGiven):
                return await self._authenticator.password(
                    given.identity, given.password, given.ip, Scope.SEND
                )
            return self._authenticator.scram_finished(
                given.identity, given.ip, proven=given.proven, verifier=given.verifier
            )
        except LoginRefused as error:
            raise UnauthorizedLogin from error
        except TooManyFailures as error:
            raise LoginFailed("too many failures") from error


@implementer(IRealm)
class SubmissionRealm:
    """Avatars are Accounts."""

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Deferred[Any]:
        """The Account, which needs no logout."""
        return succeed((ISubmitter, avatarId, _nothing))


def _nothing() -> None:
    """There is nothing to do at logout."""


def submission_portal(authenticator: Authenticator) -> Portal:
    """The portal that the listeners share."""
    return Portal(SubmissionRealm(), [SubmissionChecker(authenticator)])
