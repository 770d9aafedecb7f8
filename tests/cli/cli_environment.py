"""What a command that is started from here finds in its environment: this checkout, and nothing of ours beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REMBG")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}
