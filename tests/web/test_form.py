"""Forms: fields, files, limits, and what is left behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qs, unquote_plus, urlencode

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.threads import AtOnce
from mailrelay.web.body import Body, BodyRefused, BodyTooLarge, BodyTrouble, ClientGone
from mailrelay.web.form import (
    MOST_HEADERS,
    FieldsTooLarge,
    Form,
    FormLimits,
    MalformedForm,
    NotAForm,
    read_form,
)
from mailrelay.web.headers import Headers
from mailrelay.web.intake import SMALL_BYTES, Intake
from mailrelay.web.request import Refused, Request
from tests.web.wire import NO_LIMITS

P = ParamSpec("P")
T = TypeVar("T")
URLENCODED = "application/x-www-form-urlencoded"
MEANT = "ab=&%+; \n\r\t_é☺\0."
"""Characters that mean something to one reader or another."""
LIMITS = FormLimits(files=1000, urlencoded=200_000, fields=200_000, parts=10)


class Pieces:
    """A body that comes in pieces; without an end when there is none."""

    def __init__(self, pieces: list[bytes], *, breaks_off: bool = False) -> None:
        self._pieces = iter(pieces)
        self._breaks_off = breaks_off

    def next_chunk(self) -> Deferred[bytes]:
        """See Source."""
        piece = next(self._pieces, b"")
        if not piece and self._breaks_off:
            failed: Deferred[bytes] = Deferred()
            failed.errback(ClientGone("gone"))
            return failed
        return succeed(piece)


class Noting(AtOnce):
    """Does the work at once, and notes what it was."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """See Executor."""
        self.names.append(getattr(work, "__name__", "?"))
        return super().run(work, *args, **kwargs)


def multipart(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """A body of parts, each with its Content-Disposition after ``form-data``."""
    pieces = [
        f"--{boundary}\r\nContent-Disposition: form-data{head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    ]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()])


class FormTests(SynchronousTestCase):
    """Reading forms."""

    def setUp(self) -> None:
        """An intake with a folder of its own."""
        self.folder = Path(self.mktemp())
        self.executor = Noting()
        self.intake = self.make_intake()
        self.intake.prepare()

    def make_intake(self, **given: Any) -> Intake:
        """An intake for the folder."""
        names = iter(range(10**6))
        return Intake(
            self.folder, self.executor, lambda: str(next(names)), evolve(NO_LIMITS, **given)
        )

    def reading(
        self,
        content_type: str,
        *pieces: bytes,
        limits: FormLimits = LIMITS,
        breaks_off: bool = False,
        declared: int | None = None,
    ) -> Deferred[Form]:
        """The form of that type and body."""
        body = Body(declared, Pieces(list(pieces), breaks_off=breaks_off))
        headers = Headers([("content-type", content_type)])
        request = Request("POST", "/", "", headers, "192.0.2.1", False, body)
        return Deferred.fromCoroutine(read_form(request, self.intake, limits))

    def read(self, content_type: str, *pieces: bytes, **given: Any) -> Form:
        """The form; it is closed when the test ends."""
        form = self.successResultOf(self.reading(content_type, *pieces, **given))
        self.addCleanup(lambda: self.close(form))
        return form

    def close(self, form: Form) -> None:
        """Close it."""
        self.successResultOf(Deferred.fromCoroutine(form.close()))

    def refused(self, kind: type[Exception], *args: Any, **given: Any) -> Any:
        """The error with which reading fails; nothing is left."""
        error = self.failureResultOf(self.reading(*args, **given), kind).value
        self.assertEqual(list(self.folder.iterdir()), [])
        return error

    def test_urlencoded(self) -> None:
        """Names and values, several of a name, empty ones."""
        form = self.read(URLENCODED + "; charset=utf-8", b"a=1&b=%C3%A9+", b"c&a=2&d=")
        self.assertEqual(form.fields, {"a": ["1", "2"], "b": ["é c"], "d": [""]})
        self.assertEqual((form.get("a"), form.get("x"), form.files), ("1", None, []))
        self.assertEqual(self.executor.names, [])

    @given(
        st.lists(
            st.tuples(st.text(MEANT, max_size=5), st.text(MEANT, max_size=90)),
            max_size=9,
        )
    )
    def test_escapes(self, pairs: list[tuple[str, str]]) -> None:
        """What urllib writes is read as urllib reads it, also where it is less escaped."""
        text = urlencode(pairs)
        for given_text in (text, text.replace("%0A", "\n").replace("%3D", "=")):
            form = self.read(URLENCODED, given_text.encode())
            self.assertEqual(form.fields, parse_qs(given_text, keep_blank_values=True))

    def test_wrong_escapes(self) -> None:
        """A percent sign without two hexadecimal digits is refused, as Go refuses it."""
        for text in (b"a=%", b"a=%4", b"%zz=1", b"a=%\n4", b"a=%%41", b"a=%+1"):
            self.refused(MalformedForm, URLENCODED, text)

    @given(st.text("%41g=\r\n+", max_size=12))
    def test_any_escapes(self, text: str) -> None:
        """Whatever follows percent signs, it is an escape or refused."""
        if re.search("%(?![0-9A-Fa-f]{2})", text):
            self.refused(MalformedForm, URLENCODED, b"a=" + text.encode())
        else:
            form = self.read(URLENCODED, b"a=" + text.encode())
            self.assertEqual(form.fields, {"a": [unquote_plus(text)]})

    def test_multipart(self) -> None:
        """Fields and files, which are in the folder until the form is closed."""
        body = multipart(
            ('; name="a"', b"1"),
            ('; name="f"; filename="x.txt"\r\nContent-Type: text/plain', b"file\r\n--c"),
            ('; name="a"', "é".encode()),
            ('; name="f"; filename=""', b""),
        )
        form = self.read("multipart/form-data; boundary=b", body)
        self.assertEqual(form.fields, {"a": ["1", "é"]})
        first, second = form.files
        self.assertEqual(
            (first.field, first.filename, first.content_type, first.size),
            ("f", "x.txt", "text/plain", 9),
        )
        self.assertEqual(first.path.read_bytes(), b"file\r\n--c")
        self.assertEqual(first.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual((second.filename, second.size), ("", 0))
        self.close(form)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_files_are_written_by_workers(self) -> None:
        """Every touch of the disk is the executor's."""
        form = self.read(
            "multipart/form-data; boundary=b", multipart(('; name="f"; filename="x"', b"data"))
        )
        self.close(form)
        self.assertEqual(self.executor.names, ["_create", "_write_all", "close", "unlink"])

    def test_filename_is_no_path(self) -> None:
        """What the client calls a file is not what we call it."""
        for name in ("../../etc/passwd", "/etc/passwd", "a\x00b", "x" * 300):
            form = self.read(
                "multipart/form-data; boundary=b",
                multipart((f'; name="f"; filename="{name}"', b"")),
            )
            self.assertEqual(form.files[0].path.parent, self.folder)
            self.close(form)

    @settings(max_examples=60)
    @given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
    def test_cut_anywhere(self, cuts: list[int]) -> None:
        """However a form is cut, it is the same."""
        body = multipart(('; name="a"', b"\r\n--\r\n-"), ('; name="f"; filename="x"', b"\r\r\n--c"))
        pieces: list[bytes] = []
        at = 0
        while at < len(body):
            size = cuts[len(pieces) % len(cuts)]
            pieces.append(body[at : at + size])
            at += size
        form = self.read("multipart/form-data; boundary=b", *pieces)
        self.assertEqual(form.fields, {"a": ["\r\n--\r\n-"]})
        self.assertEqual(form.files[0].path.read_bytes(), b"\r\r\n--c")
        self.close(form)

    def test_large_fields(self) -> None:
        """More than 64 KiB is on disk while it comes, and is decoded by a worker."""
        value = "x" * SMALL_BYTES
        body = multipart(('; name="a"', value.encode()), ('; name="b"', b"y"))
        for content_type, data in (
            ("multipart/form-data; boundary=b", body),
            (URLENCODED, f"a={value}&b=y".encode()),
        ):
            self.executor.names.clear()
            form = self.read(content_type, data)
            self.assertEqual(form.fields, {"a": [value], "b": ["y"]})
            self.assertEqual(list(self.folder.iterdir()), [])
            self.assertIn("_write_all", self.executor.names)
            self.close(form)

    def test_turns(self) -> None:
        """So many large forms at once, so many that wait, then 503."""
        self.intake = self.make_intake(large_bodies=2, large_bodies_waiting=1)
        large = b"a=" + b"x" * SMALL_BYTES
        first, second = self.read(URLENCODED, large), self.read(URLENCODED, large)
        third = self.reading(URLENCODED, large)
        self.assertNoResult(third)
        refusal = self.failureResultOf(self.reading(URLENCODED, large), Refused).value
        self.assertEqual(refusal.response.status, 503)
        self.assertIn("Retry-After", refusal.response.headers)
        self.read(URLENCODED, b"a=small")  # has nothing to wait for
        self.close(first)
        self.close(first)  # gives back no more than it had
        waited = self.successResultOf(third)
        self.assertNoResult(fourth := self.reading(URLENCODED, large))
        self.close(second)
        self.close(waited)
        self.close(self.successResultOf(fourth))

    def test_limits(self) -> None:
        """Fields and files together each have theirs; parts are counted."""
        large, form_data = b"x" * 200_001, "multipart/form-data; boundary=b"
        self.refused(FieldsTooLarge, URLENCODED, b"a=", large)
        self.refused(FieldsTooLarge, URLENCODED, declared=200_001)
        half = large[:100_001]
        self.refused(FieldsTooLarge, form_data, multipart(('; name="a"', half), ("", half)))
        file = '; name="f"; filename="x"'
        error = self.refused(BodyTooLarge, form_data, multipart((file, half[:600]), (file, half)))
        self.assertNotIsInstance(error, FieldsTooLarge)
        self.assertEqual(
            self.refused(MalformedForm, form_data, multipart(*[("", b"")] * 11)).status, 413
        )
        self.refused(MalformedForm, URLENCODED, b"a&" * 11)
        header = "\r\nX: y" * MOST_HEADERS
        self.refused(MalformedForm, form_data, multipart((header, b"")))
        self.refused(MalformedForm, form_data, multipart(("; x=" + "y" * 3000, b"")))
        self.refused(BodyTooLarge, form_data, b"preamble\r\n" * 100_000)

    def test_malformed(self) -> None:
        """What is no form of its type."""
        form_data = "multipart/form-data; boundary=b"
        for body in (
            *(b"", b"--b", b"--b\r\n", multipart(("", b""))[:-4], b"x" * 100),
            *(b"--b\r\n\r\n\r\n--b--\r\n", b"--b\nContent-Disposition: form-data\n\n\n--b--"),
            b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--b--\r\n",
            b"--b\r\nContent-Disposition: form-data; name=\xff\r\n\r\n\r\n--b--\r\n",
            multipart(('; name="a"', b"\xff")),
        ):
            self.refused(MalformedForm, form_data, body)
        self.refused(MalformedForm, URLENCODED, b"a=%ff")
        self.refused(MalformedForm, URLENCODED, b"a=\xff")
        for content_type in (
            "",
            "application/json",
            "multipart/form-data",
            "multipart/mixed; boundary=b",
        ):
            self.refused(NotAForm, content_type, b"a")

    @settings(max_examples=200)
    @given(st.binary(max_size=200))
    def test_only_declared_exceptions(self, noise: bytes) -> None:
        """Whatever comes, a form or a refusal is made of it, and nothing is left."""
        start = b'--b\r\nContent-Disposition: form-data; name="f"; filename="'
        for content_type, data in (
            (URLENCODED, noise),
            ("multipart/form-data; boundary=b", noise),
            ("multipart/form-data; boundary=b", start + noise),
            ("multipart/form-data; boundary=" + noise.decode("latin-1"), b"--b" + noise),
        ):
            reading = self.reading(content_type, data)
            results: list[Any] = []
            reading.addBoth(results.append)
            (result,) = results
            if isinstance(result, Form):
                self.close(result)
            else:
                self.assertIsNotNone(result.check(BodyRefused), result)
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_client_gone(self) -> None:
        """A form that breaks off leaves nothing."""
        part = multipart(('; name="f"; filename="x"', b"data"), ('; name="f"; filename="y"', b""))
        self.refused(BodyTrouble, "multipart/form-data; boundary=b", part[:-20], breaks_off=True)
        self.refused(BodyTrouble, URLENCODED, b"x" * SMALL_BYTES * 2, breaks_off=True)

    def test_full_disk(self) -> None:
        """A file that cannot be written is a refusal, and an error in the log."""
        self.folder.rmdir()
        part = multipart(('; name="f"; filename="x"', b"data"))
        reading = self.reading("multipart/form-data; boundary=b", part)
        self.assertEqual(self.failureResultOf(reading, BodyRefused).value.status, 503)
        self.folder.mkdir()

    def test_orphans(self) -> None:
        """What a crash left is removed at the next start, and nothing else."""
        (self.folder / "upload-1").write_bytes(b"x")
        (self.folder / "mine").write_bytes(b"x")
        self.intake.prepare()
        self.assertEqual([path.name for path in self.folder.iterdir()], ["mine"])
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
