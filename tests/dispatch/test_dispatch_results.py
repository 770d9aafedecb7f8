"""The result store: a paid answer has one place, is found there as long as it is whole, and is never dropped."""

from __future__ import annotations

import os
import time

import pytest
from blake3 import blake3

from rembg_watch.config.model import ResultsConfig
from rembg_watch.dispatch.results import IN_MEMORY, Body, Results

DAY = 86400.0


def receive(store, key, data, attempt=1):
    body = Body(store.results, key, attempt, str(store.outbox), "a.png", f"tag-{attempt}")
    for start in range(0, len(data), 100_000):
        body.write(data[start : start + 100_000])
    return body


def keep(store, key, data, attempt=1, age=0.0):
    """Receive and keep an answer that was last used ``age`` seconds ago; return its path."""
    body = receive(store, key, data, attempt)
    body.keep()
    os.utime(body.path, (time.time() - age,) * 2)
    return body.path


def files(store):
    return sorted(str(path.relative_to(store.state / "results")) for path in (store.state / "results").rglob("*-*"))


@pytest.mark.parametrize("size", [0, 5, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY])
def test_an_answer_is_kept_under_its_own_hash_and_size(store, size):
    """It comes in as a part, which no look-up finds, and gets its name by a rename once it is verified."""
    data, key = os.urandom(size), store.key()
    body = receive(store, key, data, attempt=7)
    assert body.path.endswith(f"/00/{key}.7.part")
    assert store.results.find(key) is None
    body.keep()
    name = f"{key}-{blake3(data).hexdigest()}-{size}-7"
    assert files(store) == [f"00/{name}"]
    kept = store.results.find(key)
    assert (kept.hash, kept.size, kept.attempt) == (blake3(data).hexdigest(), size, 7)
    assert store.results.read(kept) == (data if size <= IN_MEMORY else b"")
    assert store.results.find(store.key(1)) is None


@pytest.mark.parametrize("size", [100, IN_MEMORY + 100])
@pytest.mark.parametrize("damage", ["other bytes", "cut", "longer"])
def test_a_damaged_answer_is_a_miss_and_removed(store, size, damage):
    """Every use hashes it again: it is not delivered, and does not stand in the way of the next one."""
    key = store.key()
    path = keep(store, key, bytes(size))
    with open(path, "r+b") as file:
        if damage == "cut":
            file.truncate(size - 1)
        else:
            file.seek(50 if damage == "other bytes" else size)
            file.write(b"!")
    assert store.results.read(store.results.find(key)) is None
    assert store.results.find(key) is None


def test_a_rejected_answer_lies_apart_and_is_never_found(store):
    """It is not what was asked for, but it may have been paid for: people can look at it."""
    key = store.key()
    receive(store, key, b"not a picture", attempt=3).reject()
    assert files(store) == [f"rejected/{key}.3"]
    assert store.results.find(key) is None
    assert store.results.rejected(key, 3).endswith(f"rejected/{key}.3")


def test_a_newer_answer_replaces_the_older_one(store):
    """Until it is verified the older one stays; after a crash between both steps the newer one is found."""
    key = store.key()
    older = keep(store, key, b"older", attempt=1)
    body = receive(store, key, b"newer", attempt=2)
    assert store.results.read(store.results.find(key)) == b"older"
    body.keep()
    assert not os.path.exists(older)
    for attempt in (12, 3):  # as the crash leaves it; names are listed in no order
        keep(store, store.key(1), b"x", attempt)
        path = store.results._folder(store.key(1))
        with open(f"{path}/{store.key(1)}-{blake3(b'newest').hexdigest()}-6-13", "wb") as file:
            file.write(b"newest")
        assert store.results.read(store.results.find(store.key(1))) == b"newest"


def test_what_is_old_or_too_much_is_pruned(store):
    """What was not used for ``keep`` goes, then the longest unused ones until all fit into ``max``; rejected ones first."""
    ages = {1: 100 * DAY, 2: 80 * DAY, 3: 50 * DAY, 4: 1 * DAY}
    for number, age in ages.items():
        keep(store, store.key(number), bytes(10**6), age=age)
    receive(store, store.key(9), bytes(10**6)).reject()
    assert store.results.prune() == 10**6
    assert store.results.find(store.key(1)) is None
    store.results.limits = ResultsConfig(max=2_500_000)
    store.results.prune()
    assert len(files(store)) == 2
    assert store.results.rejected(store.key(9), 1) is None
    assert store.results.find(store.key(2)) is None
    assert store.results.read(store.results.find(store.key(3)))  # used again: it counts as the newest
    store.results.limits = ResultsConfig(max=1_500_000)
    store.results.prune()
    assert store.results.find(store.key(3)) is not None
    assert store.results.find(store.key(4)) is None


@pytest.mark.parametrize("listed", [True, False])
def test_what_is_kept_is_found_after_a_start(store, listed):
    """By the names that were read at the start, or on the disk where these could not be read."""
    keep(store, store.key(1), b"before")
    if not listed:
        (store.state / "results" / "loop").symlink_to("loop")
    started = Results(store.state, store.queue, ResultsConfig())
    started.load_keys()
    assert started.find(store.key(1)) is not None
    assert started.find(store.key(2)) is None


def test_what_an_open_job_needs_is_not_pruned(store):
    """The answer of a job that is sent, or waits for its delivery, stays; its rejected answers need not."""
    job = store.sent_job(store.key())
    keep(store, store.key(), b"needed", age=500 * DAY)
    receive(store, store.key(), b"rejected", attempt=job.attempt).reject()
    store.results.limits = None
    store.results.prune(10**9)
    assert len(files(store)) == 1
    assert store.results.find(store.key()) is not None


def test_kept_answers_leave_a_tenth_of_the_disk_free(store, mount_at):
    """The state directory's disk is not filled with what may never be needed again; a store without room makes some."""
    mount_at(store.state / "results", "-t", "tmpfs", "-o", "size=10m", "tmpfs")
    for number in range(9):
        keep(store, store.key(number), bytes(1_100_000), age=1000.0 - number)
    store.results.prune()
    room = os.statvfs(store.state / "results")
    assert 1_000_000 <= room.f_bavail * room.f_frsize < 2_300_000
    assert store.results.find(store.key(0)) is None
    assert store.results.find(store.key(8)) is not None
    keep(store, store.key(20), bytes(room.f_bavail * room.f_frsize - 900_000))
    assert store.results.has_room()
    assert store.results.find(store.key(20)) is not None or store.results.find(store.key(8)) is None


@pytest.mark.parametrize("size", [200_000, 3_000_000])
@pytest.mark.parametrize("outbox", ["has room", "full", "nearly full", "gone"])
def test_a_paid_answer_finds_a_place_on_a_full_disk(store, mount_at, size, outbox):
    """What the store can't take goes on in the outbox, else in memory: not a byte is lost, and the answer is verified."""
    mount_at(store.state / "results", "-t", "tmpfs", "-o", "size=128k", "tmpfs")
    if outbox == "gone":
        store.outbox.rmdir()
    elif "full" in outbox:
        room = 4 if outbox == "full" else 160
        mount_at(store.outbox, "-t", "tmpfs", "-o", f"size={room}k", "tmpfs")
    data = os.urandom(size)
    body = receive(store, store.key(), data)
    body.keep()
    assert (body.is_stored, body.hash, body.size) == (False, blake3(data).hexdigest(), size)
    assert (body.temp is not None) == (outbox == "has room")
    there = body.to_verify
    if not isinstance(there, bytes):
        there.seek(0)
        there = there.read()
    assert there == data
    assert files(store) == []
    body.discard()
    assert not store.outbox.exists() or not list(store.outbox.iterdir())


def test_pruning_makes_room_for_an_answer_that_is_coming_in(store, mount_at):
    """Kept answers are worth less than the one that is being paid for now."""
    mount_at(store.state / "results", "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    for number in range(3):
        keep(store, store.key(number), bytes(1_000_000))
    data = os.urandom(3_000_000)
    body = receive(store, store.key(9), data)
    body.keep()
    assert body.is_stored
    kept = store.results.find(store.key(9))
    assert store.results.read(kept) == b""
    with open(kept.path, "rb") as file:
        assert file.read() == data


def test_a_name_that_can_not_be_given_loses_no_answer(store, monkeypatch):
    """The disk fails between the last byte and the rename: the bytes go on in the outbox."""

    def fail(*_):
        raise OSError(5, "Input/output error")

    body = receive(store, store.key(), b"paid")
    monkeypatch.setattr(Results, "rename", fail)
    body.keep()
    assert not body.is_stored
    body.temp.file.seek(0)
    assert body.temp.file.read() == b"paid"
    body.discard()


def test_a_delivered_file_is_taken_in_if_it_is_what_was_delivered(store):
    """The outbox serves as a second store; an edited file does not."""
    file = store.outbox / "a.png"
    file.write_bytes(b"delivered")
    good = blake3(b"delivered").hexdigest()
    assert store.results.take_in(store.key(), str(file), blake3(b"other").hexdigest(), 9) is None
    assert files(store) == []
    kept = store.results.take_in(store.key(), str(file), good, 9)
    assert store.results.read(kept) == b"delivered"
    assert store.results.take_in(store.key(), str(store.outbox / "gone.png"), good, 9) is None
