"""Whose output is whose, and what is paid for only once."""

from __future__ import annotations

import os

import pytest
from daemon_photos import corner_of, number_in, photo


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
        place.wait_until(lambda: len([e for e in daemon.queries.select(limit=50) if e.path == "copy0.jpg"]) == 2)
        place.settled(5)
        (place.inbox / "copy1.jpg").unlink()
        place.drop("copy1.jpg", data)
        place.wait_until(lambda: len([e for e in daemon.queries.select(limit=50) if e.path == "copy1.jpg"]) == 2)
        place.settled(5)
    assert len(sandbox.requests) == 1
    assert [number_in(place.outbox / f"copy{copy}.png") for copy in range(5)] == [50] * 5
    assert place.ledger() == (1, 0)


@pytest.mark.parametrize(("results", "charged"), [("kept", 1), (False, 2)])
def test_an_edited_result_is_not_copied_for_another_picture(place, sandbox, results, charged):
    """An edited output is no result any more: a copy of the photo gets the kept one, or is sent where none is kept."""
    if results is False:
        place.settings["results"] = False
    with place.daemon():
        place.drop("a.jpg", photo(51))
        place.settled(1)
        (place.outbox / "a.png").write_bytes(photo(52, "png"))
        place.drop("b.jpg", photo(51))
        place.settled(2)
    assert number_in(place.outbox / "b.png") == 51
    assert (place.outbox / "a.png").read_bytes() == photo(52, "png")
    assert sandbox.charged == charged


@pytest.mark.parametrize(("results", "charged"), [("kept", 1), (False, 2)])
def test_a_removed_output_is_delivered_again(place, sandbox, results, charged):
    """A photo whose output was removed gets the kept result, or is sent again where none is kept."""
    if results is False:
        place.settings["results"] = False
    with place.daemon():
        source = place.drop("a.jpg", photo(54))
        place.settled(1)
        (place.outbox / "a.png").unlink()
        os.utime(source)
        place.wait_until((place.outbox / "a.png").exists)
        place.settled(1)
    assert number_in(place.outbox / "a.png") == 54
    assert sandbox.charged == charged


def test_other_metadata_are_no_other_picture(place, sandbox):
    """A photo that differs from a paid one in its metadata alone costs nothing."""
    with place.daemon():
        place.drop("a.jpg", photo(55))
        place.settled(1)
        place.drop("b.jpg", photo(55, comment=b"shot in the studio"))
        place.settled(2)
    assert sandbox.charged == 1
    assert number_in(place.outbox / "b.png") == 55


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
