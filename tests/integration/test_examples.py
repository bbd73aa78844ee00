"""docs/examples: the systemd unit and the Dockerfile do what they say."""

from __future__ import annotations

import json
import re
import shlex
import signal

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.examples import can_run, instructions, of, said, unit


class ReadTests(SynchronousTestCase):
    """What can be seen without running them."""

    def test_unit(self) -> None:
        """twistd's codes are systemd's, and it gets the time that a stop may take."""
        settings = unit()
        self.assertEqual(settings["RestartPreventExitStatus"], ["78"])
        self.assertGreater(int(settings["TimeoutStopSec"][0]), 20)  # stop_grace
        self.assertEqual(
            shlex.split(settings["ExecStart"][0])[1:4], ["--pidfile=", "-n", "mailrelay"]
        )

    def test_dockerfile(self) -> None:
        """What one stage makes is what the other takes; the server is told of a stop directly."""
        stages = [argument for name, argument in instructions() if name == "FROM"]
        self.assertEqual(len({stage.split()[0] for stage in stages}), 1)
        self.assertIn("--from=build /opt/mailrelay /opt/mailrelay", of("COPY"))
        self.assertIsInstance(json.loads(of("CMD")[0]), list)


if can_run():

    class RunTests(SynchronousTestCase):
        """On a copy of this machine."""

        def part(self, begin: str, end: str) -> str:
            """What was printed between two marks."""
            found = re.search(f"{begin}\n(.*)^{end}\n", said(), re.DOTALL | re.MULTILINE)
            if found is None:
                self.fail(said())
            return str(found[1])

        def assert_works(self, text: str, messages: int) -> None:
            """It took ``messages``, kept them, logged no trouble and ended with the signal."""
            self.assertEqual(text.count("TAKEN"), messages, text)
            self.assertIn("Server Shut Down.", text)
            self.assertIn(f"STATUS {128 + signal.SIGTERM}\n", text)
            for word in ("Traceback", " error ", " warn ", "Unable to write", "critical"):
                self.assertNotIn(word, text)
            listed = json.loads(text[text.rindex("\n[\n") :])
            self.assertEqual([row["to"] for row in listed], ["me@example.org"] * messages)

        def test_dockerfile(self) -> None:
            """Its commands build it, its comment prepares it, and it is healthy and takes mail."""
            text = self.part("BUILT", "DOCKER ENDED")
            self.assert_works(text, 1)
            self.assertIn("\nHEALTHY\n", text)

        def test_unit(self) -> None:
            """With no right but to bind ports, and one folder to write, it takes mail."""
            text = self.part("DOCKER ENDED", "UNIT ENDED")
            self.assert_works(text, 2)
            self.assertIn("the configuration was read again", text)
