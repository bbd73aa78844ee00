"""``MAILRELAY_CONFIG=/etc/mailrelay/mailrelay.toml twistd -ny mailrelay.tac``."""

import os
from pathlib import Path

from twisted.application.service import Application

from mailrelay.tap import make_server

application = Application("mailrelay")
config = os.environ.get("MAILRELAY_CONFIG", "mailrelay.toml")
make_server(Path(config).absolute()).setServiceParent(application)
