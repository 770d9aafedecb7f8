"""Where ``remove`` puts a result: never onto a source, nowhere unasked, and kept where it finds no room."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from cli_environment import environment
from cli_removing import KEY, draw
from PIL import Image


def test_a_source_is_never_overwritten(remove, tmp_path):
    """photo.webp makes photo-cutout.webp, even with --force; naming a source as OUT is wrong usage."""
    source = draw(tmp_path / "photo.webp", lossless=True)
    draw(tmp_path / "other.png")
    before = source.read_bytes()
    assert remove("photo.webp", "--force").returncode == 0
    assert (tmp_path / "photo-cutout.webp").exists()
    assert remove("other.png", "photo.webp", "-o", ".", "--force").returncode == 0
    assert remove("photo.webp", "-o", "photo.webp", "--force").returncode == 2
    assert source.read_bytes() == before


def test_an_existing_file_is_kept_and_costs_nothing(remove, sandbox, tmp_path):
    """What is there already is refused with 73 before anything is sent; --force replaces it."""
    draw(tmp_path / "photo.jpg")
    (tmp_path / "photo.webp").write_bytes(b"mine")
    done = remove("photo.jpg")
    assert done.returncode == 73
    assert b"--force" in done.stderr
    assert (tmp_path / "photo.webp").read_bytes() == b"mine"
    assert sandbox.requests == []
    assert remove("photo.jpg", "--force").returncode == 0
    assert (tmp_path / "photo.webp").read_bytes() != b"mine"


def test_several_go_into_a_folder_under_names_of_their_own(remove, tmp_path):
    """With -o a folder is made; two sources with one stem or one name do not overwrite each other."""
    sources = [draw(tmp_path / name).relative_to(tmp_path).as_posix() for name in ("a/x.jpg", "a/x.png", "b/x.jpg")]
    done = remove(*sources, "-o", "cut/outs")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cut/outs").iterdir())) == 3
    assert len(done.stdout.splitlines()) == 3


def test_several_do_not_go_into_one_picture(remove, sandbox, tmp_path):
    """Two photos and one file for -o is a slip: no folder of that name is made, and nothing is sent."""
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    done = remove("a.jpg", "b.jpg", "-o", "both.png")
    assert done.returncode == 2
    assert b"both.png is one picture" in done.stderr
    assert not (tmp_path / "both.png").exists()
    assert sandbox.charged == 0


def test_only_files_are_replaced(remove, sandbox, tmp_path):
    """--force does not put a picture into the place of a pipe or a device; nothing is sent."""
    draw(tmp_path / "photo.jpg")
    os.mkfifo(tmp_path / "pipe.webp")
    (tmp_path / "link.webp").symlink_to("pipe.webp")
    for out in ("pipe.webp", "link.webp"):
        done = remove("photo.jpg", "-o", out, "--force")
        assert done.returncode == 73
        assert b"is no file that could be replaced" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "pipe.webp").lstat().st_mode)
    assert (tmp_path / "link.webp").is_symlink()
    assert sandbox.charged == 0


def test_a_target_that_can_not_be_looked_at_is_told_in_words(remove, sandbox, tmp_path):
    """A name that no file can have is not sent for."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "-o", f"{'x' * 300}/out.webp")
    assert done.returncode == 73
    assert b"Nothing was sent" in done.stderr
    assert sandbox.charged == 0


@pytest.fixture
def small(tmp_path, mount_at):
    """A folder with room for 80 KB."""
    folder = tmp_path / "small"
    mount_at(folder, "-t", "tmpfs", "-o", "size=80k", "none")
    return folder


def test_a_folder_without_room_is_told_before_anything_is_sent(remove, sandbox, tmp_path, small):
    """A full disk costs nothing where it is full already."""
    draw(tmp_path / "photo.jpg")
    (small / "fill").write_bytes(b"x" * 65536)
    done = remove("photo.jpg", "-o", "small/")
    assert done.returncode == 73
    assert b"the disk is full\n  Nothing was sent. Make room there" in done.stderr
    assert sandbox.charged == 0


def test_a_result_that_finds_no_room_is_kept(remove, sandbox, tmp_path, small):
    """It was paid for: it stays among the temporary files, and is named. No further picture is tried."""
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    done = remove("a.jpg", "b.jpg", "-f", "bmp", "-o", "small/", "--json")
    assert done.returncode == 73
    (note,) = json.loads(done.stdout)
    assert note["error"]["charge"] == "charged"
    assert f"The picture was charged, and is kept as {note['error']['kept']}: " in done.stderr.decode()
    with Image.open(note["error"]["kept"]) as kept:
        assert (kept.format, kept.size) == ("BMP", (240, 180))
    assert os.listdir(small) == []
    assert sandbox.charged == 1


def test_a_result_that_stdout_does_not_take_is_kept(sandbox, tmp_path):
    """As with a folder."""
    draw(tmp_path / "photo.jpg")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rembg_watch", "remove", "photo.jpg", "-o", "-", "--url", sandbox.url],
            cwd=tmp_path, env=environment(REMBG_API_KEY=KEY, TMPDIR=str(tmp_path)), stdout=full,
            stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 73
    (kept,) = tmp_path.glob("rembg-*.webp")
    assert f"is kept as {kept}".encode() in done.stderr
    with Image.open(kept) as picture:
        assert picture.size == (240, 180)


def test_a_folder_that_can_not_be_written_is_told_before_anything_is_sent(remove, sandbox, tmp_path, mount_at):
    """What hinders is said for someone who typed a command: no daemon goes on by itself."""
    draw(tmp_path / "photo.jpg")
    mount_at(tmp_path / "closed", "-t", "tmpfs", "-o", "ro", "none")
    done = remove("photo.jpg", "-o", "closed/")
    assert done.returncode == 73
    assert b"Nothing was sent. Mount it writable" in done.stderr
    assert sandbox.charged == 0


def test_a_folder_that_is_gone_is_no_place_to_begin(sandbox, tmp_path):
    """Nothing is sent from a folder that was removed under the shell."""
    photo = draw(tmp_path / "photo.jpg")
    (tmp_path / "gone").mkdir()
    words = [sys.executable, "-m", "rembg_watch", "remove", str(photo), "--url", sandbox.url]
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone; exec "$@"', "sh", *words],
        cwd=tmp_path / "gone", env=environment(REMBG_API_KEY=KEY), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 73
    assert b"the current folder is gone" in done.stderr
    assert sandbox.charged == 0
