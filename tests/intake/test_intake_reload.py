"""A new config is taken up by the intake that runs."""

from __future__ import annotations

import threading

from rembg_watch.intake.roots import Rounds

BRISK = Rounds(health=0.1, calm=0.1, poll=0.3, made_folder=0.2, revive=0.2)


def test_a_new_config_is_taken_up(desk, tmp_path, running, folder_for, pic, until):
    """A reload adds and drops inboxes and changes settings without a restart."""
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, second):
        place.mkdir()
    (first / "a.txt").write_bytes(pic())
    with running(first) as intake:
        until(lambda: intake.counts()["ignored"] == 1)
        (second / "b.jpg").write_bytes(pic(seed=1))
        intake.replace_folders([folder_for(first, include=("*.txt",)), folder_for(second)])
        until(lambda: len(desk.arrivals) == 2)
        intake.replace_folders([folder_for(second)])
        until(lambda: [root.inbox for root in intake.roots()] == [str(second)])
        (first / "c.txt").write_bytes(pic(seed=2))
        (second / "d.jpg").write_bytes(pic(seed=3))
        until(lambda: desk.of("d.jpg"))
        assert desk.of("c.txt") is None


def test_a_new_config_counts_at_once(desk, tmp_path, running, folder_for, move_in, pic, until):
    """What comes after a reload is taken by the new settings, whatever the thread that walks is busy with."""
    first, second = tmp_path.resolve() / "first", tmp_path.resolve() / "second"
    for place in (first, second):
        place.mkdir()
    busy, held, done = threading.Event(), threading.Event(), threading.Event()

    def hold_up():
        if busy.is_set() and threading.current_thread().name == "intake-patrol":
            held.set()
            done.wait(100)

    # With a missing inbox every round of the walk is told.
    with running(first, second, tmp_path / "nowhere", on_turn=hold_up, rounds=BRISK) as intake:
        busy.set()
        until(held.is_set)
        intake.replace_folders([folder_for(second, priority=7)])
        move_in(pic(), first / "a.jpg")
        move_in(pic(seed=1), second / "b.jpg")
        until(lambda: desk.of("b.jpg"))
        assert desk.of("b.jpg").priority == 7
        busy.clear()
        done.set()
        until(lambda: [root.inbox for root in intake.roots()] == [str(second)])
    assert desk.paths == ["b.jpg"]
