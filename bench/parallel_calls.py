"""twistd with 50 calls at once to a URL: `python -m bench.parallel_calls`, instead of `twistd`.

Mox's webhooks are called one at a time. Endpoints that are not mox's may have more, which is
what this measures until they can be configured.
"""

import sys

from twisted.scripts.twistd import run

from mailrelay.queue.destination import Destination
from mailrelay.webhooks.call import Call
from mailrelay.webhooks.delivery import CallScheduler

CONCURRENCY = 50


def destination_of(scheduler: CallScheduler, call: Call) -> Destination:
    """Instead of CallScheduler's."""
    return Destination(call.url, None, concurrency=CONCURRENCY)


if __name__ == "__main__":
    setattr(CallScheduler, "destination_of", destination_of)  # noqa: B010
    sys.argv[0] = "twistd"
    run()
