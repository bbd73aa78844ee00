"""Where the account wants to be called: its endpoints, and its two webhooks in mox's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from mailrelay.control.account import EndpointChange
from mailrelay.control.calls import CallControl
from mailrelay.control.directory import AccountDetails, DirectoryControl
from mailrelay.control.endpoints import MOST_ENDPOINTS, EndpointControl, EndpointFields
from mailrelay.control.errors import NoSuch, Refusal
from mailrelay.control.replay import ReplayControl
from mailrelay.pages.door import Asked, Doors, see_other
from mailrelay.pages.fields import BadField, Trouble, number_of, trouble_of, words_of
from mailrelay.web.request import Response, Route
from mailrelay.webhooks.call import Endpoint, EndpointKind
from mailrelay.webhooks.endpoint import EVENTS, StandardEndpoint
from mailrelay.webhooks.types import OUTGOING_EVENTS

DONE: Mapping[str, str] = {
    "removed": "The endpoint is removed: what waited for it is never called.",
    "outgoing": "The webhook for outgoing mail is as you want it.",
    "incoming": "The webhook for incoming mail is as you want it.",
}

FIELDS = ("name", "url", "tags", "most_at_once", "most_together")
NEW: Mapping[str, str] = {
    "name": "",
    "url": "",
    "tags": "",
    "most_at_once": "50",
    "most_together": "1",
}


@frozen
class WebhookPages:
    """``/webhooks``.  The controls are for whoever is named in the audit.

    ``load_directory`` fires when the server knows what was changed.
    """

    doors: Doors
    endpoints: Callable[[str], EndpointControl]
    directory: Callable[[str], DirectoryControl]
    calls: Callable[[str], CallControl]
    replays: Callable[[str], ReplayControl]
    load_directory: Callable[[], Awaitable[object]]

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/webhooks", self.list),
            self.doors.account_form("/webhooks", self.make),
            self.doors.account_form("/webhooks/mox/{kind}", self.set),
        ]

    async def list(self, asked: Asked) -> Response:
        """All of them, and how their calls go; forms for another, and for mox's."""
        return await self._list(asked, NEW, ())

    async def make(self, asked: Asked) -> Response:
        """Make an endpoint.  The answer has its secret; nothing goes on from it."""
        typed = {name: asked.value(name) for name in FIELDS}
        events = asked.form.get("event", ())
        try:
            wanted = wanted_fields(typed, events)
            made = await self.endpoints(asked.actor).add(asked.account.name, wanted)
        except Refusal as error:
            return await self._list(asked, typed, events, trouble_of("make", error))
        await self.load_directory()
        return secret_page(self.doors, asked, made, is_new=True)

    async def set(self, asked: Asked) -> Response:
        """Change, remove or try the webhook in mox's shape of the kind in the path."""
        kind, action = _kind(asked), asked.value("action")
        try:
            if action == "test":
                event = asked.value("event") or OUTGOING_EVENTS[0]
                control = self.calls(asked.actor)
                id_, _ = await control.test(asked.account.name, kind, event)
                return see_other(f"/calls/{id_}")
            await self._set(asked, kind, action)
        except NoSuch:
            raise NoSuch(f"the account has no {kind.value} webhook: save a URL first") from None
        except Refusal as error:
            return await self._list(asked, NEW, (), trouble_of(kind.value, error))
        await self.load_directory()
        return see_other(f"/webhooks?done={kind.value}")

    async def _set(self, asked: Asked, kind: EndpointKind, action: str) -> None:
        directory, name = self.directory(asked.actor), asked.account.name
        if action == "remove":
            change = EndpointChange(kind, is_removed=True)
        elif action == "save":
            known = (await directory.account(name)).endpoint(kind)
            change = _change(asked, kind, known)
        else:
            raise NoSuch("there is nothing of that name to be done")
        await directory.set_account(name, AccountDetails(endpoints=[change]))

    async def _list(
        self,
        asked: Asked,
        typed: Mapping[str, str],
        events: Sequence[str],
        trouble: Trouble | None = None,
    ) -> Response:
        name = asked.account.name
        found = [one.endpoint for one in await self.endpoints(asked.actor).listed(name)]
        standings = await self.replays(asked.actor).standings(
            asked.account_id, [one.id for one in found]
        )
        view = await self.directory(asked.actor).account(name)
        return self.doors.page(
            asked,
            "webhooks.html",
            200 if trouble is None else 422,
            endpoints=[(one, standings.of_endpoint(one.id)) for one in found],
            mox=[
                (kind.value, view.endpoint(kind), standings.of_kind(kind), _typed(asked, kind))
                for kind in EndpointKind
            ],
            most=MOST_ENDPOINTS,
            typed=typed,
            chosen=events,
            events=EVENTS,
            mox_events=OUTGOING_EVENTS,
            trouble=trouble,
            done="" if trouble is not None else asked.done(DONE),
        )


def _kind(asked: Asked) -> EndpointKind:
    try:
        return EndpointKind(asked.request.params["kind"])
    except ValueError:
        raise NoSuch("there is no webhook of that kind") from None


def _change(asked: Asked, kind: EndpointKind, known: Endpoint | None) -> EndpointChange:
    """Of a webhook that stays where it is the authorization stays, unless another is given.

    Raises: BadField.
    """
    url, authorization = asked.value("url"), asked.value("authorization")
    if not url:
        raise BadField("url", "name a URL, or remove the webhook")
    is_outgoing = kind is EndpointKind.OUTGOING
    return EndpointChange(
        kind,
        None if known is not None and known.url == url else url,
        authorization or None,
        list(asked.form.get("event", ())) if is_outgoing else None,
        asked.value("every") == "1" if is_outgoing else None,
    )


def _typed(asked: Asked, kind: EndpointKind) -> str | None:
    """The URL that was typed into this webhook's form, when that was sent."""
    return asked.value("url") if asked.request.params.get("kind") == kind.value else None


def wanted_fields(typed: Mapping[str, str], events: Sequence[str]) -> EndpointFields:
    """What an endpoint is to be.  Raises: BadField."""
    return EndpointFields(
        name=typed["name"],
        url=typed["url"],
        events=tuple(events),
        tags=words_of(typed["tags"]),
        most_at_once=number_of("most_at_once", typed["most_at_once"]),
        most_together=number_of("most_together", typed["most_together"]),
    )


def typed_of(endpoint: StandardEndpoint) -> Mapping[str, str]:
    """An endpoint as its form has it."""
    given: dict[str, Any] = {name: getattr(endpoint, name) for name in FIELDS}
    return {name: str(value) for name, value in given.items()} | {"tags": "\n".join(endpoint.tags)}


def secret_page(doors: Doors, asked: Asked, made: StandardEndpoint, *, is_new: bool) -> Response:
    """The page that shows the newest secret of an endpoint."""
    newest, *older = made.secrets
    return doors.page(
        asked,
        "webhook_secret.html",
        endpoint=made,
        secret=newest.text,
        signs_until=max((one.signs_until or 0.0 for one in older), default=0.0) or None,
        is_new=is_new,
    )
