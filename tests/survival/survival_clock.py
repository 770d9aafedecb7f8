"""The daemon with a wall clock that can be set: ``python survival_clock.py CONFIG LOG FILE``.

The clock is off by the seconds that FILE says. It is put in place before anything is imported; monotonic time goes on.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def set_clock(file):
    real, seen = time.time, {}

    def shifted():
        mark = os.stat(file).st_mtime_ns
        if seen.get("mark") != mark:
            seen.update(mark=mark, by=float(Path(file).read_text()))
        return real() + seen["by"]

    time.time = shifted


if __name__ == "__main__":
    set_clock(sys.argv[3])
    import survival_process

    survival_process.run(sys.argv[1], sys.argv[2], {"hurry": 0.3})
