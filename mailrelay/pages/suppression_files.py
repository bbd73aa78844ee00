"""A suppression list as a file: taken in, line by line, and given out."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import IO

from attrs import frozen

from mailrelay.control.errors import Refusal
from mailrelay.control.suppression import (
    ListedSuppression,
    NewSuppression,
    SuppressionControl,
    SuppressionFilter,
)
from mailrelay.control.suppression_import import MOST_LINES, MOST_TOLD, Imported, ListImport
from mailrelay.control.suppression_lists import csv_head, csv_lines, json_element, read_text
from mailrelay.pages.door import Asked, Doors
from mailrelay.pages.fields import BadField, Trouble, trouble_of
from mailrelay.policy.suppression import Listed, Suppressed
from mailrelay.web.form import MIB, FormLimits
from mailrelay.web.request import Response, Route

LIMITS = FormLimits(files=8 * MIB, urlencoded=256 * 1024, fields=MIB, parts=10)
AT_ONCE = 500
"""Lines of an export that are in memory."""


@frozen
class SuppressionFilePages:
    """``/suppressions/import``, and the exports.  See SuppressionPages."""

    doors: Doors
    control: Callable[[str], SuppressionControl]
    in_memory: Suppressed

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return [
            self.doors.account("/suppressions/import", self.show),
            self.doors.account_form("/suppressions/import", self.take, LIMITS),
            self.doors.account("/suppressions/export.csv", self.csv),
            self.doors.account("/suppressions/export.json", self.json),
        ]

    async def show(self, asked: Asked) -> Response:
        """The form."""
        return self._form(asked, "", None, None)

    async def take(self, asked: Asked) -> Response:
        """Take a file, or what was pasted, and tell what became of each line.

        The same again changes nothing more, so that the answer is no page of its own.
        """
        text = asked.value("text")
        try:
            done = await self._taken(asked, text)
        except Refusal as error:
            return self._form(asked, text, None, trouble_of("import", error))
        return self._form(asked, "", done, None)

    async def _taken(self, asked: Asked, text: str) -> Imported:
        run = self.doors.intake.executor
        chosen = [one for one in asked.files if one.size]
        if not chosen and not text:
            raise BadField("file", "choose a file, or paste a list")
        opened: IO[str] = io.StringIO(text, newline="")
        if chosen:
            opened = await run.run(open, chosen[0].path, encoding="utf-8", newline="")
        account = asked.account

        def added(new: NewSuppression) -> None:
            self.in_memory.add(Listed(account.id, new.base_address, new.expires_at))

        control = self.control(asked.actor)
        try:
            lines = read_text(opened, control.now())
            return await ListImport(control, run, added).take(account.name, lines)
        finally:
            await run.run(opened.close)

    def _form(
        self, asked: Asked, text: str, imported: Imported | None, trouble: Trouble | None
    ) -> Response:
        return self.doors.page(
            asked,
            "suppression_import.html",
            200 if trouble is None else 422,
            text=text,
            imported=imported,
            trouble=trouble,
            most_lines=MOST_LINES,
            most_told=MOST_TOLD,
            most_bytes=LIMITS.files,
        )

    async def csv(self, asked: Asked) -> Response:
        """The list for a spreadsheet."""
        return _download(self._csv(asked), "text/csv; charset=utf-8", "suppressions.csv")

    async def json(self, asked: Asked) -> Response:
        """The list as ``/api/v1/suppressions/import`` takes it."""
        return _download(self._json(asked), "application/json", "suppressions.json")

    async def _csv(self, asked: Asked) -> AsyncIterator[bytes]:
        yield csv_head().encode()
        async for some in self._pages(asked):
            yield csv_lines(some).encode()

    async def _json(self, asked: Asked) -> AsyncIterator[bytes]:
        before = b'{"suppressions":['
        async for some in self._pages(asked):
            yield before + b",\n".join(json_element(one.suppression) for one in some)
            before = b",\n"
        yield b"]}\n" if before == b",\n" else before + b"]}\n"

    async def _pages(self, asked: Asked) -> AsyncIterator[Sequence[ListedSuppression]]:
        """The list, some at a time, without what has ended."""
        control, name, after = self.control(asked.actor), asked.account.name, 0
        while found := await control.find(SuppressionFilter(name, AT_ONCE, after, has_ended=False)):
            yield found
            after = found[-1].suppression.id


def _download(body: AsyncIterator[bytes], content_type: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(200, body, headers, content_type=content_type)
