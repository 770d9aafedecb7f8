"""Which names are never taken, whatever the config says: temporary files, and what systems leave behind. Pure."""

from __future__ import annotations

import re

_UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp")
_LEFT_BEHIND = {
    "thumbs.db": "Windows' picture cache",
    "desktop.ini": "a folder setting of Windows",
    "@eadir": "a NAS's index folder",
    "__macosx": "what macOS adds to archives",
}
# One question for the usual name, which is none of these: it is asked for every file of a scan.
_SUSPICIOUS = re.compile(
    r"[.~]|.*~\Z|.*(?:" + "|".join(map(re.escape, _UNFINISHED)) + r")\Z|(?:" + "|".join(_LEFT_BEHIND) + r")\Z",
    re.IGNORECASE | re.DOTALL,
)


def ignored_name(name: str) -> str | None:
    """Say why a file or folder of this name (one path component) is left alone, or None if it is not.

    Case does not matter. Every name that this program gives its own temporary files begins with a dot, too.
    """
    if _SUSPICIOUS.match(name) is None:
        return None
    low = name.lower()
    if low in _LEFT_BEHIND:
        return f"{_LEFT_BEHIND[low]}, not a photo"
    if low.startswith("._") or low == ".ds_store":
        return "what macOS leaves beside files, not a photo"
    if low.startswith(".syncthing."):
        return "Syncthing is still receiving it"
    if low.startswith("."):
        return "a hidden file: its name begins with a dot"
    if low.startswith("~") or low.endswith("~"):
        return "a temporary or backup file: its name has a ~"
    return f"still being written: its name ends in {low[low.rindex('.') :]}"


def ignored_path(relpath: str) -> str | None:
    """Say why a path below an inbox is left alone: by its own name, or that of a folder on the way. None if it is not.

    Ignored folders are never entered, so that everything below ``@eaDir`` or a hidden folder is ignored with it.
    """
    folders = relpath.split("/")
    name = folders.pop()
    for folder in folders:
        if reason := ignored_name(folder):
            return f"in the folder {folder}, which is {reason}"
    return ignored_name(name)
