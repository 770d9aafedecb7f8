"""An intake in a user namespace of its own, where the kernel's limit of watches can be set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOT_SETTABLE = 77
"""The exit code of a script where the limit can't be set."""


class Nothing:
    """A job table that knows no file."""

    def known_versions(self, folder, directory):
        return {}

    def known_version(self, folder, path):
        return None


def limit_watches(most):
    """For the script: allow so many watches, or leave with ``NOT_SETTABLE``."""
    try:
        Path("/proc/sys/user/max_inotify_watches").write_text(str(most), encoding="ascii")
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(NOT_SETTABLE)


def run_limited(script, place):
    """For the test: run a script beside this file in its namespace; gives how it ended."""
    inside = Path(__file__).with_name(script)
    command = ["unshare", "--user", "--map-root-user", sys.executable, str(inside), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    if done.returncode == NOT_SETTABLE or "unshare" in done.stderr:
        pytest.skip(f"no user namespace with a limit of its own: {done.stderr.strip()}")
    return done
