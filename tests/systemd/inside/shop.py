"""A shop's photos: where the service is to look for them, and what has become of them."""

from __future__ import annotations

import json
from pathlib import Path

from tools import API, ETC, HOME, must

FOLDERS = ("/srv/photos/inbox", "/srv/photos/outbox")
"""Inbox and outbox of the main service."""


def config(name: str = "config", *folders: tuple[str, str], **more: object) -> Path:
    """Write a config; each folder is an inbox and an outbox."""
    value = {
        "api": {"url": f"{API}/rmbg", "usage_url": f"{API}/api/membership-usage", "read_timeout": 600},
        "workers": 4,
        "shutdown_grace": 60,
        "retry": {"base_delay": 0.2},
        "folders": [{"inbox": inbox, "outbox": outbox, "rescan": 2} for inbox, outbox in folders],
        **more,
    }
    file = ETC / f"{name}.yaml"
    file.write_text(json.dumps(value, indent=1))
    return file


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
