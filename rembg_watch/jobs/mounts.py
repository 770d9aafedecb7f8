"""Which file system a path lies on, by the kernel's own list: SQLite's WAL breaks on those that are shared."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

MOUNTINFO = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "glusterfs", "lustre", "beegfs"),
        *("gpfs", "orangefs", "pvfs2", "gfs2", "ocfs2", "davfs", "davfs2", "vboxsf", "vmhgfs"),
        *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.goofys", "fuse.gcsfuse", "fuse.mount-s3", "fuse.blobfuse"),
        *("fuse.blobfuse2", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.cephfs", "fuse.juicefs"),
        *("fuse.davfs", "fuse.davfs2", "fuse.curlftpfs", "fuse.smbnetfs", "fuse.seaweedfs", "fuse.vmhgfs-fuse"),
        *(
            "fuse.moosefs",
            "fuse.mfs",
            "fuse.lizardfs",
            "fuse.saunafs",
            "fuse.gvfsd-fuse",
            "fuse.google-drive-ocamlfuse",
        ),
        *("fuse.onedriver", "fuse.hdfs", "fuse.afp", "fuse.afpfs"),
    }
)
"""Types, as mountinfo names them, of file systems that several machines can write at once or that lie on one."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def filesystem_type(path: PurePosixPath, mountinfo: str) -> str | None:
    """Give the type of the file system that an absolute ``path`` without links lies on, or None if it isn't listed.

    ``mountinfo`` is the text of /proc/self/mountinfo, see proc(5): a later line for the same place covers an earlier.
    """
    best: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        # Spaces, tabs, newlines and backslashes of a mount point are written in octal.
        mounted = PurePosixPath(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        if (best is None or len(mounted.parts) >= best[0]) and path.is_relative_to(mounted):
            best = len(mounted.parts), right.split(" ")[0]
    return best and best[1]


def network_type(directory: Path) -> str | None:
    """Give the type of the network file system that an existing ``directory`` lies on, or None where it is local."""
    try:
        mountinfo = MOUNTINFO.read_text("utf-8", "surrogateescape")
    except OSError:  # no /proc: nothing can be told, so nothing is refused
        return None
    kind = filesystem_type(PurePosixPath(directory.resolve()), mountinfo)
    return kind if kind in NETWORK else None
