"""The whole way of one image, and of two hundred: every producer, every format, each delivered once, from its own source."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest
from daemon_photos import corner_of, form_of, number_in, photo, size_of


def _slowly(path, data, pieces=4, pause=0.08):
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // pieces + 1):
            file.write(data[start : start + len(data) // pieces + 1])
            time.sleep(pause)


def test_two_hundred_images_by_every_kind_of_producer(place, sandbox, run_daemon):  # noqa: PLR0915 - one story
    """200 mixed images: each is delivered once, from its own source, with its folder's options, and paid once."""
    place.settings["profiles"] = {
        "shop": {"format": "jpeg", "bg_color": "#ffff00"},
        "mask": {"format": "png", "mask": True},
    }
    place.folder.update(settle=0.2, subfolders={"shop": "shop", "shop/masks/": "mask"}, profile={"format": "webp"})
    place.settings["credits"] = {"batch_size": 25}
    place.settings["workers"] = 8
    sandbox.set(latency=0.02)
    forms = ["jpg", "JPG", "png", "webp", "bmp", "jpeg"]
    names = {}

    def name(number, folder):
        path = f"{folder}/{'ünï çødé 写真' if number % 7 == 0 else 'photo'} {number}.{forms[number % 6]}"
        names[path] = number
        return path, photo(number, forms[number % 6])

    before = place.root / "elsewhere"
    before.mkdir()
    for number in range(20):  # there before the daemon starts
        place.drop(*name(number, "there"))
    daemon = run_daemon(place.write())
    for number in range(20, 60):  # renamed in from the same folder, under an ignored name until it is whole
        path, data = name(number, "shop/renamed")
        target = place.inbox / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        part.write_bytes(data)
        part.rename(target)
    for number in range(60, 100):  # a whole tree, moved in at once
        path, data = name(number, f"tree/deep{number % 3}/er{number % 5}/deepest")
        target = before / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (before / "tree").rename(place.inbox / "tree")
    tar = place.root / "all.tar"
    with tarfile.open(tar, "w") as archive:
        for number in range(100, 140):
            path, data = name(number, f"shop/masks/tar{number % 4}")
            source = before / f"member{number}"
            source.write_bytes(data)
            archive.add(source, path)
    subprocess.run(["tar", "xf", tar], cwd=place.inbox, check=True)
    for number in range(140, 180):  # mkdir -p a/b/c && cp
        path, data = name(number, f"cp/a{number}/b/c")
        source = before / f"cp{number}"
        source.write_bytes(data)
        target = place.inbox / path
        subprocess.run(["mkdir", "-p", target.parent], check=True)
        subprocess.run(["cp", source, target], check=True)
    slow = []
    for number in range(180, 200):  # written slowly, with pauses
        path, data = name(number, "slow")
        (place.inbox / path).parent.mkdir(parents=True, exist_ok=True)
        slow.append(threading.Thread(target=_slowly, args=(place.inbox / path, data)))
        slow[-1].start()
    for thread in slow:
        thread.join()
    place.wait_until(
        lambda: sum(state == "done" for state in place.states().values()) >= 200,
        60,
        lambda: {path: state for path, state in place.states().items() if state != "done"},
    )
    assert daemon.stop() == 0
    assert len(names) == 200
    assert len(place.outputs()) == 200
    jobs = place.jobs()
    for path, number in names.items():
        output = Path(jobs[path].output)
        assert output.relative_to(place.outbox).parent == Path(path).parent
        assert output.name.startswith(Path(path).stem)
        form, size = form_of(output)
        assert size == size_of(number), path
        if path.startswith("shop/masks/"):
            assert form == "PNG"
            assert corner_of(output) == (0, 0, 0, 255)
        elif path.startswith("shop/"):
            assert form == "JPEG"
            assert number_in(output) == number, path
            red, green, blue, _ = corner_of(output)
            assert min(red, green) > 180 + blue
        else:
            assert form == "WEBP"
            assert number_in(output) == number, path
            assert corner_of(output)[3] == 0
    assert sandbox.charged == 200
    assert len(sandbox.requests) == 200
    assert place.ledger() == (200, 0)
    assert 200 / 25 <= len(sandbox.usage_calls) <= 200 / 25 + 6
    assert not place.leftovers()
    done = daemon.events("job.done")
    assert len(done) == 200
    assert {"job", "folder", "path", "profile", "bytes_in", "bytes_out", "queue_ms", "api_ms", "attempt"} <= set(
        done[0]
    )
    assert "test-key-0001" not in daemon.log.read_text()


NAMES = [
    "with space.jpg",
    " leading and trailing .jpg",
    "new\nline.jpg",
    "tab\tand\x1b[31mescape.jpg",
    "quote'\"$(rm -rf x);&|.jpg",
    "日本語の写真.jpg",
    "e\u0301 combining.jpg",
    "-n.jpg",
    "many.dots.in.it.jpg",
    "ünïcödé" * 20 + ".jpg",
    "x" * 251 + ".jpg",
    os.fsdecode(b"invalid \xff\xfe utf8.jpg"),
    os.fsdecode(b"\xe9t\xe9/latin1 \xe9t\xe9.jpg"),
    "deep/" * 30 + "down.jpg",
]


def test_names_of_every_kind_are_delivered(place, sandbox):
    """Spaces, newlines, escapes, 255 bytes, bytes that are no UTF-8: each is delivered under its mirrored name."""
    place.folder["profile"] = {"format": "webp"}
    with place.daemon():
        for number, name in enumerate(NAMES):
            place.drop(name, photo(number))
        states = place.settled(len(NAMES))
    assert set(states) == set(NAMES)
    assert set(states.values()) == {"done"}
    jobs = place.jobs()
    for number, name in enumerate(NAMES):
        output = jobs[name].output
        assert number_in(output) == number
        relative = os.path.relpath(output, place.outbox)
        assert os.path.dirname(relative) == os.path.dirname(name)
        stem = os.path.splitext(os.path.basename(name))[0]
        assert os.path.basename(relative)[:50] == f"{stem}.webp"[:50]
        assert len(os.fsencode(os.path.basename(relative))) <= 255
    assert sandbox.charged == len(NAMES)
    assert not place.leftovers()


JUNK = {
    "note.txt": b"hello",
    ".hidden.jpg": photo(1),
    "~lock.jpg": photo(2),
    "photo.jpg.part": photo(3),
    "photo.jpg.crdownload": photo(4),
    "Thumbs.db": b"\0" * 100,
    "photo.jpg~": photo(5),
}
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"this is not a picture at all, whatever its name says\n" * 10,
    "animation.png": b"GIF89a" + bytes(200),
    "half.jpg": photo(6, size=(300, 200))[:-400],
    "half.png": photo(7, "png", size=(300, 200))[:-100],
}


def test_what_must_not_be_sent_is_not_sent_and_says_why(place, sandbox, hurried):
    """Half-written, aborted, empty, junk-named and other files: never sent, and each shows up with its reason."""
    place.settings["folders"][0]["settle"] = 0.1
    with place.daemon() as daemon:
        for name, data in (JUNK | BAD).items():
            (place.inbox / name).write_bytes(data)
        (place.root / "secret.jpg").write_bytes(photo(9))
        (place.inbox / "link.jpg").symlink_to(place.root / "secret.jpg")
        os.mkfifo(place.inbox / "fifo.jpg")
        place.drop("good.jpg", photo(10))
        expected = set(JUNK) | set(BAD) | {"being written.jpg", "link.jpg", "fifo.jpg"}

        def shown():
            reasons = {job.path: job.message for job in place.jobs().values() if job.state == "failed"}
            waiting = daemon.intake.unready()
            reasons |= {file.path: file.reason for file in waiting}
            refused = {"empty.jpg", "text.jpg", "animation.png"} <= set(place.jobs())
            return reasons if refused and expected <= set(reasons) else None

        with (place.inbox / "being written.jpg").open("wb") as open_file:
            open_file.write(photo(8)[:500])
            open_file.flush()
            reasons = place.wait_until(shown, 25, lambda: (place.states(), daemon.intake.unready()))
            daemon._publish(last=True)
            listed = place.cli_json("jobs", "list", "--limit", "100")
            status = place.cli_json("status")
        told = {job["path"]: job["message"] for job in listed["jobs"] if job["state"] == "failed"}
        told |= {file["path"]: file["reason"] for file in listed["not_jobs_yet"]}
        assert expected <= set(told)
        assert all(reasons[name] and told[name] for name in expected), reasons
        assert "link" in told["link.jpg"]
        assert "GIF" in told["animation.png"]
        assert "0 bytes" in told["empty.jpg"]
        assert {"link.jpg", "being written.jpg", "half.jpg"} <= {file["path"] for file in status["not_ready"]}
    assert sandbox.charged == 1
    assert len(sandbox.requests) == 1
    assert place.outputs() == ["good.png"]


def test_same_stem_sources_get_outputs_of_their_own(place, sandbox):
    """``photo.jpg``, ``photo.png`` and ``photo.webp`` do not overwrite each other, nor a file that somebody put there."""
    place.outbox.mkdir()
    (place.outbox / "taken.png").write_bytes(b"somebody's own")
    with place.daemon():
        for number, form in enumerate(("jpg", "png", "webp", "bmp")):
            place.drop(f"photo.{form}", photo(number + 20, form))
        place.drop("taken.jpg", photo(30))
        place.settled(5)
    jobs = place.jobs()
    outputs = [jobs[f"photo.{form}"].output for form in ("jpg", "png", "webp", "bmp")]
    assert len(set(outputs)) == 4
    assert str(place.outbox / "photo.png") in outputs
    assert [number_in(output) for output in outputs] == [20, 21, 22, 23]
    assert (place.outbox / "taken.png").read_bytes() == b"somebody's own"
    assert number_in(place.outbox / "taken.jpg.png") == 30
    assert sandbox.charged == 5


def test_a_changed_source_replaces_its_own_output(place, sandbox):
    """A new version under the same name is sent again and takes the place of the old output."""
    with place.daemon():
        place.drop("a.jpg", photo(40))
        place.settled(1)
        assert number_in(place.outbox / "a.png") == 40
        place.drop("a.jpg", photo(41))
        place.wait_until(lambda: number_in(place.outbox / "a.png") == 41)
        place.settled(1)
    assert place.outputs() == ["a.png"]
    assert sandbox.charged == 2


def test_touch_copies_and_restored_files_cost_nothing(place, sandbox, wait_until):
    """The same bytes are paid for once: after a touch, under other names at the same time, and a removed and restored file."""
    data = photo(50)
    sandbox.set(latency=0.3)
    with place.daemon() as daemon:
        for copy in range(5):
            place.drop(f"copy{copy}.jpg", data)
        place.settled(5)
        assert sandbox.charged == 1
        os.utime(place.inbox / "copy0.jpg")
        place.wait_until(lambda: len([e for e in daemon.steering.select(limit=50) if e.path == "copy0.jpg"]) == 2)
        place.settled(5)
        (place.inbox / "copy1.jpg").unlink()
        place.drop("copy1.jpg", data)
        place.wait_until(lambda: len([e for e in daemon.steering.select(limit=50) if e.path == "copy1.jpg"]) == 2)
        place.settled(5)
    assert len(sandbox.requests) == 1
    assert [number_in(place.outbox / f"copy{copy}.png") for copy in range(5)] == [50] * 5
    assert place.ledger() == (1, 0)


def test_an_edited_result_is_not_copied_for_another_picture(place, sandbox):
    """A result that was edited since is no result any more: the next copy of the photo is sent."""
    with place.daemon():
        place.drop("a.jpg", photo(51))
        place.settled(1)
        (place.outbox / "a.png").write_bytes(photo(52, "png"))
        place.drop("b.jpg", photo(51))
        place.settled(2)
    assert number_in(place.outbox / "b.png") == 51
    assert sandbox.charged == 2


def test_other_options_are_another_result(place, sandbox):
    """The same photo in two folders with different options is sent twice; with equal ones, once."""
    same, same_out = place.add_folder("same")
    other, other_out = place.add_folder("other", profile={"format": "png", "bg_color": "red"})
    with place.daemon():
        place.drop("a.jpg", photo(53))
        place.settled(1)
        place.drop("b.jpg", photo(53), same)
        place.drop("c.jpg", photo(53), other)
        place.settled(3)
    assert sandbox.charged == 2
    assert number_in(same_out / "b.png") == number_in(other_out / "c.png") == 53
    assert corner_of(other_out / "c.png") == (255, 0, 0, 255)


@pytest.mark.parametrize("what", ["keep", "archive", "delete"])
def test_after_success_the_source_is_kept_archived_or_deleted(place, sandbox, what):
    """The original ends where ``on_success`` says, only after its output is in place."""
    place.folder.update(on_success=what, **({"archive": str(place.root / "archive")} if what == "archive" else {}))
    data = photo(60)
    with place.daemon():
        source = place.drop("sub/a.jpg", data)
        place.settled(1)
        if what != "keep":
            place.wait_until(lambda: not source.exists())
        place.drop("sub/b.jpg", photo(61))
        place.settled(2)
        if what != "keep":
            place.wait_until(lambda: not (place.inbox / "sub/b.jpg").exists())
            place.drop("sub/a.jpg", photo(62))  # the same name once more is a new job
            place.wait_until(lambda: number_in(place.outbox / "sub/a.png") == 62)
            place.settled(2)
    assert source.exists() == (what == "keep")
    if what == "archive":
        archived = sorted(
            str(path.relative_to(place.root / "archive")) for path in (place.root / "archive").rglob("*.jpg")
        )
        assert archived[0].startswith("sub/a")
        assert len(archived) == 3
        assert data in [path.read_bytes() for path in (place.root / "archive").rglob("*.jpg")]
    assert number_in(place.outbox / "sub/b.png") == 61
    assert sandbox.charged == (2 if what == "keep" else 3)


@pytest.mark.parametrize("what", ["keep", "move"])
def test_after_failure_the_source_is_kept_or_moved_with_its_reason(place, sandbox, hurried, what):
    """A photo that can't be used is kept, or moved beside a ``NAME.error.json`` that says why."""
    place.folder.update(on_failure=what, **({"failed": str(place.root / "failed")} if what == "move" else {}))
    sandbox.next("413")
    with place.daemon():
        refused = place.drop("sub/refused.jpg", photo(63))
        place.settled(1)
        bad = place.drop("sub/bad.jpg", b"")
        place.settled(2)
        if what == "move":
            place.wait_until(lambda: not bad.exists() and not refused.exists())
    assert bad.exists() == refused.exists() == (what == "keep")
    assert set(place.states().values()) == {"failed"}
    assert sandbox.charged == 0
    if what == "move":
        failed = place.root / "failed" / "sub"
        assert (failed / "refused.jpg").read_bytes() == photo(63)
        record = json.loads((failed / "refused.jpg.error.json").read_text())
        assert record["code"] == "too-big"
        assert record["message"]
        assert record["hint"]
        assert json.loads((failed / "bad.jpg.error.json").read_text())["code"] == "empty"


def test_include_exclude_and_the_longest_subfolder(place, sandbox):
    """Patterns choose the files in any letter case; the longest matching subfolder chooses the options."""
    place.settings["profiles"] = {
        "red": {"format": "png", "bg_color": "red"},
        "blue": {"format": "png", "bg_color": "blue"},
    }
    place.folder.update(
        include=["*.jpg"],
        exclude=["drafts/", "*_raw*"],
        subfolders={"a": "red", "a/b": "blue"},
        profile={"format": "webp"},
    )
    with place.daemon():
        place.drop("top.JPG", photo(70))
        place.drop("a/one.jpg", photo(71))
        place.drop("a/b/two.jpg", photo(72))
        place.drop("a/bc/three.jpg", photo(73))
        place.drop("drafts/no.jpg", photo(74))
        place.drop("x_RAW.jpg", photo(75))
        place.drop("y.png", photo(76, "png"))
        place.settled(4)
        place.wait_until(lambda: place.outputs() == ["a/b/two.png", "a/bc/three.png", "a/one.png", "top.webp"])
    assert corner_of(place.outbox / "a/one.png") == corner_of(place.outbox / "a/bc/three.png") == (255, 0, 0, 255)
    assert corner_of(place.outbox / "a/b/two.png") == (0, 0, 255, 255)
    assert sandbox.charged == 4


def test_higher_priorities_go_first(place, sandbox):
    """With one worker, what lies in the folder of the higher priority is sent before what lay there longer."""
    urgent, _ = place.add_folder("urgent", priority=10)
    place.settings["workers"] = 1
    place.settings["credits"] = {"batch_size": 1}
    for number in range(6):
        place.drop(f"low{number}.jpg", photo(80 + number))
    with place.daemon() as daemon:
        daemon.board.set_fact("x", 1, 0.0)
        for number in range(6):
            place.drop(f"high{number}.jpg", photo(90 + number), urgent)
        sandbox.set(latency=0.1)
        place.settled(12)
    order = [job.path for job in sorted(place.jobs().values(), key=lambda job: job.finished_at)]
    assert sum("low" in path for path in order[-6:]) >= 4
