"""Files as people and programs really bring them: every finished one is handed over once, no other one ever."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tarfile
import threading
import time
from pathlib import PurePosixPath

import pytest

from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.imagefile import decode
from rembg_watch.intake.readiness import Timings

KINDS = {"jpg": "JPEG", "JPG": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}
QUICKLY = Timings(quiet=0.5, incomplete=1.5, relook=600)


def write_slowly(file, data, steps, pause):
    for step in range(steps):
        file.write(data[len(data) * step // steps : len(data) * (step + 1) // steps])
        file.flush()
        time.sleep(pause)


def test_two_hundred_mixed_files(desk, inbox, elsewhere, running, pic, until):  # noqa: PLR0915 - one producer each
    """200 files, written slowly, renamed in, moved in as a tree, unpacked, copied: each is handed over once, whole."""
    rng = random.Random(1)
    endings = list(KINDS)
    wanted = {}
    counter = iter(range(1000))

    def new(folder=""):
        number = next(counter)
        ending = endings[number % len(endings)]
        path = f"{folder}{'/' if folder else ''}Foto ñ {number}.{ending}"
        wanted[path] = pic(KINDS[ending], number)
        return path

    def slowly():
        def one(path):
            with (inbox / path).open("wb") as file:
                write_slowly(file, wanted[path], rng.randint(2, 6), 0.15)

        threads = [threading.Thread(target=one, args=(new(),)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def renamed():
        for _ in range(40):
            path = new()
            (inbox / f"{path}.part").write_bytes(wanted[path])
            (inbox / f"{path}.part").rename(inbox / path)

    def tree():
        for number in range(4):
            home = f"tree{number}"
            for deep in ("", "/a", "/a/b"):
                (elsewhere / f"{home}{deep}").mkdir(parents=True, exist_ok=True)
                for _ in range(4):
                    path = new(home + deep)
                    (elsewhere / path).write_bytes(wanted[path])
            (elsewhere / home).rename(inbox / home)

    def unpacked():
        with tarfile.open(elsewhere / "photos.tar", "w") as tar:
            for number in range(36):
                path = new(f"tar/{number % 3}/x/y")
                source = elsewhere / f"for-tar-{number}"
                source.write_bytes(wanted[path])
                tar.add(source, arcname=path)
        subprocess.run(["tar", "xf", str(elsewhere / "photos.tar"), "-C", str(inbox)], check=True)

    def copied():
        for number in range(36):
            folder = f"copy{number}/b/c"
            path = new(folder)
            (elsewhere / "one").write_bytes(wanted[path])
            command = 'mkdir -p "$1" && cp "$2" "$3"'
            arguments = [str(inbox / folder), str(elsewhere / "one"), str(inbox / path)]
            subprocess.run(["sh", "-c", command, "sh", *arguments], check=True)

    with running(inbox) as intake:
        producers = [threading.Thread(target=work) for work in (slowly, renamed, unpacked, copied, tree)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
        assert len(wanted) == 200
        until(lambda: len(desk.arrivals) >= 200, 60, "200 arrivals")
        intake.rescan_now()
        until(lambda: not intake.counts()["settling"])
        assert intake.found_by_rescan == 0
    assert sorted(desk.paths) == sorted(wanted)
    assert desk.outcomes["new"] == 200
    assert len(desk.again) < 100, "the most of them are handed over only once"
    for arrival in desk.arrivals:
        assert arrival.version.size == len(wanted[arrival.path])
        assert arrival.refusal is None


def test_a_file_written_slowly_is_taken_once_at_the_end(desk, inbox, running, pic, until):
    """Pauses longer than the settle time fool nobody: the file is open, and its end is missing."""
    data = pic(side=100)
    with running(inbox):
        with (inbox / "photo.jpg").open("wb") as file:
            write_slowly(file, data, 3, 0.8)
            assert desk.arrivals == []
        until(lambda: desk.arrivals)
    assert [arrival.version.size for arrival in desk.arrivals] == [len(data)]


def test_a_file_written_in_several_openings_is_taken_whole(desk, inbox, running, pic, until):
    """A producer that opens, appends and closes several times is waited for, as the end is missing."""
    data = pic("PNG")
    with running(inbox):
        for start in range(0, len(data), len(data) // 3 + 1):
            with (inbox / "photo.png").open("ab") as file:
                file.write(data[start : start + len(data) // 3 + 1])
            time.sleep(0.7)
        until(lambda: desk.arrivals)
    assert [arrival.version.size for arrival in desk.arrivals] == [len(data)]


def test_moved_in_files_do_not_wait_for_settle(desk, inbox, folder_for, running, move_in, pic, until):
    """A file that was moved in is handed over at once, also while others are being moved out: it is whole already."""
    with running(folder_for(inbox, settle=3600.0)):
        for number in range(15):
            if number:
                (inbox / f"{number - 1}.jpg").unlink()
            move_in(pic(seed=number), inbox / f"{number}.jpg")
            until(lambda name=f"{number}.jpg": name in desk.times)


def test_closed_files_wait_for_settle(desk, inbox, running, pic, until):
    """A file that was written and closed is handed over when it was quiet for the settle time, and not before."""
    with running(inbox):
        began = time.monotonic()
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: desk.arrivals)
    assert desk.times["photo.jpg"] - began > 0.45


def test_unfinished_and_foreign_files_are_never_sent(desk, inbox, elsewhere, running, pic, until):
    """Half-written, aborted, empty, junk-named and other files: none is sent, each is visible with its reason."""
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        (inbox / f"half.{kind.lower()}").write_bytes(pic(kind)[:-100])
    (inbox / "aborted.jpg.part").write_bytes(pic()[:100])
    (inbox / "empty.jpg").touch()
    (inbox / "text.jpg").write_text("this is a text file and no photo", encoding="utf-8")
    (inbox / "animated.png").write_bytes(b"GIF89a" + bytes(100))
    (inbox / "reserved.jpg").write_bytes(bytes(5000))
    (inbox / ".hidden.jpg").write_bytes(pic())
    (inbox / "notes.txt").write_text("buy milk", encoding="utf-8")
    os.mkfifo(inbox / "pipe.jpg")
    (inbox / "link.jpg").symlink_to(elsewhere / "x.jpg")
    held = (inbox / "held.jpg").open("wb")
    held.write(pic(seed=5))
    held.flush()
    began = time.time()
    with running(inbox, timings=QUICKLY) as intake:
        until(lambda: intake.counts() == {"settling": 0, "incomplete": 6, "ignored": 5}, 60, "all judged")
        shown = {file.path: file for file in intake.unready()}
        assert {path for path, file in shown.items() if file.state == "incomplete"} == {
            *("half.jpeg", "half.png", "half.webp", "half.bmp", "reserved.jpg", "held.jpg")
        }
        assert {path for path, file in shown.items() if file.state == "ignored"} == {
            *("aborted.jpg.part", ".hidden.jpg", "notes.txt", "pipe.jpg", "link.jpg")
        }
        assert "writing" in shown["held.jpg"].reason
        assert "zeros" in shown["reserved.jpg"].reason
        assert all(file.reason and began <= file.since <= time.time() for file in shown.values())
        refused = {arrival.path: arrival.refusal for arrival in desk.arrivals}
        assert {path: refusal.code for path, refusal in refused.items()} == {
            "empty.jpg": "empty",
            "text.jpg": "type",
            "animated.png": "type",
        }
        assert "text" in refused["text.jpg"].message
        assert "GIF" in refused["animated.png"].message

        # Any change arms them again.
        held.close()
        until(lambda: desk.of("held.jpg"))
        (inbox / "half.png").write_bytes(pic("PNG"))
        until(lambda: desk.of("half.png"))
        (inbox / "aborted.jpg.part").rename(inbox / "aborted.jpg")
        until(lambda: "aborted.jpg" in {file.path for file in intake.unready()})
        (inbox / "half.jpeg").unlink()
        until(lambda: "half.jpeg" not in {file.path for file in intake.unready()})
    assert desk.of("held.jpg").refusal is None
    assert desk.of("half.png").refusal is None


def test_known_files_are_not_taken_again(desk, inbox, running, pic, until):
    """What is known and unchanged is not handed over by restarts and rescans, and is no new job where it is touched."""
    for name in "abc":
        (inbox / f"{name}.jpg").write_bytes(pic(seed=name))
    with running(inbox):
        until(lambda: len(desk.arrivals) == 3)
    with running(inbox) as intake:
        with (inbox / "a.jpg").open("r+b"):
            pass
        intake.rescan_now()
        (inbox / "b.jpg").write_bytes(pic(seed=2, side=50))
        until(lambda: "a.jpg" in desk.again and len(desk.arrivals) == 4)
        until(lambda: not intake.counts()["settling"])
    assert desk.paths[3:] == ["b.jpg"]
    assert (desk.outcomes["new"], desk.outcomes["changed"]) == (3, 1)
    assert "c.jpg" not in desk.again


def test_outputs_in_place_are_adopted(desk, inbox, running, pic, until, folder_for):
    """For a file that no row knows the injected side is asked for an output in place; not where it is switched off."""
    (inbox / "a.jpg").write_bytes(pic())
    (inbox / "b.jpg").write_bytes(pic(seed=1))
    changed = {(str(inbox), name): (inbox / name).stat().st_mtime_ns for name in ("a.jpg", "b.jpg")}
    asked = {}

    def adopt(folder, relpath, mtime_ns):
        asked[str(folder.inbox), relpath] = mtime_ns
        return "/outbox/a.webp" if relpath == "a.jpg" else None

    with running(inbox, adopt=adopt):
        until(lambda: len(desk.arrivals) == 2)
        assert {arrival.path: arrival.adopt for arrival in desk.arrivals} == {"a.jpg": "/outbox/a.webp", "b.jpg": None}
        assert asked == changed
        (inbox / "a.jpg").write_bytes(pic(seed=9, side=60))
        until(lambda: len(desk.arrivals) == 3)
        assert desk.arrivals[2].adopt is None, "a changed file is not the one that the output was made of"
    shutil.rmtree(inbox)
    inbox.mkdir()
    (inbox / "c.jpg").write_bytes(pic(seed=3))
    with running(folder_for(inbox, adopt_existing=False), adopt=adopt):
        until(lambda: desk.of("c.jpg"))
    assert desk.of("c.jpg").adopt is None


def test_doubtful_but_whole_files_are_decoded_and_taken(desk, inbox, running, pic, until):
    """Trailing bytes lead the slow way, a full decode proves the picture whole, and meanwhile others pass."""
    (inbox / "camera.jpg").write_bytes(pic() + b"maker's notes" * 20)
    with running(inbox, timings=QUICKLY):
        until(lambda: desk.of("camera.jpg"))
    assert desk.of("camera.jpg").refusal is None
    with (inbox / "camera.jpg").open("rb") as file:
        assert decode(file)


def test_a_job_table_that_is_locked_loses_nothing(desk, inbox, running, pic, until):
    """If the hand-over fails the file is kept, shown, and handed over again."""
    real, shown = desk.take, threading.Event()

    def locked(arrivals):
        if not shown.is_set():
            raise OSError("database is locked")
        real(arrivals)

    desk.take = locked
    with running(inbox) as intake:
        (inbox / "photo.jpg").write_bytes(pic())
        until(lambda: any("job table" in file.reason for file in intake.unready()))
        shown.set()
        until(lambda: desk.arrivals)
    assert desk.paths == ["photo.jpg"]


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "\x1b[31mred.jpg", "é" * 120 + ".jpg", b"caf\xe9.jpg", "-rf.jpg", "$(id).jpg"]
)
def test_odd_names_pass_unharmed(desk, inbox, running, pic, until, name):
    """Any name that the filesystem takes reaches the job table as it is."""
    path = os.path.join(os.fsencode(inbox), os.fsencode(name))
    with running(inbox):
        with open(path, "wb") as file:
            file.write(pic())
        until(lambda: desk.arrivals)
    assert desk.paths == [os.fsdecode(name)]


def test_each_file_gets_its_own_profile(desk, inbox, running, folder_for, pic, until):
    """The longest matching subfolder decides about the options, and the folder about the priority."""
    mask = Profile("mask", Options(mask=True))
    place = folder_for(inbox, subfolders=((PurePosixPath("masks"), mask),), priority=7)
    (inbox / "masks/deep").mkdir(parents=True)
    (inbox / "masks/deep/a.jpg").write_bytes(pic())
    (inbox / "b.jpg").write_bytes(pic(seed=1))
    with running(place):
        until(lambda: len(desk.arrivals) == 2)
    assert desk.of("masks/deep/a.jpg").profile == "mask"
    assert desk.of("masks/deep/a.jpg").fingerprint == mask.options.fingerprint
    assert desk.of("b.jpg").profile == "plain"
    assert {arrival.priority for arrival in desk.arrivals} == {7}
