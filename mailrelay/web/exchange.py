"""One request on a connection: its body as it comes, and how long that may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from mailrelay.web.body import BodyRefused, BodyTrouble, ClientGone
from mailrelay.web.framing import FixedBody, Head, Malformed, body_decoder
from mailrelay.web.settings import HTTPSettings

SWALLOWED_BYTES = 64 * 1024
"""What is left of a body after the answer is read and thrown away up to here; else we close."""

TOO_SLOW = (408, "the body came too slowly\n")


class Wire(Protocol):
    """The connection, for an exchange."""

    def send_continue(self) -> None:
        """Tell the client to send the body."""

    def wait_for_body(self, seconds: float | None) -> None:
        """Call ``too_slow`` after that time; None: the body is not waited for."""

    def flow(self) -> None:
        """There is more room in the buffer, or less: read or do not."""


class Exchange:
    """A body's Source.  ``buffer`` is the connection's: the body is at its front.

    The client has ``body_seconds`` of patience.  Waiting for it spends that, each byte earns
    some back, never over the first amount: neither a slow start nor a drip holds a connection.
    """

    def __init__(
        self,
        head: Head,
        buffer: bytearray,
        settings: HTTPSettings,
        wire: Wire,
        seconds: Callable[[], float],
    ) -> None:
        self.head = head
        self.started_at = seconds()
        self.is_answered = False
        self._buffer, self._settings, self._wire, self._seconds = buffer, settings, wire, seconds
        self._decoder = body_decoder(head.length)
        self._awaits_continue = head.expects_continue and not self._decoder.is_done
        self._patience = settings.body_seconds
        self._waiting: Deferred[bytes] | None = None
        self._waits_since: float | None = None
        self._trouble: BodyTrouble | None = None

    @property
    def is_read(self) -> bool:
        """Whether the whole body came."""
        return self._decoder.is_done

    @property
    def may_be_swallowed(self) -> bool:
        """Whether the next request can be reached without reading much."""
        if self._trouble is not None or self._awaits_continue:
            return False
        if isinstance(self._decoder, FixedBody):
            return self._decoder.remaining <= SWALLOWED_BYTES
        return self._decoder.is_done

    def next_chunk(self) -> Deferred[bytes]:
        """See Source."""
        if self._waiting is not None:
            raise RuntimeError("the body is already being read")
        if self.is_answered:
            return fail(ClientGone("the request was answered"))
        data = self._take()
        if self._trouble is not None:
            return fail(self._trouble)
        if data or self._decoder.is_done:
            self._wire.flow()
            return succeed(data)
        if self._awaits_continue:
            self._awaits_continue = False
            self._wire.send_continue()
        self._waiting = Deferred(self._no_longer_wanted)
        self._wait()
        return self._waiting

    def _no_longer_wanted(self, _: Deferred[bytes]) -> None:
        self._waiting = None
        self._stop_waiting()

    def came(self) -> bool:
        """More is in the buffer; whether that leads to something else."""
        if self.is_answered:
            return self.swallow()
        if self._waiting is None:
            return False
        self._stop_waiting()
        data = self._take()
        if not data and not self._decoder.is_done and self._trouble is None:
            self._wait()
            return False
        waiting, self._waiting = self._waiting, None
        if self._trouble is not None:
            waiting.errback(self._trouble)
        else:
            waiting.callback(data)
        return True

    def swallow(self) -> bool:
        """The answer is out: what is left of the body goes nowhere.  Whether nothing is left."""
        self.is_answered = True
        self._stop_waiting()
        self._take()
        if not self._decoder.is_done:
            self._wait()
        return self._decoder.is_done

    def too_slow(self) -> None:
        """Patience is at its end."""
        self.fail(BodyRefused(*TOO_SLOW))

    def fail(self, trouble: BodyTrouble) -> None:
        """No more of the body can be had."""
        self._trouble = trouble
        self._stop_waiting()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(trouble)

    def _take(self) -> bytes:
        if self._trouble is not None:
            return b""
        try:
            data = self._decoder.take(self._buffer)
        except Malformed as error:
            self._trouble = BodyRefused(error.status, f"{error.text}\n")
            return b""
        if data:
            self._awaits_continue = False
            earned = self._patience + len(data) / self._settings.body_rate
            self._patience = min(self._settings.body_seconds, earned)
        return data

    def _wait(self) -> None:
        self._waits_since = self._seconds()
        self._wire.wait_for_body(max(0.0, self._patience))

    def _stop_waiting(self) -> None:
        if self._waits_since is not None:
            self._patience -= self._seconds() - self._waits_since
            self._waits_since = None
            self._wire.wait_for_body(None)
