"""The set-up step: installs what only peers need, where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from benchmarks.contestants import PACKAGES


def install() -> None:
    """Install inotify-tools by apt, where we may, and Huey into a folder of the suite's own."""
    if not shutil.which("inotifywait") and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "inotify-tools"], check=False)
    if not (PACKAGES / "huey").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PACKAGES)]
        subprocess.run([*pip, "huey>=2.5"], check=False)
