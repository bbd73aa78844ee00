"""How often the interpreter looks for garbage that counting references does not find.

Measured: a message makes some hundred containers that live as long as it does, and nearly none of
them are in cycles.  With the interpreter's own thresholds looking for those takes a sixth of the
time that a message costs; what a server has made until it serves is looked through again and
again, though it stays.
"""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 20)
"""New containers between two looks at the youngest generation; and looks at a generation between
two at the next."""


def look_seldom() -> None:
    """Of the whole process: for entry points, once what stays was made.  Takes 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
