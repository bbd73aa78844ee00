"""Templates of an account: written, tried with variables, sent to oneself, kept in versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from typing import Any

from attrs import field, frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.templates import TemplateControl, TemplateFilter
from mailrelay.directory.model import Account, Directory
from mailrelay.net.threads import Executor
from mailrelay.pages.door import Asked, Doors, link, see_other
from mailrelay.pages.fields import Trouble, trouble_of
from mailrelay.pages.html_mail import FRAME, framed, safe_html
from mailrelay.pages.template_variables import read_variables
from mailrelay.templates.model import MOST_SOURCE_CHARACTERS, Source, Template, Written
from mailrelay.web.form import FormLimits
from mailrelay.web.request import Response, Route

PAGE = 50
NEW = "new"
FORM = "template"

LIMITS = FormLimits(files=0, urlencoded=3 * 1024 * 1024, fields=2 * 1024 * 1024, parts=100)
"""Two sources of MOST_SOURCE_CHARACTERS and the variables, as browsers encode them."""

DONE: Mapping[str, str] = {
    "made": "The template is made.",
    "saved": "The template is saved: what is sent from now on says this.",
    "removed": "The template is removed, with all its versions.",
}

VARIABLES = "{}"


@frozen
class Draft:
    """What is in the form."""

    name: str = ""
    source: Source = field(factory=Source)
    variables: str = VARIABLES
    address: str = ""


@frozen
class Trial:
    """A message to oneself."""

    address: str
    written: Written


@frozen
class TemplatePages:
    """``/templates``.  ``control`` makes the templates' for whoever is named in the audit.

    ``send`` sends a test message for an account, from somewhere, and gives its number, None when it
    cannot be told now; it raises Refusal.
    """

    doors: Doors
    directory: Callable[[], Directory]
    control: Callable[[str], TemplateControl]
    send: Callable[[Account, str, Trial], Awaitable[int | None]]
    executor: Executor

    def routes(self) -> Sequence[Route]:
        """What is served."""
        doors = self.doors
        return [
            doors.account("/templates", self.list),
            doors.account("/templates/new", self.show_new),
            doors.account_form("/templates/new", self.take_new, LIMITS),
            doors.account_form("/templates/html", self.html, LIMITS),
            doors.account("/templates/{id}", self.show),
            doors.account_form("/templates/{id}", self.take, LIMITS),
            doors.account_form("/templates/{id}/remove", self.remove),
        ]

    async def list(self, asked: Asked) -> Response:
        """The templates, by age."""
        wanted = TemplateFilter(asked.account.name, PAGE, asked.number("after") or 0)
        found = await self.control(asked.actor).find(wanted)
        more = link("/templates", after=found[-1].id) if len(found) == PAGE else ""
        return self.doors.page(
            asked, "templates.html", done=asked.done(DONE), templates=found, more_path=more
        )

    async def show_new(self, asked: Asked) -> Response:
        """An empty form."""
        return await self._form(asked, None, Draft())

    async def take_new(self, asked: Asked) -> Response:
        """Make it, or try it."""
        return await self._take(asked, None)

    async def show(self, asked: Asked) -> Response:
        """A template, in its newest version unless another is named."""
        control, version = self.control(asked.actor), asked.number("version")
        stored = await control.get(asked.account.name, asked.id, version)
        draft = Draft(stored.template.name, stored.version.source)
        shown = stored.version.version
        return await self._form(asked, stored.template, draft, shown=shown)

    async def take(self, asked: Asked) -> Response:
        """Save it, or try it."""
        stored = await self.control(asked.actor).get(asked.account.name, asked.id)
        return await self._take(asked, stored.template)

    async def remove(self, asked: Asked) -> Response:
        """One less."""
        await self.control(asked.actor).remove(asked.account.name, asked.id)
        return see_other("/templates?done=removed")

    async def _take(self, asked: Asked, template: Template | None) -> Response:
        draft, action = _draft(asked), asked.value("action")
        try:
            if action == "save":
                return await self._saved(asked, template, draft)
            made = await self._made(asked, draft)
            if action != "send":
                return await self._form(asked, template, draft, made=made)
            id_ = await self._sent(asked, Trial(draft.address, made))
        except Refusal as refusal:
            trouble = trouble_of(FORM, refusal)
            return await self._form(asked, template, draft, trouble=_placed(trouble))
        return await self._form(
            asked, template, draft, made=made, sent="/sent" if id_ is None else f"/sent/{id_}"
        )

    async def _saved(self, asked: Asked, template: Template | None, draft: Draft) -> Response:
        control, account = self.control(asked.actor), asked.account.name
        if template is None:
            made = await control.add(account, draft.name, draft.source)
            return see_other(f"/templates/{made.template.id}?done=made")
        await control.change(account, template.id, draft.name, draft.source)
        return see_other(f"/templates/{template.id}?done=saved")

    async def _made(self, asked: Asked, draft: Draft) -> Written:
        variables = read_variables(draft.variables)
        return await self.control(asked.actor).preview(draft.source, variables)

    async def _sent(self, asked: Asked, message: Trial) -> int | None:
        if message.address not in self._addresses(asked):
            raise Refusal("choose one of the account's own addresses")
        return await self.send(asked.account, asked.request.peer_ip, message)

    async def html(self, asked: Asked) -> Response:
        """What is in the form as HTML, for the frame that the page has for it."""
        shows_remote = asked.value("remote") == "1"
        try:
            made = await self._made(asked, _draft(asked))
            html = made.html or "<p>There is no HTML.</p>"
        except Refusal as refusal:
            html = f"<p>{escape(str(refusal))}</p>"
        safe = await self.executor.run(safe_html, html, {}, shows_remote=shows_remote)
        return framed(safe.document, shows_remote=shows_remote)

    async def _form(
        self,
        asked: Asked,
        template: Template | None,
        draft: Draft,
        *,
        trouble: Trouble | None = None,
        **values: Any,
    ) -> Response:
        versions = []
        if template is not None:
            control = self.control(asked.actor)
            versions = list(await control.versions(asked.account.name, template.id))
        shown = {"made": None, "sent": "", "shown": 0, **values}
        return self.doors.page(
            asked,
            "template.html",
            422 if trouble else 200,
            done="" if trouble else asked.done(DONE),
            template=template,
            path=f"/templates/{NEW if template is None else template.id}",
            draft=draft,
            versions=versions,
            addresses=self._addresses(asked),
            trouble=trouble,
            most=MOST_SOURCE_CHARACTERS,
            frame=FRAME,
            **shown,
        )

    def _addresses(self, asked: Asked) -> Sequence[str]:
        """The account's own that mail can be from and for."""
        own = self.directory().addresses_of(asked.account)
        return [one for one in own if one[:1] != "@"]


def _draft(asked: Asked) -> Draft:
    def typed(name: str) -> str:
        return asked.exact(name).replace("\r\n", "\n")

    source = Source(typed("subject"), typed("text"), typed("html"))
    variables = asked.value("variables") or VARIABLES
    return Draft(asked.value("name"), source, variables, asked.value("address"))


def _placed(trouble: Trouble) -> Trouble:
    """With the field's name before what is wrong there, which may have a line."""
    if not trouble.field or trouble.field == "variables":
        return trouble
    text = trouble.text[:1].lower() + trouble.text[1:]
    return Trouble(trouble.form, f"{trouble.field.capitalize()}, {text}", trouble.field)
