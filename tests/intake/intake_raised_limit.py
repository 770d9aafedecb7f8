"""Run by a test in a user namespace of its own: an intake that may watch nothing, until the limit is raised and reloaded.

Prints how the inbox is watched, before and after; exit code 77 where the limit can't be set.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from intake_limited import Nothing, limit_watches

from rembg_watch.api.options import Options
from rembg_watch.config.model import Folder, Profile
from rembg_watch.intake.inbox import Mode
from rembg_watch.intake.intake import Intake


def main(place: Path) -> int:
    limit_watches(0)
    inbox = place.resolve() / "inbox"
    inbox.mkdir()
    folder = Folder(inbox, place / "outbox", Profile("plain", Options()))
    intake = Intake([folder], Nothing(), lambda _: None)
    intake.start()
    intake.first_scan_done.wait(40)
    print(intake.roots()[0].mode.value, intake.roots()[0].message)  # noqa: T201
    limit_watches(20)
    intake.replace_folders([folder])
    end = time.monotonic() + 40
    root = intake.roots()[0]
    while time.monotonic() < end and (root.mode is not Mode.EVENTS or root.message):
        time.sleep(0.05)
        root = intake.roots()[0]
    intake.stop()
    print(root.mode.value, root.message)  # noqa: T201
    return 0 if root.mode is Mode.EVENTS and not root.message else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
