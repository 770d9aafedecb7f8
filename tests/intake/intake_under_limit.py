"""Run by a test in a user namespace of its own: an intake with room for 20 watches and 40 folders.

Prints the inbox's message; exit code 77 where the limit can't be set.
"""

from __future__ import annotations

import sys
import time
from io import BytesIO
from pathlib import Path

from intake_limited import Nothing, limit_watches
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Folder, Profile
from rembg_watch.intake.inbox import Mode
from rembg_watch.intake.intake import Intake
from rembg_watch.intake.roots import Rounds


def main(place: Path) -> int:
    limit_watches(20)
    inbox = place.resolve() / "inbox"
    for number in range(40):
        (inbox / f"{number:02}").mkdir(parents=True)
    arrivals = []
    folder = Folder(inbox, place / "outbox", Profile("plain", Options()))
    intake = Intake([folder], Nothing(), arrivals.extend, rounds=Rounds(health=0.1, calm=0.1, poll=0.3))
    intake.start()
    intake.first_scan_done.wait(40)
    data = BytesIO()
    Image.new("RGB", (9, 9)).save(data, "PNG")
    (inbox / "30/deep/er").mkdir(parents=True)
    wanted = {"39/a.png", "00/b.png", "30/deep/er/c.png"}
    for path in wanted:
        (inbox / path).write_bytes(data.getvalue())
    end = time.monotonic() + 40
    # The job table knows nothing, so each look finds them again.
    while time.monotonic() < end and {arrival.path for arrival in arrivals.copy()} != wanted:
        time.sleep(0.05)
    root = intake.roots()[0]
    intake.stop()
    print(root.mode.value, root.message)  # noqa: T201
    return 0 if {arrival.path for arrival in arrivals} == wanted and root.mode is Mode.BOTH else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
