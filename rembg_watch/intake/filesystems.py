"""Where a folder is mounted, and whether its filesystem tells of changes that other machines make.

Read from ``/proc/self/mountinfo`` and not from statfs(2): it names the type as text, needs no C structure, does not
block on a server that is gone, and tells when something is mounted or unmounted (proc(5)).
"""

from __future__ import annotations

import re
import select
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

MOUNTINFO = "/proc/self/mountinfo"
_NETWORK = frozenset(
    (
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "smbfs2",
            "9p",
            "afs",
            "kafs",
            "auristorfs",
            "ceph",
            "lustre",
            "gfs2",
        ),
        *("ocfs2", "gpfs", "beegfs", "pvfs2", "orangefs", "coda", "ncpfs", "ncp", "davfs", "virtiofs", "vboxsf"),
        *("prl_fs", "vmhgfs", "autofs", "glusterfs", "shfs"),
    )
)
# A FUSE filesystem may be anything, so it is scanned, but for those known to show nothing but local disks.
_LOCAL_FUSE = frozenset(("fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.fuse-overlayfs", "fuse.bindfs"))
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mounted filesystem. ``number`` names it while it is mounted."""

    number: int
    point: str
    type: str

    @property
    def is_network(self) -> bool:
        """Tell whether changes may come from elsewhere, of which inotify does not know."""
        return self.type in _NETWORK or (self.type.startswith("fuse.") and self.type not in _LOCAL_FUSE)


def parse_mounts(text: str) -> list[Mount]:
    """Parse the text of a mountinfo file, in mount order: of two at one point, the later hides the earlier."""
    mounts = []
    for line in text.splitlines():
        front, separator, behind = line.partition(" - ")
        fields = front.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        mounts.append(Mount(int(fields[0]), point, behind.split(" ", 1)[0]))
    return mounts


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Give the mount that ``path`` (absolute, links resolved) is on, or None if the table does not tell."""
    best: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == mount.point or path.startswith(point + "/")) and (
            best is None or len(mount.point) >= len(best.point)
        ):
            best = mount
    return best


def mounts_below(path: str, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Give what is mounted at ``path``, or below it."""
    return tuple(mount for mount in mounts if mount.point == path or mount.point.startswith(path + "/"))


class MountTable:
    """The mounts of this process, and whether they changed since they were last read."""

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
        """Tell, once for each change, whether something was mounted or unmounted."""
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
