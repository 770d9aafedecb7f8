"""Read the table of mounted filesystems: the one place that knows which of them are shared over a network.

``/proc/self/mountinfo`` is read instead of statfs(2): it names each type as text, it does not block on a dead server,
and it reports when something is mounted or unmounted. Source: proc(5).
"""

from __future__ import annotations

import os
import re
import select
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

MOUNTINFO = "/proc/self/mountinfo"
NETWORK_TYPES = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "smbfs2", "9p", "afs", "kafs", "auristorfs", "ceph", "lustre"),
        *("gfs2", "ocfs2", "gpfs", "beegfs", "pvfs2", "orangefs", "coda", "ncpfs", "ncp", "davfs", "davfs2"),
        *("virtiofs", "vboxsf", "prl_fs", "vmhgfs", "autofs", "glusterfs", "shfs"),
    )
)
"""Types, as mountinfo names them, that other machines can change without inotify noticing, or where locks may fail."""
LOCAL_FUSE_TYPES = frozenset(("fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.bindfs"))
"""The FUSE filesystems known to show only local disks. Any other one may be a network share and counts as such."""
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mounted filesystem. ``number`` identifies it for as long as it is mounted."""

    number: int
    point: str
    type: str

    @property
    def is_network(self) -> bool:
        """Whether other machines may change its files."""
        return self.type in NETWORK_TYPES or (self.type.startswith("fuse.") and self.type not in LOCAL_FUSE_TYPES)


def parse_mounts(text: str) -> list[Mount]:
    """Parse a mountinfo file, in mount order: of two mounts at one point, the later hides the earlier."""
    mounts = []
    for line in text.splitlines():
        front, separator, behind = line.partition(" - ")
        fields = front.split(" ")
        if not separator or len(fields) < 5:
            continue
        # The kernel writes spaces, tabs, newlines and backslashes of a mount point in octal.
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        mounts.append(Mount(int(fields[0]), point, behind.split(" ", 1)[0]))
    return mounts


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that ``path`` (absolute, links resolved) is on, or None if the table has none."""
    best: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == mount.point or path.startswith(point + "/")) and (
            best is None or len(mount.point) >= len(best.point)
        ):
            best = mount
    return best


def mounts_below(path: str, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Return the mounts at ``path`` or below it."""
    return tuple(mount for mount in mounts if mount.point == path or mount.point.startswith(path + "/"))


def read_mounts() -> list[Mount]:
    """Read the mounts of this process; an empty list without /proc, so that everything counts as local."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            return parse_mounts(file.read())
    except OSError:
        return []


def network_type(directory: str | os.PathLike[str]) -> str | None:
    """Return the type of the network filesystem that ``directory`` is on, or None where it is local."""
    mount = mount_of(os.path.realpath(directory), read_mounts())
    return mount.type if mount is not None and mount.is_network else None


def mount_depth(path: str) -> int:
    """Count the mount points on the way to ``path``. Raises OSError where ``path`` is missing."""
    count, device = 0, os.stat(path).st_dev
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        above = os.stat(path).st_dev
        count += above != device
        device = above
    return count


class MountTable:
    """The mounts of this process, with a cheap check for changes."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None
        try:
            self._file = open(MOUNTINFO, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - kept open
        except OSError:  # no /proc: everything counts as local
            return
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)

    def read(self) -> list[Mount]:
        if self._file is None:
            return []
        self._file.seek(0)
        return parse_mounts(self._file.read())

    def changed(self) -> bool:
        """Return True once for each time that something was mounted or unmounted."""
        return self._file is not None and bool(self._poll.poll(0))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
