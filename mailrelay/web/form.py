"""HTML forms: ``application/x-www-form-urlencoded`` and ``multipart/form-data``, files included.

``async with await read_form(request, intake, limits) as form:`` removes the files at its end.
"""

from __future__ import annotations

from binascii import a2b_qp
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import define, field, frozen
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from mailrelay.web.body import BodyRefused, BodyTooLarge
from mailrelay.web.intake import Collected, Intake, UploadFile
from mailrelay.web.request import Request

MIB = 1024 * 1024

MOST_HEADER_CHARACTERS = 2048
"""Of a part's header field: the parser's time grows with its square."""

MOST_HEADERS = 5
"""Of a part; RFC 7578 has three."""


class NotAForm(BodyRefused):
    """The Content-Type is not one of a form."""


class MalformedForm(BodyRefused):
    """The body is not what its Content-Type says."""


class FieldsTooLarge(BodyTooLarge):
    """What is not a file is larger than is taken."""


@frozen
class FormLimits:
    """Bytes.  The defaults of what is not a file are Go's, which mox has."""

    files: int  # of all files together
    urlencoded: int = 10 * MIB
    fields: int = 10 * MIB + 200 * 1024  # of a multipart form, together
    parts: int = 1000


@frozen
class UploadedFile:
    """A file of a form.

    ``field``, ``filename`` and ``content_type`` are what the client wrote, CR and LF included.
    """

    field: str
    filename: str
    content_type: str
    content_id: str
    path: Path  # until the form is closed
    size: int


@define
class Form:
    """The values of each field in their order, and the files in theirs.  Close it."""

    fields: Mapping[str, Sequence[str]] = field(factory=dict)
    files: list[UploadedFile] = field(factory=list)
    _uploads: list[UploadFile] = field(factory=list)
    _give_back: list[Callable[[], None]] = field(factory=list)

    def get(self, name: str) -> str | None:
        """The first value of a field."""
        values = self.fields.get(name)
        return values[0] if values else None

    def let_others(self) -> None:
        """Let others have large forms, before there is a wait for anything large."""
        for give_back in self._give_back:
            give_back()

    async def close(self) -> None:
        """Remove the files; let others have large forms."""
        self.let_others()
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            await upload.remove()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def read_form(request: Request, intake: Intake, limits: FormLimits) -> Form:
    """The form that is the request's body.

    Raises: NotAForm, MalformedForm, FieldsTooLarge, BodyTooLarge (the files); Refused, when too
    many large forms wait; BodyTrouble.
    """
    told = (request.headers.get("content-type") or "")[:MOST_HEADER_CHARACTERS]
    content_type, options = parse_options_header(told)
    form = Form()
    try:
        if content_type == "application/x-www-form-urlencoded":
            await _urlencoded(request, intake, limits, form)
        elif content_type == "multipart/form-data" and options.get("boundary"):
            await _Multipart(intake, limits, form).read(request, options["boundary"])
        else:
            raise NotAForm(415, "the body must be a form\n")
    except BaseException:
        await form.close()
        raise
    return form


async def _urlencoded(request: Request, intake: Intake, limits: FormLimits, form: Form) -> None:
    try:
        collected = await intake.collect(request.body, limits.urlencoded)
    except BodyTooLarge:
        raise FieldsTooLarge(limits.urlencoded) from None
    try:
        form.fields = await _decoded(
            intake, form, collected, lambda data: _parse_urlencoded(data, limits.parts)
        )
    finally:
        await collected.close()


async def _decoded(
    intake: Intake,
    form: Form,
    collected: Collected,
    decode: Callable[[bytes], Mapping[str, Sequence[str]]],
) -> Mapping[str, Sequence[str]]:
    """What is large is decoded in its turn, by a worker; the turn ends with the form."""
    if not collected.is_large:
        return decode(await collected.bytes())
    form._give_back.append(await intake.take_turn())
    return await intake.executor.run(decode, await collected.bytes())


def _parse_urlencoded(data: bytes, most: int) -> Mapping[str, Sequence[str]]:
    pairs = data.split(b"&", most)
    if len(pairs) > most:
        raise MalformedForm(400, f"the form has more than {most} fields\n")
    fields: dict[str, list[str]] = {}
    for pair in pairs:
        if pair:
            name, _, value = pair.partition(b"=")
            fields.setdefault(_unescaped(name), []).append(_unescaped(value))
    return fields


def _unescaped(text: bytes) -> str:
    """What ``text`` stands for.  Raises: MalformedForm."""
    # Quoted-printable but for the sign: C reads it in a fraction of the time of urllib.
    plain = a2b_qp(text.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"="))
    # An escape becomes two bytes less.  Of what is none, only a soft line break is as short.
    is_escaped = len(plain) == len(text) - 2 * text.count(b"%")
    if not is_escaped or b"%\r" in text or b"%\n" in text:
        raise MalformedForm(400, "the form has % without two hexadecimal digits\n")
    try:
        return plain.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedForm(400, "the form is not UTF-8\n") from error


@frozen
class _Span:
    """Where the value of a field is among the bytes of all."""

    field: str
    start: int
    end: int


class _Multipart:
    """Reads a multipart form: files to files, all fields to one place."""

    def __init__(self, intake: Intake, limits: FormLimits, form: Form) -> None:
        self._intake, self._limits, self._form = intake, limits, form
        self._collected = Collected(intake)
        self._spans: list[_Span] = []
        self._segment: MultipartSegment | None = None
        self._upload: UploadFile | None = None
        self._start = 0  # of the field's value
        self._file_bytes = 0

    async def read(self, request: Request, boundary: str) -> None:
        """All of it, into the form.  Raises: see ``read_form``."""
        limits = self._limits
        try:
            async for event in _events(request, boundary, limits):
                await self._take(event)
            self._form.fields = await _decoded(
                self._intake, self._form, self._collected, self._slices
            )
        finally:
            await self._collected.close()

    async def _take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if event is None:
            await self._end_part()
        elif isinstance(event, MultipartSegment):
            self._segment, self._start = event, self._collected.size
            if event.filename is not None:
                self._upload = await self._intake.new_file()
                self._form._uploads.append(self._upload)
        elif self._upload is not None:
            self._file_bytes += len(event)
            if self._file_bytes > self._limits.files:
                raise BodyTooLarge(self._limits.files)
            await self._upload.write(bytes(event))
        else:
            if self._collected.size + len(event) > self._limits.fields:
                raise FieldsTooLarge(self._limits.fields)
            await self._collected.write(bytes(event))

    async def _end_part(self) -> None:
        segment, upload, self._upload = self._segment, self._upload, None
        assert segment is not None
        name = segment.name or ""
        if upload is None:
            self._spans.append(_Span(name, self._start, self._collected.size))
            return
        await upload.written()
        self._form.files.append(
            UploadedFile(
                name,
                segment.filename or "",
                segment.content_type or "",
                segment.header("Content-ID") or "",
                upload.path,
                upload.size,
            )
        )

    def _slices(self, data: bytes) -> Mapping[str, Sequence[str]]:
        fields: dict[str, list[str]] = {}
        for span in self._spans:
            try:
                value = data[span.start : span.end].decode("utf-8")
            except UnicodeDecodeError as error:
                text = f"the field {span.field!r} is not UTF-8\n"
                raise MalformedForm(400, text) from error
            fields.setdefault(span.field, []).append(value)
        return fields


async def _events(
    request: Request, boundary: str, limits: FormLimits
) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
    """Segments, their bytes, and None at the end of each."""
    overhead = limits.parts * (MOST_HEADERS + 1) * MOST_HEADER_CHARACTERS
    most = limits.files + limits.fields + overhead
    left = most
    try:
        parser = PushMultipartParser(
            boundary,
            max_header_size=MOST_HEADER_CHARACTERS,
            max_header_count=MOST_HEADERS,
            max_segment_count=limits.parts,
        )
        while data := await request.body.next():
            left -= len(data)
            if left < 0:
                raise BodyTooLarge(most)
            for event in parser.parse(data):
                yield event
        parser.close()
    except ParserLimitReached as error:
        raise MalformedForm(413, f"the form has too many parts or headers: {error}\n") from error
    except (MultipartError, UnicodeError) as error:
        raise MalformedForm(400, f"the form is malformed: {error}\n") from error
