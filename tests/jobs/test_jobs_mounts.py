"""Which file system a path lies on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.jobs.mounts import MOUNTINFO, NETWORK, filesystem_type, network_type

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt rw - tmpfs none rw
31 22 0:41 / /mnt/my\040nas rw shared:7 master:2 - nfs4 nas:/x rw
32 31 0:42 / /mnt/my\040nas/local rw - xfs /dev/sdb rw
33 22 0:43 / /over rw - cifs //h/s rw
34 33 8:2 / /over rw - ext4 /dev/sdc rw
35 22 0:44 / /ssh rw - fuse.sshfs me@host: rw
nonsense
36 22
"""


def test_the_deepest_mount_decides():
    """Spaces in mount points are decoded, optional fields are skipped, and parents don't count."""
    for path, kind in {
        "/srv/state": "ext4",
        "/mnt/x": "tmpfs",
        "/mnt/my nas": "nfs4",
        "/mnt/my nas/a/b": "nfs4",
        "/mnt/my nas/local/a": "xfs",
        "/mnt/my nasty": "tmpfs",
        "/ssh/state": "fuse.sshfs",
    }.items():
        assert filesystem_type(PurePosixPath(path), MOUNTS) == kind, path


def test_a_later_mount_covers_an_earlier_one():
    """What is mounted over a network share counts, not the share below it."""
    assert filesystem_type(PurePosixPath("/over/state"), MOUNTS) == "ext4"


def test_every_shared_type_is_known():
    """The usual ones, by the names that the kernel writes; local ones, FUSE included, are not among them."""
    assert {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "ceph", "fuse.glusterfs"} <= NETWORK
    assert not {"ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "zfs", "fuse", "fuse.mergerfs", "9p"} & NETWORK


@given(st.text(max_size=300))
def test_any_text_is_survived(text):
    """Whatever the kernel writes some day, it is no reason not to start."""
    filesystem_type(PurePosixPath("/srv"), text)


def test_this_machine_is_read(tmp_path, monkeypatch):
    """The real list names a type for a real directory; without the list nothing is refused."""
    assert filesystem_type(PurePosixPath(tmp_path.resolve()), MOUNTINFO.read_text())
    monkeypatch.setattr("rembg_watch.jobs.mounts.MOUNTINFO", Path("/nowhere/mountinfo"))
    assert network_type(tmp_path) is None
