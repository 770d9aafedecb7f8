"""Run the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import TimedOut
from benchmarks.runners import install_peers
from benchmarks.suite import SCALES, Suite
from benchmarks.table import Row, as_json, markdown
from benchmarks.workloads.bound import bound
from benchmarks.workloads.depth import depth
from benchmarks.workloads.idle import idle
from benchmarks.workloads.latency import latency
from benchmarks.workloads.memory import memory
from benchmarks.workloads.race import peers, race, tls
from benchmarks.workloads.rescan import rescan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BENCHES: dict[str, Callable[[Suite], Iterable[Row]]] = {
    "race": race,
    "tls": tls,
    "api-bound": bound,
    "latency": latency,
    "memory": memory,
    "depth": depth,
    "rescan": rescan,
    "idle": idle,
    "peers": peers,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_const", const="quick", dest="scale", help="about 3 minutes")
    scale.add_argument("--scale", choices=SCALES, default="full", help="tiny only shows that the suite works")
    parser.add_argument("--only", choices=BENCHES, action="append", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true", help="the figures as JSON on stdout")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="where to work: on the disk to be measured")  # noqa: S108
    parser.add_argument("--setup", action="store_true", help="install what only peers need, and exit")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.setup:
        install_peers()
        return 0
    scale = SCALES[options.scale or "full"]
    root = Path(tempfile.mkdtemp(prefix="rembg-watch-benchmark-", dir=options.dir))
    rows: list[Row] = []
    failed = False
    began = time.monotonic()
    try:
        suite = Suite(scale, root)
        for name in options.only or BENCHES:
            suite.progress(f"[{name}]")
            try:
                rows += BENCHES[name](suite)
            except TimedOut as error:
                failed = True
                rows.append(Row(name, name, "did not finish", met=False))
                suite.progress(str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    minutes = (time.monotonic() - began) / 60
    if options.json:
        report = {"scale": scale.name, "python": platform.python_version(), "minutes": minutes, "rows": as_json(rows)}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        sys.stdout.write(markdown(rows) + "\n")
    goals = [row for row in rows if row.met is not None]
    met, aims = sum(row.met is True for row in goals), sum(row.aim_met for row in goals)
    sys.stderr.write(f"{met} of {len(goals)} goals met, {aims} of {sum(row.aim != '' for row in goals)} aims; ")
    sys.stderr.write(f"{minutes:.1f} minutes\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
