"""The scheduling clock: Unix seconds that nobody can set while the process runs.

It is the time since boot (sleep included) plus an offset taken at import. So a wait of ten minutes stays ten minutes
when somebody sets the wall clock. Use ``time.time`` only for what people and accounts count: log lines, the ledger, and
the limits of a UTC day or month.
"""

from __future__ import annotations

import time


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_OFFSET = time.time() - _since_boot()


def now() -> float:
    """Return the scheduling time in Unix seconds, as of the start of the process."""
    return _since_boot() + _OFFSET
