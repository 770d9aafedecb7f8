"""Photos in an inbox, and seeing what is in a folder."""

from __future__ import annotations

import os
from pathlib import Path

RECORD = {
    "code": "rejected",
    "message": "No object",
    "hint": "Crop it",
    "job": 7,
    "profile": "shop",
    "attempts": 1,
    "time": 1.5,
}


def photo(inbox, relpath="a/photo.jpg", data=b"original", mtime_ns=1_700_000_000_123_456_789, mode=0o640):
    path = inbox / relpath
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return str(path), (len(data), mtime_ns)


def tree(root):
    return {
        os.path.relpath(os.path.join(at, name), root): Path(at, name).read_bytes()
        for at, _, names in os.walk(root)
        for name in names
    }
