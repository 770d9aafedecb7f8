"""Which files are sent, with which options, and in what order; and what is said of those that are not."""

from __future__ import annotations

import hashlib
import os

from daemon_photos import corner_of, photo

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
            reasons = place.wait_until(shown, 60, lambda: (place.states(), daemon.intake.unready()))
            place.wait_until(lambda: place.states().get("good.jpg") == "done")
            waiting = {"link.jpg", "being written.jpg", "half.jpg"}

            def all_shown():
                return waiting <= {file["path"] for file in place.cli_json("status")["not_ready"]}

            place.wait_until(all_shown)
            listed = place.cli_json("jobs", "list", "--limit", "100")
        # What is not a job yet is published once in a while, so a file may be listed as both for a moment.
        told = {file["path"]: file["reason"] for file in listed["not_jobs_yet"]}
        told |= {job["path"]: job["message"] for job in listed["jobs"] if job["state"] == "failed"}
        assert expected <= set(told)
        assert all(reasons[name] and told[name] for name in expected), reasons
        assert "link" in told["link.jpg"]
        assert "GIF" in told["animation.png"]
        assert "0 bytes" in told["empty.jpg"]
    assert sandbox.charged == 1
    assert len(sandbox.requests) == 1
    assert place.outputs() == ["good.png"]


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
    kinds = {}

    def drop(kind, number, inbox):
        data = photo(number)
        kinds[hashlib.sha256(data).hexdigest()] = kind
        place.drop(f"{kind}{number}.jpg", data, inbox)

    for number in range(6):
        drop("low", 80 + number, place.inbox)
    sandbox.latency = 3600
    with place.daemon():
        place.wait_until(lambda: sandbox.working == 1)
        for number in range(6):
            drop("high", 90 + number, urgent)
        place.wait_until(lambda: len(place.states()) == 12)
        sandbox.latency = 0
        place.settled(12)
    order = [kinds[request.sha256] for request in sandbox.requests]
    # One was in flight, one had been read and stood next in line, and one may have been claimed behind it.
    first = order.index("high")
    assert first <= 3
    assert order[first : first + 6] == ["high"] * 6
