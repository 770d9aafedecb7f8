"""The name of a result: taken once, by whoever comes first, and never from somebody else."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest
from blake3 import blake3
from delivery_outbox import put, tree

from rembg_watch import delivery
from rembg_watch.delivery import placing
from rembg_watch.errors import TargetError, TargetTaken


@pytest.fixture(params=["flag", "link", "claim"])
def means(request, monkeypatch):
    """Place by RENAME_NOREPLACE, by link and unlink, or by a claim, as filesystems differ."""
    if request.param != "flag":
        monkeypatch.setattr(placing, "_renameat2", None)
    if request.param == "claim":
        monkeypatch.setattr(placing, "_by_link", lambda *_: False)


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


@pytest.mark.usefixtures("means")
def test_every_means_of_placing_replaces_nothing(tmp_path):
    """RENAME_NOREPLACE, link and unlink, or a claim: each places once and says when the name is taken."""
    put(tmp_path, "photo.webp", b"first")
    with pytest.raises(TargetTaken):
        put(tmp_path, "photo.webp", b"second")
    assert (tmp_path / "photo.webp").read_bytes() == b"first"
    assert tree(tmp_path) == ["photo.webp"]


@pytest.mark.usefixtures("means")
def test_of_many_that_want_one_name_exactly_one_gets_it(tmp_path):
    """Eight threads place under one name at once; seven are told that it is taken."""
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


def test_a_temporary_file_that_somebody_swapped_is_not_placed(tmp_path):
    """What is under the temporary name must still be the file that was written and verified."""
    with delivery.open_temp(str(tmp_path), "photo.webp", "t1") as temp:
        os.unlink(temp.path)
        with open(temp.path, "wb") as forged:
            forged.write(b"forged")
        with pytest.raises(TargetError, match="replaced by somebody"):
            delivery.place(temp, "photo.webp", replace=True)
    assert not (tmp_path / "photo.webp").exists()
