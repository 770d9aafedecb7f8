"""A reload that changes which files are photos of a folder counts for those that wait in the queue, too."""

from __future__ import annotations

import pytest
from daemon_photos import photo


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"exclude": ["*/b.jpg"]}, "its name"), ({"include": ["a.jpg"]}, "its name"), ({"recursive": False}, "subfolder")],
)
def test_a_photo_that_a_new_config_leaves_out_is_not_sent(place, sandbox, change, reason):
    """It waits in the queue and is none of the folder's photos any more; when it is one again, it is sent."""
    with place.daemon() as daemon:
        place.cli("pause")
        place.wait_until(lambda: daemon.holds.has("all", "pause"))
        for number, name in enumerate(("a.jpg", "deep/b.jpg")):
            place.drop(name, photo(number))
        place.wait_until(lambda: len(place.states()) == 2)
        place.folder.update(change)
        place.reload(daemon)
        place.cli("resume")
        place.settled(2)
        assert place.states() == {"a.jpg": "done", "deep/b.jpg": "superseded"}
        assert reason in place.jobs()["deep/b.jpg"].message
        assert sandbox.charged == 1
        for key in change:
            del place.folder[key]
        place.reload(daemon)
        place.wait_until(lambda: place.states() == {"a.jpg": "done", "deep/b.jpg": "done"})
    assert sandbox.charged == 2


def test_a_result_that_is_paid_for_is_delivered_all_the_same(place, sandbox):
    """Only what would cost something is left out: a copy of a photo that was paid for gets its result."""
    with place.daemon() as daemon:
        place.drop("a.jpg", photo(1))
        place.settled(1)
        place.cli("pause")
        place.wait_until(lambda: daemon.holds.has("all", "pause"))
        place.drop("b.jpg", photo(1))
        place.wait_until(lambda: len(place.states()) == 2)
        place.folder["exclude"] = ["b.jpg"]
        place.reload(daemon)
        place.cli("resume")
        place.settled(2)
    assert place.states() == {"a.jpg": "done", "b.jpg": "done"}
    assert sandbox.charged == 1
