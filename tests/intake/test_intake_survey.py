"""The inboxes handled once, and only told of."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

import pytest

from rembg_watch.intake.inbox import Health
from rembg_watch.intake.readiness import Timings
from rembg_watch.intake.survey import Verdict, drain_folders, survey
from rembg_watch.jobs.model import Version

QUICKLY = Timings(quiet=0.2, incomplete=0.6, relook=0.6)


def told(folders, store, **settings):
    return {file.path: file for file in survey(folders, store, **settings)}


@pytest.fixture
def mixed(inbox, elsewhere, pic):
    """An inbox with one of everything, at rest."""
    (inbox / "a/b").mkdir(parents=True)
    (inbox / "a/b/photo.jpg").write_bytes(pic())
    (inbox / "mask.PNG").write_bytes(pic("PNG"))
    (inbox / "camera.jpg").write_bytes(pic(seed=3) + b"trailing notes")
    (inbox / "half.jpg").write_bytes(pic(seed=4)[:-50])
    (inbox / "empty.jpg").touch()
    (inbox / "text.jpg").write_text("words, words and more words", encoding="utf-8")
    (inbox / "x.jpg.part").write_bytes(pic()[:50])
    (inbox / "link.jpg").symlink_to(elsewhere / "x.jpg")
    return inbox


def test_a_drain_hands_over_what_is_finished_and_tells_the_rest(desk, mixed, folder_for):
    """Everything finished is handed over once; what is left is told with its reason; it ends by itself."""
    drained = drain_folders([folder_for(mixed)], desk.store, desk.take, timings=QUICKLY)
    assert {arrival.path for arrival in desk.arrivals if not arrival.refusal} == {
        *("a/b/photo.jpg", "mask.PNG", "camera.jpg")
    }
    assert {arrival.path: arrival.refusal.code for arrival in desk.arrivals if arrival.refusal} == {
        "empty.jpg": "empty",
        "text.jpg": "type",
    }
    assert drained.handed == 5
    assert {file.path: file.state for file in drained.left} == {
        "half.jpg": "incomplete",
        "x.jpg.part": "ignored",
        "link.jpg": "ignored",
    }
    assert drained.lost == []
    again = drain_folders([folder_for(mixed)], desk.store, desk.take, timings=QUICKLY)
    assert again.handed == 0


def test_a_drain_waits_for_a_writer_but_not_for_ever(desk, inbox, folder_for, pic):
    """A file that stays open for writing is left with the reason after the patience."""
    now = [1000.0]

    def sleep(seconds):
        now[0] += seconds

    with (inbox / "photo.jpg").open("wb") as file:
        file.write(pic())
        file.flush()
        drained = drain_folders(
            [folder_for(inbox)], desk.store, desk.take, timings=Timings(), patience=2, clock=lambda: now[0], sleep=sleep
        )
    assert desk.arrivals == []
    assert "writing" in drained.left[0].reason


def test_a_drain_tells_of_an_inbox_that_is_lost(desk, inbox, tmp_path, folder_for, pic):
    """A missing inbox is told; the others are handled."""
    (inbox / "photo.jpg").write_bytes(pic())
    folders = [folder_for(tmp_path / "nowhere"), folder_for(inbox)]
    drained = drain_folders(folders, desk.store, desk.take, timings=QUICKLY)
    assert desk.paths == ["photo.jpg"]
    assert [(root.inbox, root.health) for root in drained.lost] == [(str(tmp_path / "nowhere"), Health.MISSING)]


def test_an_error_of_the_job_table_ends_a_drain(inbox, desk, folder_for, pic):
    """If the files can't be entered in the job table, the drain fails instead of trying for ever."""
    (inbox / "photo.jpg").write_bytes(pic())

    def full(arrivals):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        drain_folders([folder_for(inbox)], desk.store, full, timings=QUICKLY)


def test_a_survey_tells_everything_and_changes_nothing(desk, mixed, folder_for, pic):
    """Each file has its verdict: would be sent, known, ignored, refused, or settling; nothing is handed over."""
    (mixed / "known.jpg").write_bytes(pic(seed=7))
    time.sleep(0.7)  # the files come to rest by the wall clock
    other = mixed.parent / "rest"
    shutil.copytree(mixed, other, symlinks=True, ignore=lambda _, names: set(names) - {"known.jpg"})
    drain_folders([folder_for(other)], desk.store, desk.take, timings=QUICKLY)
    arrival = desk.of("known.jpg")
    status = os.stat(mixed / "known.jpg")
    version = Version(status.st_size, status.st_mtime_ns)
    desk.take([replace(arrival, folder=str(mixed), version=version)])
    before = len(desk.arrivals)

    files = told([folder_for(mixed)], desk.store, timings=QUICKLY)
    assert {path: file.verdict for path, file in files.items()} == {
        "a/b/photo.jpg": Verdict.WOULD_SEND,
        "mask.PNG": Verdict.WOULD_SEND,
        "camera.jpg": Verdict.WOULD_SEND,
        "known.jpg": Verdict.KNOWN,
        "half.jpg": Verdict.SETTLING,
        "empty.jpg": Verdict.REFUSED,
        "text.jpg": Verdict.REFUSED,
        "x.jpg.part": Verdict.IGNORED,
        "link.jpg": Verdict.IGNORED,
    }
    assert files["mask.PNG"].profile == "plain"
    assert all(file.reason for file in files.values() if file.verdict is not Verdict.WOULD_SEND)
    assert len(desk.arrivals) == before


def test_a_survey_sees_what_would_be_adopted_and_what_is_fresh(desk, inbox, tmp_path, folder_for, pic):
    """An output in place counts as known; a file that was just written as settling; a lost inbox is told."""
    (inbox / "a.jpg").write_bytes(pic())
    old = Timings(settle=0.0)
    files = told([folder_for(inbox)], desk.store, adopt=lambda *_: "/outbox/a.webp", timings=old)
    assert files["a.jpg"].verdict is Verdict.KNOWN
    assert told([folder_for(inbox, settle=3600.0)], desk.store)["a.jpg"].verdict is Verdict.SETTLING
    assert told([folder_for(tmp_path / "nowhere")], desk.store)[""].verdict is Verdict.UNREADABLE


def test_a_survey_waits_for_what_was_just_written(desk, inbox, folder_for, pic):
    """Photos that were copied in a moment ago are told as a drain would handle them, not as too fresh to tell."""
    for number in range(3):
        (inbox / f"{number}.jpg").write_bytes(pic(seed=number))
    (inbox / "camera.jpg").write_bytes(pic(seed=9) + b"trailing notes")
    (inbox / "text.jpg").write_text("words, words and more words", encoding="utf-8")
    files = told([folder_for(inbox, settle=0.3)], desk.store, timings=Timings(quiet=0.5))
    assert {path: file.verdict for path, file in files.items()} == {
        "0.jpg": Verdict.WOULD_SEND,
        "1.jpg": Verdict.WOULD_SEND,
        "2.jpg": Verdict.WOULD_SEND,
        "camera.jpg": Verdict.WOULD_SEND,
        "text.jpg": Verdict.REFUSED,
    }


def test_a_survey_does_not_wait_for_what_takes_longer(desk, inbox, folder_for, pic):
    """A folder whose files must rest for an hour is told without waiting: its files are still settling."""
    (inbox / "a.jpg").write_bytes(pic())
    assert told([folder_for(inbox, settle=3600.0)], desk.store)["a.jpg"].verdict is Verdict.SETTLING
