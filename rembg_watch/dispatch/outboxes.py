"""Whether an outbox can take a result: it exists, is writable, has room, and its disk is mounted."""

from __future__ import annotations

import threading

from rembg_watch.delivery import writable
from rembg_watch.errors import TargetError
from rembg_watch.fsutil import mount_depth
from rembg_watch.printable import printable


class Outboxes:
    """Checks outboxes, and remembers how many mount points are on the way to each. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mounts: dict[str, int] = {}

    def problem(self, root: str, *, by_writing: bool = True) -> TargetError | None:
        """Return why nothing can be delivered to ``root`` now, or None; see ``delivery.writable``."""
        if (problem := writable(root, by_writing=by_writing)) is not None:
            return problem
        try:
            mounts = mount_depth(root)
        except OSError as error:
            return TargetError(f"{printable(root)}: {error.strerror}", "Make it readable again.", "missing")
        with self._lock:
            before = self._mounts.setdefault(root, mounts)
            if mounts < before:
                return TargetError(
                    f"the disk that {printable(root)} was on is not mounted any more",
                    "Mount it again. If the folder is meant to be where it is now, reload the config.",
                    "missing",
                )
            self._mounts[root] = mounts
        return None

    def forget(self) -> None:
        """Forget what was mounted: a reload accepts the folders as they are."""
        with self._lock:
            self._mounts.clear()
