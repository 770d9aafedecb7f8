"""Outboxes that are full, gone, read-only or full of traps: a hold that says why, and nothing written elsewhere."""

from __future__ import annotations

import os

import pytest
from delivery_outbox import put, tree

from rembg_watch import delivery
from rembg_watch.errors import TargetError

# The children that these tests fork do nothing but file work; another test's idle threads are no danger to that.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("relpath", ["../x.webp", "/etc/x.webp", "a/../../x.webp"])
def test_no_path_leads_out_of_the_root(tmp_path, relpath):
    """Dots and absolute paths are refused before anything is made."""
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="not a path below a root"):
        delivery.open_temp(str(tmp_path / "out"), relpath, "t1")
    assert tree(tmp_path) == []


def test_a_sub_folder_that_was_replaced_by_a_link_is_not_followed(tmp_path):
    """Whoever can write to the outbox can't make the daemon write elsewhere."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(TargetError, match="link") as caught:
        put(tmp_path / "out", "sub/deeper/photo.webp")
    assert caught.value.code == "other"
    assert tree(tmp_path / "elsewhere") == []


def test_a_folder_swapped_for_a_link_in_the_midst_changes_nothing(tmp_path):
    """The open folder is written to, not whatever has its name by now."""
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    with delivery.open_temp(str(root), "sub/photo.webp", "t1") as temp:
        temp.file.write(b"picture")
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to(elsewhere, target_is_directory=True)
        delivery.commit(temp, "sub/photo.webp", replace=False)
    assert tree(elsewhere) == []
    assert tree(root / "moved") == ["photo.webp"]


def test_the_root_itself_may_be_a_link(tmp_path):
    """That is the operator's own choice."""
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real", target_is_directory=True)
    put(tmp_path / "out", "a/photo.webp")
    assert tree(tmp_path / "real") == ["a/photo.webp"]


def test_a_missing_root_is_a_hold_and_is_not_made(tmp_path):
    """An outbox on a disk that is not mounted is not silently made on the one below."""
    root = str(tmp_path / "gone/out")
    for attempt in (lambda: put(root, "photo.webp"), lambda: delivery.space_left(root)):
        with pytest.raises(TargetError) as caught:
            attempt()
        assert caught.value.code == "missing"
    assert getattr(delivery.writable(root), "code", None) == "missing"
    assert not os.path.lexists(tmp_path / "gone")


def test_a_file_where_the_root_should_be_is_missing_too(tmp_path):
    """A root that is no folder can't be used."""
    (tmp_path / "out").write_text("")
    assert getattr(delivery.writable(str(tmp_path / "out")), "code", None) == "missing"
    with pytest.raises(TargetError) as caught:
        put(tmp_path / "out", "photo.webp")
    assert caught.value.code == "missing"


def test_a_file_where_a_sub_folder_should_be_is_said(tmp_path):
    """A file in the way is neither removed nor written over."""
    (tmp_path / "a").write_text("mine")
    with pytest.raises(TargetError, match="a file stands where a folder should be"):
        put(tmp_path, "a/photo.webp")
    assert (tmp_path / "a").read_text() == "mine"


def test_a_full_disk_is_a_hold_that_leaves_nothing_behind(tmpfs):
    """The write that does not fit says so; the temporary file goes, and what was there stays whole."""
    root = tmpfs(1024)
    put(root, "first.webp", b"1" * 500_000)
    for replace in (True, False):
        with pytest.raises(TargetError, match="full") as caught:
            put(root, "first.webp" if replace else "second.webp", b"2" * 900_000, replace=replace)
        assert caught.value.code == "full"
    assert tree(root) == ["first.webp"]
    assert (root / "first.webp").read_bytes() == b"1" * 500_000
    assert getattr(delivery.writable(str(root)), "code", None) == "full"
    assert delivery.writable(str(root), need=65536) is None
    assert delivery.space_left(str(root)) < 600_000
    (root / "first.webp").unlink()
    assert delivery.writable(str(root), need=500_000) is None


def test_no_inodes_left_is_full_too(mount):
    """A filesystem can be full of files with space to spare."""
    root = mount("-t", "tmpfs", "-o", "size=4m,nr_inodes=3", "rembg-watch-test")
    put(root, "one.webp")
    (root / "two").write_text("")
    with pytest.raises(TargetError) as caught:
        put(root, "three.webp")
    assert caught.value.code == "full"
    assert getattr(delivery.writable(str(root)), "code", None) == "full"


def test_a_read_only_outbox_is_a_hold(tmp_path, read_only):
    """It is said to be read-only, by the probe and by the attempt alike."""
    (tmp_path / "out").mkdir()
    root = read_only(tmp_path / "out")
    assert getattr(delivery.writable(str(root)), "code", None) == "readonly"
    with pytest.raises(TargetError) as caught:
        put(root, "photo.webp")
    assert caught.value.code == "readonly"


def test_an_outbox_of_somebody_else_is_a_hold(tmp_path):
    """Permission denied is said as such."""
    root = tmp_path / "out"
    root.mkdir(mode=0o555)
    if os.geteuid() != 0:
        assert getattr(delivery.writable(str(root)), "code", None) == "denied"
        with pytest.raises(TargetError) as caught:
            put(root, "photo.webp")
        assert caught.value.code == "denied"
        return
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.chdir(root)  # the way there may be closed to others
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        said = getattr(delivery.writable("."), "code", "nothing")
        try:
            put(".", "photo.webp")
        except TargetError as error:
            said += " " + error.code
        os.write(write, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"denied denied"
    os.close(read)
    os.close(write)


def test_the_probe_leaves_no_debris(tmp_path):
    """A healthy outbox is writable, and looks as before."""
    assert delivery.writable(str(tmp_path)) is None
    assert os.listdir(tmp_path) == []
    assert delivery.space_left(str(tmp_path)) > 0


def test_a_name_that_this_filesystem_does_not_take_is_about_the_name(tmp_path):
    """Too long a folder name concerns one file; the outbox is not held for it."""
    with pytest.raises(TargetError) as caught:
        put(tmp_path, "x" * 256 + "/photo.webp")
    assert caught.value.code == "name"
