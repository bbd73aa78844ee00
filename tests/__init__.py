"""Tests.

Hypothesis has no deadline here, whatever runs the tests: none of them is timed.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("mailrelay", deadline=None)
settings.load_profile("mailrelay")
