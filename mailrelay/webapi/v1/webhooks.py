"""``/webhooks``: an account's standard endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeAlias

from attrs import evolve, frozen
from msgspec import Meta, field

from mailrelay.control.answers import Inside
from mailrelay.control.endpoints import (
    LONGEST_SECRET_KEPT,
    MOST_AT_ONCE,
    MOST_ENDPOINTS,
    MOST_SECRETS,
    MOST_TAGS,
    MOST_TOGETHER,
    SECRET_KEPT_FOR,
    BadEndpoint,
    EndpointControl,
    EndpointFields,
    ListedEndpoint,
)
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.directory.keys import Scope
from mailrelay.webapi.v1.fields import Event, Id, Tag, Text
from mailrelay.webapi.v1.operations import Answer, Call, Operation, Strict
from mailrelay.webapi.v1.problems import CONFLICT, INVALID_FIELD, NO_SUCH, Problem
from mailrelay.webapi.v1.times import Time, time_at
from mailrelay.webhooks.endpoint import EVENTS, StandardEndpoint

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
URL: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000)]
Events: TypeAlias = Annotated[list[Event], Meta(max_length=len(EVENTS))]
Tags: TypeAlias = Annotated[list[Tag], Meta(max_length=MOST_TAGS)]
AtOnce: TypeAlias = Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)]
Together: TypeAlias = Annotated[int, Meta(ge=1, le=MOST_TOGETHER)]
SecretText: TypeAlias = Annotated[str, Meta(max_length=100)]
Kept: TypeAlias = Annotated[int, Meta(ge=0, le=int(LONGEST_SECRET_KEPT))]


class WebhookIn(Strict, frozen=True):
    """An endpoint that is to be made; no ``events`` or ``tags`` are all.

    ``most_at_once``: calls under way; ``most_together``: events in one call.
    """

    name: Name
    url: URL
    events: Events = field(default_factory=list)
    tags: Tags = field(default_factory=list)
    most_at_once: AtOnce = 50
    most_together: Together = 1


class WebhookChange(Strict, frozen=True):
    """What is to be changed of an endpoint; the rest stays."""

    name: Name | None = None
    url: URL | None = None
    events: Events | None = None
    tags: Tags | None = None
    most_at_once: AtOnce | None = None
    most_together: Together | None = None


class WebhookOut(Strict, frozen=True):
    """An endpoint, without its secrets.  One that is disabled is not called."""

    id: Id
    name: Name
    url: URL
    events: Events
    tags: Tags
    most_at_once: AtOnce
    most_together: Together
    created_at: Time
    disabled_at: Time | None
    disabled_because: Text


class WebhookMade(WebhookOut, frozen=True):
    """An endpoint, with the secret that was made; it is empty when the request is repeated."""

    secret: SecretText


class WebhookList(Strict, frozen=True):
    """All endpoints of the account, by id."""

    webhooks: Annotated[list[WebhookOut], Meta(max_length=MOST_ENDPOINTS)]


class RotateIn(Strict, frozen=True):
    """How many seconds the secret that was goes on signing, too."""

    kept_for: Kept = int(SECRET_KEPT_FOR)


class SecretOut(Strict, frozen=True):
    """A secret; ``signs_until`` is when a replaced one ends."""

    secret: SecretText
    signs_until: Time | None


class SecretsOut(Strict, frozen=True):
    """What calls are signed with, the newest first."""

    secrets: Annotated[list[SecretOut], Meta(max_length=MOST_SECRETS)]


@frozen
class WebhookOperations:
    """``/webhooks``.  ``load_directory`` fires when the server knows what was changed."""

    control: Callable[[str], EndpointControl]
    load_directory: Callable[[], Awaitable[object]]

    def operations(self) -> Sequence[Operation]:
        """What can be asked."""
        one, path = _OF_ONE, "/webhooks/{id}"
        return [
            Operation(
                name="webhook_create",
                method="POST",
                path="/webhooks",
                about="Have a URL called of events, signed.",
                work=self.create,
                scope=Scope.MANAGE,
                body=WebhookIn,
                answers={201: WebhookMade},
                problems=[CONFLICT],
            ),
            Operation(
                name="webhook_list",
                method="GET",
                path="/webhooks",
                about="The account's endpoints.",
                work=self.list,
                scope=Scope.READ,
                answers={200: WebhookList},
            ),
            Operation(
                name="webhook_get",
                method="GET",
                path=path,
                about="One endpoint.",
                work=self.get,
                scope=Scope.READ,
                answers=one,
            ),
            Operation(
                name="webhook_change",
                method="PATCH",
                path=path,
                about="Change what is given; calls that wait go to it as it is then.",
                work=self.change,
                scope=Scope.MANAGE,
                body=WebhookChange,
                answers=one,
            ),
            Operation(
                name="webhook_delete",
                method="DELETE",
                path=path,
                about="Remove an endpoint; calls that wait for it are canceled.",
                work=self.delete,
                scope=Scope.MANAGE,
                answers={204: None},
            ),
            Operation(
                name="webhook_secrets",
                method="GET",
                path=f"{path}/secrets",
                about="What its calls are signed with.",
                work=self.secrets,
                scope=Scope.MANAGE,
                answers={200: SecretsOut},
            ),
            Operation(
                name="webhook_rotate",
                method="POST",
                path=f"{path}/rotate",
                about="Make a new secret; the one before goes on signing for a while.",
                work=self.rotate,
                scope=Scope.MANAGE,
                body=RotateIn,
                answers={200: WebhookMade},
            ),
            Operation(
                name="webhook_enable",
                method="POST",
                path=f"{path}/enable",
                about="Call an endpoint again that answered 410.",
                work=self.enable,
                scope=Scope.MANAGE,
                answers=one,
            ),
        ]

    async def create(self, call: Call) -> Answer:
        """Make an endpoint.  Raises: Problem."""
        wanted: WebhookIn = call.body
        fields = EndpointFields(**{name: getattr(wanted, name) for name in _FIELDS})
        control = self._control(call, partial(_kept_once, 201))
        made = await _made(control.add(call.caller.account.name, fields))
        await self.load_directory()
        return _told_once(201, made)

    async def list(self, call: Call) -> Answer:
        """The endpoints."""
        found = await self._control(call).listed(call.caller.account.name)
        return Answer(200, WebhookList(webhooks=[_out(one.endpoint) for one in found]))

    async def get(self, call: Call) -> Answer:
        """One endpoint.  Raises: Problem."""
        return Answer(200, _out(await self._endpoint(call)))

    async def change(self, call: Call) -> Answer:
        """Change an endpoint.  Raises: Problem."""
        wanted: WebhookChange = call.body
        fields = EndpointFields(**{name: getattr(wanted, name) for name in _FIELDS})
        changing = self._control(call, _kept).change(call.id, fields, call.caller.account.id)
        return await self._changed(changing)

    async def delete(self, call: Call) -> Answer:
        """Remove an endpoint.  Raises: Problem."""
        control = self._control(call, _gone)
        await _made(control.remove(call.id, call.caller.account.id))
        await self.load_directory()
        return Answer(204)

    async def secrets(self, call: Call) -> Answer:
        """The secrets of an endpoint.  Raises: Problem."""
        endpoint = await self._endpoint(call)
        told = [
            SecretOut(secret=one.text, signs_until=_time(one.signs_until))
            for one in endpoint.secrets
        ]
        return Answer(200, SecretsOut(secrets=told))

    async def rotate(self, call: Call) -> Answer:
        """Make a new secret.  Raises: Problem."""
        wanted: RotateIn = call.body
        rotating = self._control(call, partial(_kept_once, 200)).rotate(
            call.id, float(wanted.kept_for), call.caller.account.id
        )
        made = await _made(rotating)
        await self.load_directory()
        return _told_once(200, made)

    async def enable(self, call: Call) -> Answer:
        """Call an endpoint again.  Raises: Problem."""
        control = self._control(call, _kept)
        return await self._changed(control.enable(call.id, call.caller.account.id))

    async def _changed(self, changing: Awaitable[StandardEndpoint]) -> Answer:
        made = await _made(changing)
        await self.load_directory()
        return Answer(200, _out(made))

    async def _endpoint(self, call: Call) -> StandardEndpoint:
        finding = self._control(call).find(call.id, call.caller.account.id)
        found: ListedEndpoint = await _made(finding)
        return found.endpoint

    def _control(
        self, call: Call, told: Callable[[Any, Inside], Answer | None] = lambda done, inside: None
    ) -> EndpointControl:
        control = self.control(call.caller.actor("api"))
        return evolve(control, records=call.with_answer(control.records, told))


_OF_ONE: dict[int, Any] = {200: WebhookOut}
_FIELDS = ("name", "url", "events", "tags", "most_at_once", "most_together")


async def _made(work: Awaitable[Any]) -> Any:
    """What ``work`` comes to.  Raises: Problem."""
    try:
        return await work
    except BadEndpoint as error:
        raise Problem(INVALID_FIELD, str(error), error.field) from None
    except NoSuch:
        raise Problem(NO_SUCH, "there is nothing of that id") from None
    except Refusal as error:
        raise Problem(CONFLICT, str(error)) from None


def _told_once(status: int, made: StandardEndpoint) -> Answer:
    """With the secret, which is not kept for a repetition: GET its secrets."""
    return Answer(status, WebhookMade(secret=made.secrets[0].text, **_fields(made)))


def _kept_once(status: int, made: StandardEndpoint | None, inside: Inside) -> Answer | None:
    return None if made is None else Answer(status, WebhookMade(secret="", **_fields(made)))


def _kept(made: StandardEndpoint | None, inside: Inside) -> Answer | None:
    return None if made is None else Answer(200, _out(made))


def _gone(done: object, inside: Inside) -> Answer | None:
    return Answer(204) if done is True else None


def _out(endpoint: StandardEndpoint) -> WebhookOut:
    return WebhookOut(**_fields(endpoint))


def _fields(endpoint: StandardEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "tags": list(endpoint.tags),
        "most_at_once": endpoint.most_at_once,
        "most_together": endpoint.most_together,
        "created_at": time_at(endpoint.created_at),
        "disabled_at": _time(endpoint.disabled_at),
        "disabled_because": endpoint.disabled_because,
    }


def _time(seconds: float | None) -> Any:
    return None if seconds is None else time_at(seconds)
