"""Results on their way into the outbox, and their temporary files: whole or absent, whatever happens."""

from __future__ import annotations

import gc
import os
import stat
import unicodedata

import pytest
from blake3 import blake3
from delivery_outbox import put, tree

from rembg_watch import delivery
from rembg_watch.delivery import files
from rembg_watch.errors import SourceChanged, TargetError, TargetTaken

# The children that these tests fork do nothing but file work; another test's idle threads are no danger to that.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def test_a_result_stands_in_its_mirrored_place(tmp_path):
    """Sub-folders are made, the bytes are there, the mode is the umask's, and no temporary file is left."""
    path = put(tmp_path, "a/b/photo.webp")
    assert path == str(tmp_path / "a/b/photo.webp")
    assert (tmp_path / "a/b/photo.webp").read_bytes() == b"picture"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~mask
    assert tree(tmp_path) == ["a/b/photo.webp"]


@pytest.mark.parametrize(
    "name",
    [
        "x" * 250 + ".webp",
        "two\nlines\x1b[31m.webp",
        os.fsdecode(b"caf\xe9\xff.webp"),
        "Sch\u00f6ne Gr\u00fc\u00dfe \u5199\u771f.webp",
        " .webp",
        "$(reboot);`x`'\".webp",
    ],
)
def test_every_name_that_linux_takes_is_delivered(tmp_path, name):
    """255 bytes, newlines, invalid bytes: the name in the outbox is the one that was asked for, byte for byte."""
    put(tmp_path, f"sub/{name}")
    assert os.listdir(tmp_path / "sub") == [name]


def test_composed_and_decomposed_names_are_two_files(tmp_path):
    """NFC and NFD of one name do not meet."""
    for form in ("NFC", "NFD"):
        put(tmp_path, unicodedata.normalize(form, "\u00e9.webp"), form.encode())
    assert len(os.listdir(tmp_path)) == 2


def test_a_leftover_of_the_same_tag_is_replaced(tmp_path):
    """A link planted under the temporary name is not written through either."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / files.temp_name("t1")).symlink_to(tmp_path / "victim")
    put(tmp_path, "photo.webp")
    assert (tmp_path / "victim").read_text() == "mine"
    assert tree(tmp_path) == ["photo.webp", "victim"]


def test_a_temporary_file_is_found_again_after_a_crash(tmp_path):
    """A paid result that was not placed yet can be taken up; one that is in use can't."""
    temp = delivery.open_temp(str(tmp_path), "a/photo.webp", "job-7")
    temp.file.write(b"paid")
    assert delivery.reopen_temp(str(tmp_path), "a/photo.webp", "job-7") is None, "it is still in use"
    temp.close()
    again = delivery.reopen_temp(str(tmp_path), "a/photo.webp", "job-7")
    assert again is not None
    assert delivery.hash_file(again.file) == (blake3(b"paid").hexdigest(), 4)
    delivery.commit(again, "a/photo.webp", replace=False)
    assert (tmp_path / "a/photo.webp").read_bytes() == b"paid"
    assert delivery.reopen_temp(str(tmp_path), "a/photo.webp", "job-7") is None


@pytest.mark.parametrize("tag", ["", "a/b", "../x", "x" * 129, "a\n"])
def test_a_tag_can_not_lead_elsewhere(tmp_path, tag):
    """A tag is a few plain characters."""
    with pytest.raises(ValueError, match="not a tag"):
        delivery.open_temp(str(tmp_path), "photo.webp", tag)


def test_a_tag_is_read_back_from_the_path():
    """What the job table remembers is the path; anything else than a path of ours is refused."""
    assert delivery.temp_tag("/out/a/" + files.temp_name("7-c0ffee")) == "7-c0ffee"
    for path in ("/out/photo.webp", "/out/.rembg-watch-.part", "/out/.rembg-watch-a b.part", ".rembg-watch-x"):
        with pytest.raises(ValueError, match="not a temporary file"):
            delivery.temp_tag(path)


def test_a_discarded_file_leaves_nothing(tmp_path):
    """Leaving the block without placing removes the file; twice is as good as once."""
    with delivery.open_temp(str(tmp_path), "photo.webp", "t1") as temp:
        temp.file.write(b"half")
        temp.discard()
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(600)  # hundreds of fsyncs
@pytest.mark.parametrize("replace", [True, False])
def test_killed_at_any_step_the_output_is_whole_or_absent(tmp_path, killed_at, replace):
    """SIGKILL before each single step of a delivery; doing it again places it once, and the sweep leaves nothing else."""
    expected = blake3(b"new").hexdigest()
    for step in range(200):
        root = tmp_path / f"out{step}"
        root.mkdir()
        before = {None}
        if replace:
            put(root, "a/photo.webp", b"old")
            before = {b"old"}

        def call(root=root):
            put(root, "a/photo.webp", b"new", replace=replace, hash_expected=expected)

        was_killed = killed_at(step, call)
        final = root / "a/photo.webp"
        assert (final.read_bytes() if final.exists() else None) in before | {b"new"}, f"killed at step {step}"
        call()
        delivery.sweep_temps(str(root))
        assert tree(root) == ["a/photo.webp"], f"killed at step {step}"
        assert final.read_bytes() == b"new"
        if not was_killed:
            break
    assert step > 5
    assert not was_killed


def test_no_descriptor_is_left_open(tmp_path):
    """Delivered, discarded, refused: every way closes what it opened."""
    gc.collect()  # what other tests left open may else be closed in the midst
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        put(tmp_path, "a/b.webp", replace=True)
        with pytest.raises(TargetTaken):
            put(tmp_path, "a/b.webp")
        with pytest.raises(TargetError):
            put(tmp_path, "a/b.webp/c.webp")
        with pytest.raises(SourceChanged):
            delivery.copy_result(str(tmp_path / "a/b.webp"), str(tmp_path), "c.webp", "t2", "0" * 64)
        delivery.sweep_temps(str(tmp_path))
        delivery.writable(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_sweep_takes_what_a_crash_left_and_nothing_else(tmp_path):
    """Files in use, files to be kept, links, folders and everybody else's files stay."""
    for name in (
        "a/.rembg-watch-old.part",
        ".rembg-watch-keep.part",
        "a/b/.rembg-watch-old.part",
        "mine.part",
        ".rembg-watch-x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "elsewhere.txt").write_text("mine")
    (tmp_path / "a/.rembg-watch-link.part").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / "a/.rembg-watch-folder.part").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path, target_is_directory=True)
    live = delivery.open_temp(str(tmp_path), "a/photo.webp", "live")
    swept = delivery.sweep_temps(str(tmp_path), lambda name: "keep" in name)
    assert sorted(os.path.relpath(path, tmp_path) for path in swept) == [
        "a/.rembg-watch-old.part",
        "a/b/.rembg-watch-old.part",
    ]
    assert os.path.exists(live.path)
    assert (tmp_path / ".rembg-watch-keep.part").exists()
    assert (tmp_path / "mine.part").exists()
    live.close()
    assert delivery.sweep_folder(str(tmp_path / "a")) == [live.path]
    assert delivery.sweep_temps(str(tmp_path / "gone")) == []
