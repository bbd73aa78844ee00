"""Letters that name a template become letters with a subject, text and HTML."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from attrs import frozen

from mailrelay.control.filling import Filling, NoSuchTemplate, TemplateWriter
from mailrelay.directory.model import Account
from mailrelay.templates.model import CannotRender, Written
from mailrelay.webapi.v1.letter import Letter, TemplateUse
from mailrelay.webapi.v1.problems import INVALID_FIELD, Problem


@frozen
class LetterWriter:
    """Fills the templates that letters name.  Used from the reactor's thread."""

    writer: TemplateWriter

    async def filled(self, account: Account, letter: Letter) -> Letter:
        """``letter`` with what its template makes; itself when it names none.  Raises: Problem."""
        if letter.template is None:
            return letter
        [done] = await self.filled_all(account, [letter])
        if isinstance(done, Problem):
            raise done
        return done

    async def filled_all(
        self, account: Account, letters: Sequence[Letter]
    ) -> Sequence[Letter | Problem]:
        """Each of ``letters`` as ``filled`` makes it, or what is wrong with it.

        A template that many name is read and compiled once.  A Problem's field is within the
        letter: ``template.variables.name``.
        """
        wanted: list[tuple[int, TemplateUse]] = []
        done: list[Letter | Problem] = list(letters)
        for at, letter in enumerate(letters):
            if letter.template is None:
                continue
            if letter.subject or letter.text or letter.html:
                said = "stands in place of subject, text and html: give one or the other"
                done[at] = Problem(INVALID_FIELD, said, "template")
            else:
                wanted.append((at, letter.template))
        if not wanted:
            return done
        fillings = [Filling(one.name, one.version, one.variables) for _, one in wanted]
        results = await self.writer.written(account.name, fillings)
        for (at, use), result in zip(wanted, results, strict=True):
            done[at] = _letter(letters[at], use, result)
        return done


def _letter(
    letter: Letter, use: TemplateUse, result: Written | NoSuchTemplate | CannotRender
) -> Letter | Problem:
    if isinstance(result, Written):
        parts = {"subject": result.subject, "text": result.text, "html": result.html}
        return msgspec.structs.replace(letter, template=None, **parts)
    if isinstance(result, NoSuchTemplate):
        field = "template.name" if use.version is None else "template.version"
        return Problem(INVALID_FIELD, str(result), field)
    variable = f".{result.variable}" if result.variable else ""
    return Problem(INVALID_FIELD, str(result), f"template.variables{variable}")
