"""What the checks share: running commands, waiting for what must become true, and saying ok or FAIL."""

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
UNITS = Path("/etc/systemd/system")
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
    how.setdefault("timeout", 60)
    return subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True, **how)


def must(*words: object, **how: Any) -> str:
    """Run a command that is no check itself; end everything if it fails."""
    result = run(*words, **how)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {result.returncode}: {result.stderr or result.stdout}")
    return result.stdout


def until(condition: Callable[[], object], seconds: float = 15) -> bool:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


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


def api(path: str = "", **values: object) -> dict[str, Any]:
    """Ask the sandbox how it is, or set something."""
    body = json.dumps(values).encode() if values else None
    request = urllib.request.Request(f"{API}/_sandbox/{path}", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def config(name: str = "config", *folders: tuple[str, str], **more: object) -> Path:
    """Write a config; each folder is an inbox and an outbox."""
    value = {
        "api": {"url": f"{API}/rmbg", "usage_url": f"{API}/api/membership-usage", "read_timeout": 20},
        "workers": 4,
        "shutdown_grace": 30,
        "retry": {"base_delay": 0.2},
        "folders": [{"inbox": inbox, "outbox": outbox, "rescan": 2} for inbox, outbox in folders],
        **more,
    }
    file = ETC / f"{name}.yaml"
    file.write_text(json.dumps(value, indent=1))
    return file


def drop_in(unit: str, name: str, text: str | None) -> None:
    """Write a drop-in, or take it away."""
    file = UNITS / f"{unit}.service.d" / f"{name}.conf"
    if text is None:
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    must("systemctl", "daemon-reload")


_drawn: list[Path] = []


def photos(count: int) -> list[Path]:
    """Give that many photos, no two of them alike; they lie where every user can read them."""
    folder = Path("/var/tmp/samples")
    if not _drawn:
        folder.mkdir(mode=0o755)
        draw = (
            "import sys, random\nfrom PIL import Image, ImageDraw\n"
            "for n in range(120):\n"
            "    image = Image.new('RGB', (120, 90), 'white')\n"
            "    ImageDraw.Draw(image).ellipse((20, 15, 100, 75), fill=(n, 200 - n, random.randrange(256)))\n"
            "    image.save(f'{sys.argv[1]}/photo-{n:03}.' + ('jpg', 'png', 'webp')[n % 3])\n"
        )
        must(HOME / "bin/python", "-c", draw, folder)
        _drawn.extend(sorted(folder.iterdir()))
    return [_drawn.pop() for _ in range(count)]


def drop(files: list[Path], inbox: str, user: str = "rembg-watch") -> None:
    """Copy photos into an inbox, with the umask of an FTP server. Those of the service's own user are taken soonest."""
    must("runuser", "-u", user, "--", "sh", "-c", 'umask 022; cp "$@"', "sh", *files, inbox)


def results_in(outbox: str) -> set[str]:
    return {file.stem for file in Path(outbox).rglob("*") if file.is_file() and not file.name.startswith(".")}


def delivered(files: list[Path], outbox: str = "/srv/photos/outbox") -> bool:
    return {file.stem for file in files} <= results_in(outbox)


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
