"""Where a folder is mounted, and what that means for events."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.fsutil import Mount, MountTable, mount_of, mounts_below, network_type, parse_mounts

TEXT = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /srv/photos rw,relatime shared:1 - nfs4 server:/photos rw,vers=4.2
31 22 0:26 / /srv/my\040photos rw - fuse.sshfs user@host: rw
32 22 0:27 / /mnt/usb rw - fuseblk /dev/sdb1 rw
33 22 0:28 / /srv/photos/local rw - xfs /dev/sdc1 rw
34 22 0:29 / /mnt/usb rw - cifs //server/share rw
"""


def test_the_deepest_and_latest_mount_counts():
    """A path is on the deepest mount above it, and of two at one point on the later."""
    mounts = parse_mounts(TEXT)
    assert mount_of("/etc", mounts) == Mount(22, "/", "ext4")
    assert mount_of("/srv/photos/inbox", mounts).type == "nfs4"
    assert mount_of("/srv/photosynthesis", mounts).type == "ext4"
    assert mount_of("/srv/photos/local/inbox", mounts).type == "xfs"
    assert mount_of("/srv/my photos", mounts).type == "fuse.sshfs"
    assert mount_of("/mnt/usb/in", mounts).type == "cifs"
    assert [mount.number for mount in mounts_below("/srv/photos", mounts)] == [30, 33]
    assert mount_of("/x", []) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "virtiofs", "ceph"])
def test_network_filesystems_are_known(kind):
    """Where changes may come from other machines, events are not enough."""
    assert Mount(1, "/", kind).is_network


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk", "vfat"])
def test_local_filesystems_are_known(kind):
    """Local filesystems tell of every change."""
    assert not Mount(1, "/", kind).is_network


def test_the_real_table_is_read(tmp_path, wait_until):
    """The machine's own table names a mount for every path, and does not change by itself."""
    with MountTable() as table:
        mount = mount_of(os.path.realpath(tmp_path), table.read())
        assert mount is not None
        assert tmp_path.is_relative_to(mount.point)
        wait_until(lambda: not table.changed())  # others on this machine may mount something once and again


@given(st.text(max_size=300))
def test_any_text_is_survived(text):
    """An unknown format of the kernel's table never raises."""
    mount_of("/srv", parse_mounts(text))


def test_a_machine_without_proc_counts_as_local(tmp_path, monkeypatch):
    """Without the kernel's table every directory counts as local."""
    assert network_type(tmp_path) is None
    monkeypatch.setattr("rembg_watch.fsutil.MOUNTINFO", "/nowhere/mountinfo")
    assert network_type(tmp_path) is None
