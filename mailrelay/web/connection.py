"""One HTTP connection: a request at a time, its answer, and the deadlines of both.

Twisted's own channel reads and parses a whole body, a form's on the reactor thread, before the
application sees the request, moves its deadline at every byte that comes, and folds headers.

- A handler sees a request when its header is there; the body is read when it is asked for.
- Answers leave in the order of the requests: the next is begun when the last was sent.
- What waits here unread is 64 KiB and one read of the socket; then the client waits.
- Every wait for the client ends: for the TLS handshake and the header, for the body by its rate,
  for the next request, and for the client to read what it was told.
- A client that is still sending when it is refused is heard out a little, lest the refusal be
  lost to a reset.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from mailrelay.net.timeouts import LazyTimeout
from mailrelay.web.answer import CONTINUE, OutgoingAnswer, response_head
from mailrelay.web.body import CHUNK_BYTES, Body, ClientGone
from mailrelay.web.exchange import Exchange
from mailrelay.web.framing import Head, Malformed, take_head
from mailrelay.web.headers import STRICT_HEADERS
from mailrelay.web.request import Answer, Request, Response

if TYPE_CHECKING:
    from mailrelay.web.site import Site

LINGER_SECONDS = 15.0
"""Until a connection that we ended is gone."""

TLS_LINGER_SECONDS = 5.0
"""That a client over TLS has to go by itself after it was refused."""

LINGER_BYTES = 16 * 1024 * 1024
"""What a client may still send after it was refused."""

BUSY = Response.text(503, "503 - too many connections\n", Retry_After="5")


class Phase(Enum):
    """What the client's time is measured for."""

    IDLE = auto()  # between two requests
    HEADER = auto()
    BODY = auto()
    ANSWER = auto()  # ours to give: no deadline
    CLOSING = auto()


@implementer(IPushProducer)
class HTTPConnection(LazyTimeout, Protocol):
    """The server's end of a connection."""

    transport: Any
    _log = Logger()

    def __init__(self, site: Site) -> None:
        self._site, self._settings = site, site.context.settings
        self.clock = site.context.clock
        self._buffer = bytearray()
        self._phase = Phase.HEADER
        self._exchange: Exchange | None = None
        self._request: Request | None = None
        self._sending: Deferred[None] | None = None  # the parts of an answer
        self._is_endless = False
        self._drained: Deferred[None] | None = None
        self._advancing = self._paused = self._output_full = False
        self._leaving = self._lost = False
        self._lingered = 0
        self._cut: IDelayedCall | None = None

    # Connection

    @override
    def connectionMade(self) -> None:
        self._site.context.sessions.add(self)
        self._peer_ip = getattr(self.transport.getPeer(), "host", None) or "local"
        too_many = self._site.opened(self._peer_ip)
        self.transport.registerProducer(self, True)
        if too_many:
            self._refuse(BUSY)
        else:
            self.setTimeout(self._settings.header_seconds)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase, self._lost = Phase.CLOSING, True
        self.endTimeouts()
        self._cancel_cut()
        self._site.context.sessions.discard(self)
        self._site.closed(self._peer_ip)
        gone = ClientGone("the connection was lost")
        if self._exchange is not None:
            self._exchange.fail(gone)
        if self._request is not None:
            self._request.gone()
        if self._sending is not None:
            self._sending.cancel()

    @override
    def timeoutConnection(self) -> None:
        if self._phase is Phase.BODY and self._exchange is not None:
            if self._exchange.is_answered:
                self._close(linger=False)
            else:
                self._exchange.too_slow()
        elif self._phase is Phase.HEADER and self._buffer:
            self._refuse(Response.text(408, "the header came too slowly\n"))
        elif self._phase is not Phase.CLOSING:
            self._close(linger=False)

    def leave(self) -> None:
        """The server stops: close now, or when the request under way is answered."""
        self._leaving = True
        if self._exchange is None and self._phase is not Phase.CLOSING:
            self._close(linger=False)
        elif self._is_endless and self._sending is not None:
            self._sending.cancel()

    def abort(self) -> None:
        """The server stops now."""
        self.transport.abortConnection()

    # Flow

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._phase is Phase.CLOSING:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.transport.abortConnection()
            return
        self._buffer += data
        if self._phase is Phase.IDLE:
            self._phase = Phase.HEADER
            self.setTimeout(self._settings.header_seconds)
        self._advance()

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._step():
                pass
        finally:
            self._advancing = False
        self.flow()

    def _step(self) -> bool:
        """Do what can be done with what is there; whether there may be more to do."""
        if self._phase is Phase.CLOSING:
            return False
        if self._exchange is None:
            return not self._output_full and self._begin_next()
        if not self._exchange.came():
            return False
        if self._exchange is not None and self._exchange.is_answered and self._exchange.is_read:
            self._await_next()
        return True

    def flow(self) -> None:
        """See Wire."""
        is_closing = self._phase is Phase.CLOSING
        pause = not is_closing and (len(self._buffer) > CHUNK_BYTES or self._output_full)
        if pause == self._paused or self._lost:
            return
        self._paused = pause
        (self.transport.pauseProducing if pause else self.transport.resumeProducing)()

    def pauseProducing(self) -> None:
        """The client does not read its answers: take no more requests."""
        self._output_full = True
        self._cut_after(self._settings.write_seconds)
        self.flow()

    def resumeProducing(self) -> None:
        """There is room for answers again."""
        self._output_full = False
        if self._phase is not Phase.CLOSING:
            self._cancel_cut()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)
        self._advance()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    # A request

    def _begin_next(self) -> bool:
        try:
            head = take_head(self._buffer, self._settings)
        except Malformed as error:
            self._refuse(Response.text(error.status, f"{error.status} - {error.text}\n"))
            return False
        if head is None:
            return False
        self._phase = Phase.ANSWER
        self.setTimeout(None)
        self._begin(head)
        return True

    def _begin(self, head: Head) -> None:
        exchange = Exchange(head, self._buffer, self._settings, self, self.clock.seconds)
        path, _, query = head.target.partition("?")
        request = Request(
            head.method,
            path,
            query,
            head.headers,
            self._site.client_ip(self._peer_ip, head.headers),
            self._site.is_secure,
            Body(head.length, exchange),
        )
        self._exchange, self._request = exchange, request
        answering = Deferred.fromCoroutine(self._site.answer(request))
        answering.addCallback(lambda answer: self._answered(exchange, request, answer))
        answering.addErrback(self._failed)

    def send_continue(self) -> None:
        """See Wire."""
        self.transport.write(CONTINUE)

    def wait_for_body(self, seconds: float | None) -> None:
        """See Wire."""
        if self._phase is not Phase.CLOSING:
            self._phase = Phase.ANSWER if seconds is None else Phase.BODY
            self.setTimeout(seconds)
            self.flow()

    # Its answer

    def _answered(self, exchange: Exchange, request: Request, answer: Answer) -> None:
        outgoing = OutgoingAnswer(request, answer, is_http_1_1=exchange.head.is_http_1_1)
        is_last = not self._may_continue(exchange, answer)
        sending: Deferred[None] = succeed(None)
        if not self._lost:
            head = outgoing.head(self._site.date(), is_last=is_last)
            if outgoing.parts is None:
                self._site.context.outbox.write(self.transport, head + outgoing.whole)
            else:
                self.transport.write(head)
                self._is_endless = answer.response.is_endless
                sending = Deferred.fromCoroutine(self._send(outgoing, outgoing.parts))
                self._sending = sending
        sending.addBoth(lambda result: self._all_sent(result, exchange, outgoing, is_last))

    def _may_continue(self, exchange: Exchange, answer: Answer) -> bool:
        return (
            exchange.head.is_persistent
            and exchange.may_be_swallowed
            and not answer.response.is_closing
            and not self._leaving
        )

    async def _send(self, outgoing: OutgoingAnswer, parts: AsyncIterator[bytes]) -> None:
        """The parts, one when there is room for it; an endless one ends when it is canceled."""
        try:
            async for part in parts:
                self.transport.write(outgoing.encoded(part))
                if self._output_full:
                    self._drained = Deferred()
                    await self._drained
        except CancelledError:
            if self._lost or not self._is_endless:
                raise
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        self.transport.write(outgoing.end())

    def _all_sent(
        self, result: object, exchange: Exchange, outgoing: OutgoingAnswer, is_last: bool
    ) -> None:
        self._sending, self._is_endless = None, False
        seconds = self.clock.seconds() - exchange.started_at
        self._site.finished(outgoing.request, outgoing.answer, outgoing.size, seconds)
        if isinstance(result, Failure):
            if not self._lost:
                self._failed(result)
            return
        if self._phase is Phase.CLOSING:
            return
        if is_last or self._leaving:
            self._close(linger=not exchange.is_read)
            return
        if exchange.swallow():
            self._await_next()
        self._advance()

    def _await_next(self) -> None:
        self._exchange = self._request = None
        if self._leaving:
            self._close(linger=False)
            return
        self._phase = Phase.HEADER if self._buffer else Phase.IDLE
        settings = self._settings
        self.setTimeout(settings.header_seconds if self._buffer else settings.idle_seconds)

    def _failed(self, failure: Failure) -> None:
        """Half an answer is out: what is whole must not be told from what is not."""
        self._log.failure("an answer could not be sent", failure)
        self.transport.abortConnection()

    # The end

    def _refuse(self, response: Response) -> None:
        """Answer what is no request, and close."""
        head = response_head(
            response, STRICT_HEADERS, self._site.date(), is_chunked=False, is_last=True
        )
        assert isinstance(response.body, bytes)
        self.transport.write(head + response.body)
        self._site.refused(self._peer_ip, response.status)
        self._close(linger=True)

    def _close(self, *, linger: bool) -> None:
        self._phase = Phase.CLOSING
        self.setTimeout(None)
        self._buffer.clear()
        self.flow()
        self.transport.unregisterProducer()
        if linger and ISSLTransport.providedBy(self.transport):
            # TLS has no half to close: the client knows the answer's length, and goes.
            self._cancel_cut()
            self._cut = self.clock.callLater(TLS_LINGER_SECONDS, self._end)
        elif linger and isinstance(self.transport, Connection):
            self._cut_after(LINGER_SECONDS)
            self.transport.loseWriteConnection()
        else:
            self._end()

    def _end(self) -> None:
        self._cut_after(LINGER_SECONDS)
        self.transport.loseConnection()

    def _cut_after(self, seconds: float) -> None:
        self._cancel_cut()
        self._cut = self.clock.callLater(seconds, self.transport.abortConnection)

    def _cancel_cut(self) -> None:
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
