"""Makes `twistd mailrelay` known."""

from twisted.application.service import ServiceMaker

mailrelay = ServiceMaker(
    "mailrelay", "mailrelay.tap", "An all-in-one mail server: SMTP, queue, HTTP.", "mailrelay"
)
