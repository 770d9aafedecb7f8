"""Where the photo itself ends, when it is done and when it can not be."""

from __future__ import annotations

import json

import pytest
from daemon_photos import number_in, photo


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
