"""The whole way of two hundred images: every producer, format and name, each delivered once, from its own source."""

from __future__ import annotations

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


@pytest.mark.timeout(240)
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
        150,
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
