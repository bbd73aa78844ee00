"""What judges mail of strangers, as the file says it; what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.rspamd import OnFailure, OnReject
from mailrelay.config.load import BadConfiguration, parse_settings
from mailrelay.config.settings import Settings
from mailrelay.policy.blocklists import ListAction, WaitAt

START = """\
hostname = "mx.example.org"
data_dir = "data"
[[listener]]
role = "mx"
endpoint = "tcp:25"
judge = true
"""


def read(text: str, start: str = START, **environment: str) -> Settings:
    """The settings of ``text``, behind what there must be."""
    return parse_settings(start + text, environment, file="f.toml", base=Path("/etc/mailrelay"))


class IncomingTests(SynchronousTestCase):
    """``[dnsbl]`` and its neighbours."""

    def problems(self, text: str, start: str = START) -> list[str]:
        """What is wrong with it."""
        with self.assertRaises(BadConfiguration) as caught:
            read(text, start)
        return [str(one) for one in caught.exception.problems]

    def test_nothing(self) -> None:
        """Nothing is asked of anybody unless the file says so."""
        settings = read("")
        self.assertEqual(settings.dnsbl.zone, ())
        self.assertFalse(settings.sender_limits.judges_peers)
        self.assertFalse(settings.greylisting.enabled)
        self.assertEqual((settings.rspamd.url, settings.first_time_senders.delay), ("", 0.0))

    def test_everything(self) -> None:
        """All of it, the password of rspamd from a file; the environment overrides."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "secret").write_text("s3cret\nmore\n")
        settings = read(
            '[dnsbl]\nwait = "greeting"\njunk_weight = 2\n'
            '[[dnsbl.zone]]\nzone = "a.test"\naction = "weigh"\nanswers = ["127.0.0.4/30"]\n'
            '[[dnsbl.zone]]\nzone = "b.test"\n'
            "[sender_limits]\nmessages_per_address = 300\n[greylisting]\nenabled = true\n"
            f'[rspamd]\nurl = "http://127.0.0.1:11333"\npassword_file = "{folder}/secret"\n'
            'on_reject = "junk"\non_failure = "defer"\n[first_time_senders]\ndelay = 15\n',
            MAILRELAY_SENDER_LIMITS_MESSAGES_PER_ADDRESS="200",
            MAILRELAY_FIRST_TIME_SENDERS_DELAY="20",
            MAILRELAY_GREYLISTING_DELAY="90",
        )
        dnsbl = settings.dnsbl
        actions = [zone.action for zone in dnsbl.zone]
        self.assertEqual(actions, [ListAction.WEIGH, ListAction.REJECT])
        self.assertEqual((dnsbl.wait, dnsbl.junk_weight), (WaitAt.GREETING, 2.0))
        self.assertEqual(settings.sender_limits.messages_per_address, 200)
        self.assertEqual(settings.first_time_senders.delay, 20.0)
        self.assertEqual(settings.greylisting.delay, 90.0)
        rspamd = settings.rspamd
        self.assertEqual(rspamd.password, "s3cret")
        self.assertEqual((rspamd.on_reject, rspamd.on_failure), (OnReject.JUNK, OnFailure.DEFER))

    def test_wrong(self) -> None:
        """Each wrong thing is told where it stands."""
        for text, place in (
            ('[[dnsbl.zone]]\nzone = "A.test"\n', "line 8: dnsbl.zone[1].zone: 'A.test' is not a"),
            ('[[dnsbl.zone]]\nzone = "a..test"\n', "line 8: dnsbl.zone[1].zone"),
            ('[[dnsbl.zone]]\nzone = "[192.0.2.1]"\n', "line 8: dnsbl.zone[1].zone"),
            ('[[dnsbl.zone]]\nzone = "' + "a." * 95 + 'test"\n', "line 8: dnsbl.zone[1].zone"),
            ('[[dnsbl.zone]]\nzone = "a.test"\nanswers = ["10.0.0.1"]', "dnsbl.zone[1].answers[1]"),
            ('[[dnsbl.zone]]\nzone = "a.test"\nanswers = ["::1"]', "dnsbl.zone[1].answers[1]"),
            ('[[dnsbl.zone]]\nzone = "a.test"\nanswers = ["x"]', "dnsbl.zone[1].answers[1]"),
            (
                '[[dnsbl.zone]]\nzone="a.test"\n[[dnsbl.zone]]\nzone="a.test"',
                "a.test is there twice",
            ),
            ("[dnsbl]\ntimeout = 0\n", "line 8: dnsbl.timeout: must be more than 0"),
            ('[dnsbl]\nskip_networks = ["x"]\n', "dnsbl.skip_networks"),
            ("[greylisting]\ndelay = 200000\n", "greylisting.retry_within: must be longer"),
            ('[greylisting]\nskip_networks = ["x"]\n', "greylisting.skip_networks"),
            ("[greylisting]\nskip_known = true\n", "line 8: greylisting.skip_known: needs"),
            (
                "[first_time_senders]\ndelay = 301\n",
                "line 8: first_time_senders.delay",
            ),
            ('[rspamd]\nurl = "127.0.0.1:11333"\n', "line 8: rspamd.url"),
            ('[rspamd]\nurl = "http://127.0.0.1/checkv2"\n', "line 8: rspamd.url"),
            ('[rspamd]\nurl = "http://a.test"\ntimeout = 0\n', "rspamd.timeout"),
            ('[rspamd]\nurl = "http://a.test"\npassword = "a\\nb"\n', "rspamd.password"),
            ('[rspamd]\npassword_file = "/nowhere/x"\n', "rspamd.password_file: cannot be read"),
        ):
            [problem] = self.problems(text)
            self.assertIn(place, problem)

    def test_needs_a_judge(self) -> None:
        """What goes by the sender needs somebody who finds out who that is."""
        blind = START.replace("judge = true\n", "")
        for text in (
            "[first_time_senders]\ndelay = 15\n",
            "[sender_limits]\nmessages_per_domain = 5\n",
        ):
            [problem] = self.problems(text, blind)
            self.assertIn("needs a listener with judge = true", problem)
