"""Everything for real, in a throw-away machine with systemd as PID 1. The checks themselves are in inside/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BOOT = os.environ.get("REMBG_WATCH_SDBOX")
"""A command that boots such a machine: BOOT [-n] [-t SECONDS] [-b HOSTDIR:DIR]... SCRIPT [ARG]...

-n: without a network; -b: with this folder in it. SCRIPT is run there as root, its output and exit status are BOOT's.
"""
PYTHON = os.environ.get("REMBG_WATCH_SDBOX_PYTHON", "3.11")
"""The version of Python in that machine: Debian 12's, unless told."""


def _python() -> str | None:
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == PYTHON:
        return sys.executable
    return shutil.which(f"python{PYTHON}")


@pytest.mark.timeout(780)
@pytest.mark.skipif(BOOT is None, reason="REMBG_WATCH_SDBOX names no command that boots a machine with systemd")
def test_systemd_at_home(tmp_path: Path) -> None:
    """Installed, hardened, reloaded, stopped, killed, hung, unmounted and removed under a real systemd."""
    assert BOOT is not None
    python = _python()
    if python is None:
        pytest.fail(f"Python {PYTHON}, as the machine has it, is needed to build the wheels for it")
    wheels = tmp_path / "wheels"
    building = [python, "-m", "pip", "wheel", "-q", "-w", str(wheels), f"{ROOT}[sandbox]"]
    built = subprocess.run(building, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    run = subprocess.run(
        [
            *(BOOT, "-n", "-t", "600", "-b", f"{wheels}:/mnt/wheels", "-b", f"{HERE / 'inside'}:/mnt/inside"),
            *(str(HERE / "inside.sh"), "/mnt/inside", "/mnt/wheels"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    sys.stdout.write(run.stdout)
    broken = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert run.returncode == 0, "\n".join([*broken, run.stderr, run.stdout[-2000:]])
    assert "promises kept" in run.stdout
