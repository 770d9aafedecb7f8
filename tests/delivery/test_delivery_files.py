"""Results on their way into the outbox: real files, real full disks, real races."""

from __future__ import annotations

import ctypes
import os
import stat
import threading
import unicodedata

import pytest
from blake3 import blake3

from rembg_watch import delivery
from rembg_watch.delivery import files, placing
from rembg_watch.errors import SourceChanged, SourceError, TargetError, TargetTaken

# The children that these tests fork do nothing but file work; another test's idle threads are no danger to that.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def put(root, relpath, data=b"picture", *, replace=False, tag="t1", **more):
    with delivery.open_temp(str(root), relpath, tag) as temp:
        temp.file.write(data)
        return delivery.commit(temp, relpath, replace=replace, **more)


def tree(root):
    return sorted(os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names)


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


def test_a_taken_name_is_never_overwritten(tmp_path):
    """What appeared in the meantime stays; the temporary file is still there for the next name."""
    (tmp_path / "photo.webp").write_bytes(b"somebody's")
    with delivery.open_temp(str(tmp_path), "photo.webp", "t1") as temp:
        temp.file.write(b"ours")
        with pytest.raises(TargetTaken):
            delivery.commit(temp, "photo.webp", replace=False)
        delivery.commit(temp, str(tmp_path / "photo.png.webp"), replace=False)
    assert (tmp_path / "photo.webp").read_bytes() == b"somebody's"
    assert tree(tmp_path) == ["photo.png.webp", "photo.webp"]


def test_a_folder_with_the_name_is_taken_too(tmp_path):
    """Not even replace=True removes a folder."""
    (tmp_path / "photo.webp").mkdir()
    for replace in (True, False):
        with pytest.raises(TargetTaken):
            put(tmp_path, "photo.webp", replace=replace)
    assert tree(tmp_path) == []


def test_a_dangling_link_is_taken_and_not_written_through(tmp_path):
    """A link under the final name is neither followed nor replaced by accident."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photo.webp").symlink_to(tmp_path / "victim")
    with pytest.raises(TargetTaken):
        put(tmp_path / "out", "photo.webp")
    put(tmp_path / "out", "photo.webp", replace=True)
    assert not (tmp_path / "victim").exists()
    assert (tmp_path / "out/photo.webp").read_bytes() == b"picture"


def test_a_changed_source_replaces_its_own_output_in_one_step(tmp_path):
    """A reader sees the old bytes or the new ones, whole, at every moment."""
    put(tmp_path, "photo.webp", b"0" * 100_000)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add((tmp_path / "photo.webp").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for digit in b"123456789":
            put(tmp_path, "photo.webp", bytes([digit]) * 100_000, replace=True)
    finally:
        stop.set()
        reader.join()
    assert all(len(data) == 100_000 and len(set(data)) == 1 for data in seen)


def test_our_own_placing_from_before_a_crash_is_recognised(tmp_path):
    """Placed, killed, run again: the same bytes under the name count as done, and other bytes do not."""
    expected = blake3(b"picture").hexdigest()
    put(tmp_path, "photo.webp", hash_expected=expected)
    put(tmp_path, "photo.webp", hash_expected=expected)
    assert tree(tmp_path) == ["photo.webp"]
    with pytest.raises(TargetTaken):
        put(tmp_path, "photo.webp", b"other", hash_expected=blake3(b"other").hexdigest())
    assert tree(tmp_path) == ["photo.webp"]


@pytest.mark.parametrize("means", ["flag", "link", "claim"])
def test_every_means_of_placing_replaces_nothing(tmp_path, monkeypatch, means):
    """RENAME_NOREPLACE, link and unlink, or a claim: each places once and says when the name is taken."""
    if means != "flag":
        monkeypatch.setattr(placing, "_renameat2", None)
    if means == "claim":
        monkeypatch.setattr(placing, "_by_link", lambda *_: False)
    put(tmp_path, "photo.webp", b"first")
    with pytest.raises(TargetTaken):
        put(tmp_path, "photo.webp", b"second")
    assert (tmp_path / "photo.webp").read_bytes() == b"first"
    assert tree(tmp_path) == ["photo.webp"]


@pytest.mark.parametrize("means", ["flag", "link", "claim"])
def test_of_many_that_want_one_name_exactly_one_gets_it(tmp_path, monkeypatch, means):
    """Eight threads place under one name at once; seven are told that it is taken."""
    if means != "flag":
        monkeypatch.setattr(placing, "_renameat2", None)
    if means == "claim":
        monkeypatch.setattr(placing, "_by_link", lambda *_: False)
    start, outcomes = threading.Barrier(8), []

    def run(number):
        with delivery.open_temp(str(tmp_path), "photo.webp", f"t{number}") as temp:
            temp.file.write(str(number).encode())
            start.wait()
            try:
                delivery.commit(temp, "photo.webp", replace=False)
                outcomes.append(str(number))
            except TargetTaken:
                outcomes.append(None)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [each for each in outcomes if each is not None]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert (tmp_path / "photo.webp").read_text() == winners[0]
    assert tree(tmp_path) == ["photo.webp"]


def test_the_kernels_own_means_is_there():
    """On Linux with a current C library the rename that replaces nothing is used, not a fallback."""
    assert hasattr(ctypes.CDLL(None), "renameat2") == (placing._renameat2 is not None)


def test_a_final_path_in_another_folder_is_refused(tmp_path):
    """Placing is a rename within one folder; anything else is a mistake of the caller."""
    for wrong in ("b/photo.webp", "photo.webp", "/etc/photo.webp", "a/..", "a/"):
        with delivery.open_temp(str(tmp_path), "a/photo.webp", "t1") as temp, pytest.raises(ValueError, match="folder"):
            delivery.place(temp, wrong, replace=True)
    assert tree(tmp_path) == []


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


def test_a_leftover_of_the_same_tag_is_replaced(tmp_path):
    """A link planted under the temporary name is not written through either."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / files.temp_name("t1")).symlink_to(tmp_path / "victim")
    put(tmp_path, "photo.webp")
    assert (tmp_path / "victim").read_text() == "mine"
    assert tree(tmp_path) == ["photo.webp", "victim"]


def test_a_temporary_file_that_somebody_swapped_is_not_placed(tmp_path):
    """What is under the temporary name must still be the file that was written and verified."""
    with delivery.open_temp(str(tmp_path), "photo.webp", "t1") as temp:
        os.unlink(temp.path)
        with open(temp.path, "wb") as forged:
            forged.write(b"forged")
        with pytest.raises(TargetError, match="replaced by somebody"):
            delivery.place(temp, "photo.webp", replace=True)
    assert not (tmp_path / "photo.webp").exists()


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


def test_hashes_are_of_all_bytes(tmp_path):
    """Path and open file give the same hash and size, across the buffer's edge."""
    data = os.urandom(256 * 1024 * 2 + 17)
    (tmp_path / "x").write_bytes(data)
    expected = (blake3(data).hexdigest(), len(data))
    assert delivery.hash_file(str(tmp_path / "x")) == expected
    with (tmp_path / "x").open("rb") as file:
        file.seek(100)
        assert delivery.hash_file(file) == expected
    assert delivery.same_content(str(tmp_path / "x"), *expected)
    assert not delivery.same_content(str(tmp_path / "x"), expected[0], 1)
    assert not delivery.same_content(str(tmp_path / "x"), "0" * 64, len(data))
    assert not delivery.same_content(str(tmp_path / "gone"), *expected)


def test_no_fifo_and_no_link_is_read(tmp_path):
    """A FIFO under an output's name does not hang the daemon, and a link is not followed."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("fifo", "link"):
        with pytest.raises(SourceError):
            delivery.hash_file(str(tmp_path / name))
        assert not delivery.same_content(str(tmp_path / name), "0" * 64, 0)
    with pytest.raises(SourceChanged):
        delivery.hash_file(str(tmp_path / "gone"))


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_an_earlier_result_is_copied_and_verified(tmp_path, tmpfs, size):
    """On one filesystem and across two, the copy has the very bytes."""
    data = os.urandom(size)
    put(tmp_path, "a.webp", data)
    for root in (tmp_path, tmpfs()):
        with delivery.copy_result(
            str(tmp_path / "a.webp"), str(root), "b/c.webp", "t2", blake3(data).hexdigest()
        ) as temp:
            delivery.commit(temp, "b/c.webp", replace=False)
        assert (root / "b/c.webp").read_bytes() == data


def test_an_earlier_result_that_was_edited_is_not_used(tmp_path):
    """Its hash tells; no temporary file stays."""
    put(tmp_path, "a.webp", b"edited")
    with pytest.raises(SourceChanged):
        delivery.copy_result(str(tmp_path / "a.webp"), str(tmp_path), "b.webp", "t2", blake3(b"picture").hexdigest())
    with pytest.raises(SourceChanged):
        delivery.copy_result(str(tmp_path / "gone.webp"), str(tmp_path), "b.webp", "t2", "0" * 64)
    assert tree(tmp_path) == ["a.webp"]


def test_a_copy_that_does_not_fit_is_a_hold(tmp_path, tmpfs):
    """Disk full while copying is the outbox's matter, not the earlier result's."""
    root = tmpfs(256)
    data = os.urandom(500_000)
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(TargetError) as caught:
        delivery.copy_result(str(tmp_path / "a.webp"), str(root), "b.webp", "t2", blake3(data).hexdigest())
    assert caught.value.code == "full"
    assert tree(root) == []


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
    assert len(os.listdir("/proc/self/fd")) == before


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
