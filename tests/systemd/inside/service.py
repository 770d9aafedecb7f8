"""The service as systemd sees it: its state, its journal, its unit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools import must, run

if TYPE_CHECKING:
    import subprocess

UNITS = Path("/etc/systemd/system")


def show(name: str, unit: str = "rembg-watch") -> str:
    return must("systemctl", "show", "--value", "-p", name, unit).strip()


def status(unit: str = "rembg-watch") -> str:
    return show("StatusText", unit)


def pid(unit: str = "rembg-watch") -> int:
    return int(show("MainPID", unit))


def start(unit: str = "rembg-watch") -> subprocess.CompletedProcess[str]:
    run("systemctl", "reset-failed", unit)
    return run("systemctl", "start", unit)


def stop(unit: str = "rembg-watch") -> float:
    """Stop a unit and give the seconds that it took."""
    began = time.monotonic()
    must("systemctl", "stop", unit)
    return time.monotonic() - began


def journal(unit: str = "rembg-watch", *more: str) -> str:
    run("journalctl", "--sync")
    return must("journalctl", "--no-pager", "-o", "cat", "-u", unit, *more)


def drop_in(unit: str, name: str, text: str | None) -> None:
    """Write a drop-in, or take it away."""
    file = UNITS / f"{unit}.service.d" / f"{name}.conf"
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    must("systemctl", "daemon-reload")
