"""A certificate authority as the acme library speaks with it (RFC 8555).  Blocks: for a thread.

Nothing else imports the library, and this is imported when ``[acme]`` is set.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import Error as JOSEError
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from mailrelay import __version__
from mailrelay.certificates.challenges import Challenge
from mailrelay.certificates.ordering import Account, ACMEFailed, Order, Suggestion
from mailrelay.certificates.settings import HTTP_01, ACMESettings

TIMEOUT = 30
MOST_CHAIN_BYTES = 256 * 1024
MOST_TOKEN = 500

_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


@challenges.Challenge.register
class _TLSALPN01(challenges.KeyAuthorizationChallenge):
    """The library left it out (RFC 8737)."""

    typ = "tls-alpn-01"

    def validation(self, account_key: JWK, **_: object) -> str:
        """The key authorization; the certificate is made of it elsewhere."""
        return self.key_authorization(account_key)


class _Asked(JSONDeSerializable):
    """A body that is sent as it is."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body

    def to_partial_json(self) -> dict[str, Any]:
        return self._body

    @classmethod
    def from_json(cls, jobj: Any) -> _Asked:
        return cls(jobj)


class Authority:
    """Asks the authority of ``settings`` as the account whose key is ``key``.

    One piece of work at a time.  Every method raises ACMEFailed.
    """

    def __init__(
        self, settings: ACMESettings, key: ec.EllipticCurvePrivateKey, uri: str | None
    ) -> None:
        self._settings, self._key = settings, JWKEC(key=ComparableECKey(key))
        self._net = client.ClientNetwork(
            self._key,
            alg=ES256,
            user_agent=f"mailrelay/{__version__}",
            timeout=TIMEOUT,
        )
        self._net.verify_ssl = settings.ca_file or True  # type: ignore[assignment]  # requests'
        session = self._net.session
        session.trust_env = False  # no proxy, and no .netrc, of the environment
        session.max_redirects = 0  # what an authority tells is where it is
        session.hooks["response"].append(self._answered)
        self._retry_after: str | None = None
        self._uri = uri
        self._client: client.ClientV2 | None = None

    def account(self) -> Account:
        """Ours there, which is made if there is none.  Comes before everything else."""
        with self._troubles():
            acme = self._connected()
            if self._uri is None:
                self._register(acme)
            return Account(str(self._uri))

    def _connected(self) -> client.ClientV2:
        """The directory is read anew for each order: authorities move their places."""
        directory = client.ClientV2.get_directory(self._settings.directory, self._net)
        self._client = client.ClientV2(directory, self._net)
        self._use_account()
        return self._client

    def _use_account(self) -> None:
        if self._uri is not None:
            body = messages.Registration()
            self._net.account = messages.RegistrationResource(body=body, uri=self._uri)

    def _register(self, acme: client.ClientV2) -> None:
        settings, binding = self._settings, None
        if settings.eab_kid:
            binding = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), settings.eab_kid, settings.eab_key, acme.directory
            )
        elif acme.external_account_required():
            raise ACMEFailed(
                "the authority wants an external account binding: set [acme] eab_kid and eab_key"
            )
        self._net.account = None
        try:
            made = acme.new_account(
                messages.NewRegistration.from_data(
                    email=settings.contact or None,
                    terms_of_service_agreed=True,
                    external_account_binding=binding,
                )
            )
            self._uri = made.uri
        except errors.ConflictError as there:  # our key has an account already
            self._uri = there.location
        self._use_account()

    def _post(self, url: str, body: dict[str, Any] | None) -> requests.Response:
        assert self._client is not None, "account() comes first"
        sent = None if body is None else _Asked(body)
        nonces = self._client.directory["newNonce"]
        return self._net.post(url, sent, new_nonce_url=nonces)

    def order(self, name: str, replaces: str | None) -> Order:
        """Order a certificate for ``name``, in place of that which ``replaces`` identifies."""
        with self._troubles():
            assert self._client is not None, "account() comes first"
            place = self._client.directory["newOrder"]
            body: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name}]}
            if replaces is not None and self._renewal_place() is not None:
                try:
                    return _order(self._post(place, {**body, "replaces": replaces}))
                except (messages.Error, errors.ClientError):
                    pass  # it was replaced already, or is another authority's (RFC 9773 section 5)
            return _order(self._post(place, body))

    def challenge(self, order: Order, name: str) -> Challenge | None:
        """What is to be shown for ``order``, None when ``name`` is proved already."""
        with self._troubles():
            wanted = self._settings.challenge
            kind = challenges.HTTP01 if wanted == HTTP_01 else _TLSALPN01
            for url in order.authorizations:
                found = messages.Authorization.from_json(self._post(url, None).json())
                if found.status == messages.STATUS_VALID:
                    continue
                for one in found.challenges:
                    if isinstance(one.chall, kind):
                        token = one.chall.encode("token")  # base64url, whatever came
                        if len(token) > MOST_TOKEN:
                            raise ACMEFailed("the authority's token is too long")
                        authorization = one.chall.key_authorization(self._key)
                        return Challenge(wanted, name, one.uri, token, authorization)
                raise ACMEFailed(f"the authority does not offer {wanted} for {name}")
            return None

    def answer(self, challenge: Challenge) -> None:
        """Have the authority look."""
        with self._troubles():
            self._post(challenge.url, {})

    def is_proved(self, order: Order) -> bool:
        """Whether the authority saw what it wanted; fails when it did not."""
        with self._troubles():
            for url in order.authorizations:
                found = messages.Authorization.from_json(self._post(url, None).json())
                if found.status == messages.STATUS_PENDING:
                    return False
                if found.status != messages.STATUS_VALID:
                    raise ACMEFailed(_why(found))
            return True

    def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> None:
        """Ask for the certificate of an order whose name is proved."""
        from cryptography.hazmat.primitives.serialization import Encoding

        der = request.public_bytes(Encoding.DER)
        with self._troubles():
            self._post(order.finalize, {"csr": b64encode(der).decode()})

    def certificate(self, order: Order) -> bytes | None:
        """The certificate with its chain, None when it is not made yet."""
        with self._troubles():
            found = messages.Order.from_json(self._post(order.url, None).json())
            if found.status == messages.STATUS_INVALID:
                raise ACMEFailed(f"the order failed: {found.error or 'no reason given'}")
            if found.status != messages.STATUS_VALID or found.certificate is None:
                return None
            chain = self._post(found.certificate, None).content
            if len(chain) > MOST_CHAIN_BYTES:
                raise ACMEFailed("the authority's chain is too long")
            return chain

    def suggestion(self, certificate: x509.Certificate) -> Suggestion | None:
        """When the authority wants it renewed (RFC 9773), None when it does not say."""
        with self._troubles():
            acme = self._client or self._connected()
            self._client = acme
            place, own = self._renewal_place(), renewal_id(certificate)
            if place is None or own is None:
                return None
            answer = self._net.get(f"{place}/{own}")
            window = json.loads(answer.content)["suggestedWindow"]
            start, end = (_moment(window[key]) for key in ("start", "end"))
            if end < start:
                raise ValueError("the window ends before it begins")
            return Suggestion(start, end, _seconds(answer.headers.get("Retry-After")))

    def _renewal_place(self) -> str | None:
        assert self._client is not None
        try:
            return str(self._client.directory["renewalInfo"])
        except KeyError:
            return None

    # Trouble

    def _answered(self, response: requests.Response, *_: object, **__: object) -> None:
        self._retry_after = response.headers.get("Retry-After")

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Whatever goes wrong with an authority is ACMEFailed, with its words."""
        self._retry_after = None
        try:
            yield
        except ACMEFailed:
            raise
        except messages.Error as error:
            if error.code == "accountDoesNotExist":
                self._uri = None
            limited = error.code == "rateLimited"
            text = f"{error.code or 'error'}: {error.detail or 'no reason given'}"
            raise self._failed(text, is_limited=limited) from error
        except (errors.Error, JOSEError, requests.RequestException) as error:
            raise self._failed(f"{type(error).__name__}: {error}") from error
        except _UNREADABLE as error:
            raise self._failed(f"the authority's answer cannot be read: {error!r}") from error

    def _failed(self, text: str, *, is_limited: bool = False) -> ACMEFailed:
        wait = _seconds(self._retry_after)
        return ACMEFailed(text, wait, is_limited=is_limited, is_account_gone=self._uri is None)


def renewal_id(certificate: x509.Certificate) -> str | None:
    """What identifies it in renewal information (RFC 9773 section 4.1)."""
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    serial = certificate.serial_number
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    parts = (issuer.value.key_identifier or b"", number)
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def _order(response: requests.Response) -> Order:
    found = messages.Order.from_json(response.json())
    return Order(response.headers["Location"], found.finalize, tuple(found.authorizations))


def _why(found: messages.Authorization) -> str:
    told = [str(one.error.detail) for one in found.challenges if one.error is not None]
    return f"the name is not proved: {'; '.join(told) or found.status.name}"


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.timestamp()


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; dates are rare, and not worth their parser."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return float(text)
