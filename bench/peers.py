"""Handing messages from one mailrelay to another: as a peer, and by SMTP."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import attrs
from typing_extensions import override

from bench.load import Load
from bench.measurement import Run
from bench.net import ADDRESS, free_port, wait_until
from bench.servers import Job, Server
from bench.servers.ours import DISCARD, Ours
from bench.surroundings import Surroundings

RELAYED_WITHIN = 120.0

TAKES_FROM_PEERS = """
[[listener]]
role = "http"
endpoint = "tcp:{port}:backlog=1000:interface=127.0.0.1"
relay = true
"""
TO_THE_PEER = """
[[transport]]
name = "next"
peer = "next"
[[route]]
domain = "*"
transport = "next"
"""


class Receiver(Ours):
    """Takes mail by SMTP and from a peer, and throws it away."""

    http_port = 0

    @override
    def _configuration(self) -> str:
        self.http_port = self.http_port or free_port()
        return super()._configuration() + TAKES_FROM_PEERS.format(port=self.http_port)


class PeerSender(Ours):
    """Hands all mail to a peer."""

    @override
    def _configuration(self) -> str:
        return super()._configuration().replace(DISCARD, TO_THE_PEER)


@attrs.frozen
class Handing:
    """Messages that one server takes by SMTP and hands to another, which throws them away."""

    name: str
    by_peer: bool
    load: Load
    warm_messages: int = 500

    def measure(self, kind: type[Server], surroundings: Surroundings) -> Run:
        """One run on two freshly started servers; the CPU time is that of both."""
        with ExitStack() as stack:
            first = stack.enter_context(surroundings.home(f"{kind.name}-receiver"))
            second = stack.enter_context(surroundings.home(kind.name))
            receiver = stack.enter_context(Receiver(Job(), first))
            sender: Ours
            if self.by_peer:
                sender = stack.enter_context(PeerSender(Job(), second))
                _introduce(sender, receiver)
            else:
                sender = stack.enter_context(Ours(Job(relay_port=receiver.port), second))
            sent = self.warm_messages
            self._hand(sender, receiver, sent, 0)
            seconds = self._hand(sender, receiver, self.warm_messages, sent)
            sent += self.warm_messages
            messages = max(self.warm_messages, round(sent / 2 / seconds * surroundings.seconds))
            before = sender.cpu_seconds() + receiver.cpu_seconds()
            seconds = self._hand(sender, receiver, messages, sent)
            sent += messages
            wait_until(lambda: sender.queued() == 0, RELAYED_WITHIN, "an empty queue", every=0.1)
            cpu = sender.cpu_seconds() + receiver.cpu_seconds() - before
            metrics = {
                "per_second": messages / seconds,
                "cpu_per_1000": cpu / messages * 1000,
                "peak_mib": sender.peak_bytes() / 2**20,
            }
            return Run(self.name, kind.name, metrics, sent, sent - receiver.accepted())

    def _hand(self, sender: Ours, receiver: Ours, messages: int, before: int) -> float:
        """Seconds until all of them are at the receiver."""
        began = time.monotonic()
        self.load.send(sender.port, messages)
        wanted = before + messages
        wait_until(
            lambda: receiver.accepted() >= wanted, RELAYED_WITHIN, "mail at the peer", every=0.02
        )
        return time.monotonic() - began


def _introduce(sender: Ours, receiver: Receiver) -> None:
    """The two know each other's keys."""
    password = receiver.home / "password"
    password.write_text("a long password\n")
    _operate(receiver, "account", "add", "sender", "--password-file", str(password))
    made = _operate(receiver, "peer", "add", "sender", "--account", "sender", "--json")
    for key in json.loads(made)["keys"]:
        (sender.home / key["direction"]).write_text(key["key"])
    url = f"http://{ADDRESS}:{receiver.http_port}"
    _operate(
        sender,
        *("peer", "add", "next", "--url", url, "--allowed-network", "127.0.0.0/8"),
        *("--concurrency", "50"),
        *("--our-key-file", str(sender.home / "theirs")),
        *("--their-key-file", str(sender.home / "ours")),
    )


def _operate(server: Ours, *arguments: str) -> str:
    """A command of an operator's of ``server``."""
    command = str(Path(sys.executable).with_name("mailrelay"))
    config = str(server.home / "mailrelay.toml")
    done = subprocess.run(
        [command, *arguments, "--config", config], capture_output=True, text=True, check=True
    )
    return done.stdout
