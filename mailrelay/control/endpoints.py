"""Standard webhook endpoints as accounts and operators make and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from attrs import evolve, fields_dict, frozen
from twisted.internet.defer import Deferred

from mailrelay.control.account import MAX_URL_CHARACTERS
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.message.words import CONTROLS
from mailrelay.net.destination import UnusableURL, parse_url
from mailrelay.webhooks.endpoint import EVENTS, Secret, StandardEndpoint
from mailrelay.webhooks.signature import secret_of

MOST_ENDPOINTS = 50
"""Of one account: each event is told to all that want it."""
MOST_TAGS = 100
MOST_AT_ONCE, MOST_TOGETHER = 500, 100
MOST_SECRETS = 5
SECRET_KEPT_FOR = 86400.0
"""Seconds that a replaced secret goes on signing, unless another time is given."""
LONGEST_SECRET_KEPT = 30 * 86400.0


class BadEndpoint(Refusal):
    """An endpoint cannot be like this; ``field`` is what is wrong with it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@frozen(kw_only=True)
class EndpointFields:
    """What an endpoint is to be; None is as it is, or as StandardEndpoint has it."""

    name: str | None = None
    url: str | None = None
    events: Sequence[str] | None = None
    tags: Sequence[str] | None = None
    most_at_once: int | None = None
    most_together: int | None = None


@frozen
class ListedEndpoint:
    """An endpoint and the name of its account."""

    endpoint: StandardEndpoint
    account: str


Change = Callable[[StandardEndpoint], StandardEndpoint]


class EndpointRecords(Protocol):
    """The endpoints' rows.  Every change tells running processes, and is audited as ``actor``'s.

    An ``account_id`` of None is anybody's.  Methods fail with Refusal's kinds, and with
    StoreUnavailable.
    """

    def listed(self, account: str | None) -> Deferred[Sequence[ListedEndpoint]]:
        """The endpoints of the account of that name, of all when None, by id."""

    def find(self, endpoint_id: int, account_id: int | None) -> Deferred[ListedEndpoint | None]:
        """One endpoint."""

    def add(
        self, actor: str, account: str, endpoint: StandardEndpoint, most: int
    ) -> Deferred[StandardEndpoint]:
        """Keep an endpoint of that account; its ids are given here.

        Fails with NoSuch without the account, with Refusal when it has ``most`` already.
        """

    def change(
        self, actor: str, action: str, endpoint_id: int, account_id: int | None, change: Change
    ) -> Deferred[StandardEndpoint | None]:
        """Keep what ``change`` makes of an endpoint, in one transaction; None without it."""

    def remove(self, actor: str, endpoint_id: int, account_id: int | None) -> Deferred[bool]:
        """Remove an endpoint and retire what waits for it; False when it is not there."""


@frozen
class EndpointControl:
    """What may be asked of standard endpoints.  ``random`` gives 16 fresh bytes."""

    records: EndpointRecords
    random: Callable[[], bytes]
    now: Callable[[], float]
    actor: str

    async def listed(self, account: str | None) -> Sequence[ListedEndpoint]:
        """The endpoints."""
        return await self.records.listed(account)

    async def find(self, endpoint_id: int, account_id: int | None = None) -> ListedEndpoint:
        """One endpoint.  Raises: NoSuch."""
        found = await self.records.find(endpoint_id, account_id)
        if found is None:
            raise _no_such(endpoint_id)
        return found

    async def add(
        self, account: str, wanted: EndpointFields, secret: str | None = None
    ) -> StandardEndpoint:
        """Make an endpoint, with that secret, or with a new one.  Raises: Refusal."""
        if wanted.url is None:
            raise BadEndpoint("url", "an endpoint has a URL")
        made = StandardEndpoint(
            id=0,
            account_id=0,
            name="",
            url="",
            secrets=(Secret(secret) if secret is not None else self._new_secret(),),
            created_at=self.now(),
        )
        return await self.records.add(
            self.actor, account, checked_endpoint(wanted, made), MOST_ENDPOINTS
        )

    async def change(
        self, endpoint_id: int, wanted: EndpointFields, account_id: int | None = None
    ) -> StandardEndpoint:
        """Change what is given; calls that wait go to it as it is then.  Raises: Refusal."""
        return await self._changed(
            "set", endpoint_id, account_id, partial(checked_endpoint, wanted)
        )

    async def remove(self, endpoint_id: int, account_id: int | None = None) -> None:
        """Remove an endpoint; what waits for it is never called.  Raises: NoSuch."""
        if not await self.records.remove(self.actor, endpoint_id, account_id):
            raise _no_such(endpoint_id)

    async def enable(self, endpoint_id: int, account_id: int | None = None) -> StandardEndpoint:
        """Call a disabled endpoint again, from the next event on.  Raises: NoSuch."""

        def enabled(endpoint: StandardEndpoint) -> StandardEndpoint:
            return evolve(endpoint, disabled_at=None, disabled_because="")

        return await self._changed("enable", endpoint_id, account_id, enabled)

    async def rotate(
        self,
        endpoint_id: int,
        kept_for: float = SECRET_KEPT_FOR,
        account_id: int | None = None,
        secret: str | None = None,
    ) -> StandardEndpoint:
        """Give it a new secret, or that one; the one before signs, too, for ``kept_for`` seconds.

        Raises: Refusal.
        """
        if not 0.0 <= kept_for <= LONGEST_SECRET_KEPT:
            days = LONGEST_SECRET_KEPT / 86400
            raise BadEndpoint("kept_for", f"a replaced secret is kept for up to {days:.0f} days")
        new = Secret(secret) if secret is not None else self._new_secret()
        now = self.now()

        def rotated(endpoint: StandardEndpoint) -> StandardEndpoint:
            old = [_ending(secret, now + kept_for) for secret in endpoint.secrets]
            signing = [secret for secret in old if (secret.signs_until or 0.0) > now]
            return evolve(endpoint, secrets=(new, *signing[: MOST_SECRETS - 1]))

        return await self._changed("rotate", endpoint_id, account_id, rotated)

    async def _changed(
        self, action: str, endpoint_id: int, account_id: int | None, change: Change
    ) -> StandardEndpoint:
        changed = await self.records.change(
            self.actor, f"webhook endpoint {action}", endpoint_id, account_id, change
        )
        if changed is None:
            raise _no_such(endpoint_id)
        return changed

    def _new_secret(self) -> Secret:
        return Secret(secret_of(self.random() + self.random()))


def _no_such(endpoint_id: int) -> NoSuch:
    return NoSuch(f"no endpoint {endpoint_id}: mailrelay webhook endpoint list")


def _ending(secret: Secret, until: float) -> Secret:
    """``secret``, which signs up to ``until`` and no longer than it would have."""
    return evolve(secret, signs_until=min(secret.signs_until or until, until))


def checked_endpoint(wanted: EndpointFields, endpoint: StandardEndpoint) -> StandardEndpoint:
    """``endpoint`` as it is wanted.  Raises: BadEndpoint."""
    given = {name: getattr(wanted, name) for name in fields_dict(EndpointFields)}
    made = evolve(endpoint, **{name: v for name, v in given.items() if v is not None})
    _check(made)
    in_order = tuple(event for event in EVENTS if event in made.events)
    return evolve(made, events=in_order, tags=tuple(dict.fromkeys(made.tags)))


def _check(made: StandardEndpoint) -> None:
    if not made.name or len(made.name) > 100 or CONTROLS.search(made.name):
        raise BadEndpoint("name", "the name must be 1 to 100 characters, none of them a control")
    _check_url(made.url)
    for number, event in enumerate(made.events):
        if event not in EVENTS:
            raise BadEndpoint(
                f"events[{number}]", f"no event {event!r}: choose of {', '.join(EVENTS)}"
            )
    if len(made.tags) > MOST_TAGS:
        raise BadEndpoint("tags", f"at most {MOST_TAGS} can be named")
    for number, tag in enumerate(made.tags):
        if not tag or len(tag) > 100 or CONTROLS.search(tag):
            raise BadEndpoint(
                f"tags[{number}]", "a tag has 1 to 100 characters, none of them a control"
            )
    for name, most in (("most_at_once", MOST_AT_ONCE), ("most_together", MOST_TOGETHER)):
        if not 1 <= getattr(made, name) <= most:
            raise BadEndpoint(name, f"is 1 to {most}")


def _check_url(url: str) -> None:
    if len(url) > MAX_URL_CHARACTERS:
        raise BadEndpoint("url", f"the URL has more than {MAX_URL_CHARACTERS} characters")
    try:
        parse_url(url)
    except UnusableURL as error:
        raise BadEndpoint("url", f"{url!r} is no URL for a webhook: {error}") from None
