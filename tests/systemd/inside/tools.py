"""What all checks need: running commands, waiting for what must become true, and saying ok or FAIL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = Path("/opt/rembg-watch")
BIN = HOME / "bin/rembg-watch"
ETC = Path("/etc/rembg-watch")
KEY = "sk-inside-0123456789abcdef"
API = "http://localhost:8790"
results: list[tuple[bool, str]] = []
_began = time.monotonic()


def check(name: str, good: object, detail: object = "") -> bool:
    """Say how one promise turned out; the detail is only told where it was not kept."""
    results.append((bool(good), name))
    mark = "ok  " if good else "FAIL"
    print(f"{mark} {time.monotonic() - _began:6.1f}s  {name}" + ("" if good else f": {detail}"), flush=True)
    return bool(good)


def run(*words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, whatever becomes of it; stdout and stderr come as text."""
    how.setdefault("timeout", 120)
    return subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, **how)


def must(*words: object, **how: Any) -> str:
    """Run a command that is no check itself; end everything if it fails."""
    result = run(*words, **how)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {result.returncode}: {result.stderr or result.stdout}")
    return result.stdout


def until(condition: Callable[[], object], seconds: float = 45) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def api(path: str = "", **values: object) -> dict[str, Any]:
    """Ask the sandbox how it is, or set something."""
    body = json.dumps(values).encode() if values else None
    request = urllib.request.Request(f"{API}/_sandbox/{path}", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def finish() -> None:
    """Print the end, and leave with 1 if any promise was broken."""
    broken = [name for good, name in results if not good]
    print(
        f"\n{len(results) - len(broken)} of {len(results)} promises kept in {time.monotonic() - _began:.0f} s",
        flush=True,
    )
    for name in broken:
        print(f"FAIL {name}")
    os._exit(1 if broken else 0)
