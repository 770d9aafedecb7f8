"""The lines of the log that people search: each names the photo, its profile and its size in the same words."""

from __future__ import annotations

from daemon_photos import photo


def test_what_is_refused_is_told_as_what_is_done(place, sandbox, run_daemon):
    """A photo that is not sent has no number yet; for the rest its line reads like that of one that is done."""
    daemon = run_daemon(place.write())
    data = photo(1)
    place.drop("good.jpg", data)
    place.drop("text.jpg", b"no picture at all")
    place.settled(2)
    (done,) = place.wait_until(lambda: daemon.events("job.done"))
    (refused,) = place.wait_until(lambda: daemon.events("job.refused"))
    common = {"folder", "path", "profile", "bytes_in"}
    assert common <= set(done) & set(refused)
    assert {key: done[key] for key in common} == {
        "folder": str(place.inbox),
        "path": "good.jpg",
        "profile": refused["profile"],
        "bytes_in": len(data),
    }
    assert (refused["path"], refused["bytes_in"]) == ("text.jpg", 17)
    assert refused["code"]
    assert refused["reason"]
    assert "job" not in refused
    assert daemon.stop() == 0


def test_what_a_worker_refuses_is_told_with_its_number(place, sandbox, run_daemon):
    """A photo that passed intake and can't be sent all the same, here as it is asked for again by hand."""
    daemon = run_daemon(place.write())
    place.drop("text.jpg", b"no picture at all")
    place.settled(1)
    number = place.jobs()["text.jpg"].id
    place.cli("jobs", "retry", str(number))
    lines = place.wait_until(lambda: (found := daemon.events("job.refused"))[1:] and found)
    assert lines[1]["job"] == number
    for key in ("folder", "path", "profile", "bytes_in"):
        assert lines[1][key] == lines[0][key]
    assert sandbox.requests == []
    assert daemon.stop() == 0
