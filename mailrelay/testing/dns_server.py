"""A small DNS server on 127.0.0.1, UDP and TCP, that knows what a test writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from attrs import define, field
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.protocols.basic import Int16StringReceiver
from twisted.trial.unittest import TestCase

Records = Mapping[str, Mapping[str, Sequence[str]]]
"""Name, without its last dot, to type to values in the zone file's form."""

TTL = 60


@define
class DNSServer:
    """Answers from ``records``; what is not there does not exist.

    ``rcodes`` are answers by name, or by ``name/type``, such as ``SERVFAIL``; ``silent`` names get
    no answer; ``truncated`` ones get theirs by TCP only.  ``asked`` lists ``name/type``.
    """

    records: Records
    rcodes: Mapping[str, str] = field(factory=dict)
    silent: frozenset[str] = frozenset()
    truncated: frozenset[str] = frozenset()
    asked: list[str] = field(factory=list, init=False)
    port: int = field(default=0, init=False)

    async def start(self, case: TestCase, reactor: Any) -> DNSServer:
        """Listen until the test ends, on one port for both."""
        udp, tcp = self._listen(reactor)
        self.port = udp.getHost().port
        case.addCleanup(udp.stopListening)
        case.addCleanup(tcp.stopListening)
        return self

    def _listen(self, reactor: Any) -> tuple[Any, Any]:
        while True:
            udp = reactor.listenUDP(0, _OverUDP(self), interface="127.0.0.1", maxPacketSize=8192)
            try:
                return udp, reactor.listenTCP(
                    udp.getHost().port, _TCPFactory(self), interface="127.0.0.1"
                )
            except CannotListenError:
                udp.stopListening()

    def answer(self, wire: bytes, *, by_tcp: bool) -> bytes | None:
        """The answer to a query, None for none."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        type_ = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name}/{type_}")
        if name in self.silent:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        rcode = self.rcodes.get(f"{name}/{type_}") or self.rcodes.get(name)
        if rcode is not None:
            response.set_rcode(dns.rcode.from_text(rcode))
        elif name in self.truncated and not by_tcp:
            response.flags |= dns.flags.TC
        else:
            self._look_up(response, name, type_)
        return response.to_wire(max_size=65535)

    def _look_up(self, response: dns.message.Message, name: str, type_: str) -> None:
        for _ in range(10):  # a chain of CNAMEs may be a ring
            own = self.records.get(name)
            if own is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                return
            found = type_ if type_ in own else "CNAME"
            if found not in own:
                return
            rrset = dns.rrset.from_text(dns.name.from_text(name), TTL, "IN", found, *own[found])
            response.answer.append(rrset)
            if found == type_:
                return
            name = own["CNAME"][0].rstrip(".").lower()


class _OverUDP(DatagramProtocol):
    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        answer = self._server.answer(datagram, by_tcp=False)
        if answer is not None and self.transport is not None:
            self.transport.write(answer, addr)


class _OverTCP(Int16StringReceiver):
    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def stringReceived(self, string: bytes) -> None:
        answer = self._server.answer(string, by_tcp=True)
        if answer is not None:
            self.sendString(answer)


class _TCPFactory(Factory):
    noisy = False

    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def buildProtocol(self, addr: object) -> _OverTCP:
        return _OverTCP(self._server)
