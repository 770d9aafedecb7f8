"""An output in place counts as a source's own only where no other source could have made it."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from rembg_watch.intake.adoption import Adoption
from rembg_watch.jobs.database import Database
from rembg_watch.jobs.outputs import Outputs


@pytest.fixture
def adoption(tmp_path):
    database = Database(tmp_path / "lost-and-new.db")
    yield Adoption(Outputs(database))
    database.close()


@pytest.fixture
def deliver(tmp_path):
    """Put a result into the outbox, newer than every source of the test."""
    (tmp_path / "outbox").mkdir()

    def put(name, side=48):
        data = io.BytesIO()
        Image.new("RGB", (side, side)).save(data, "WEBP")
        (tmp_path / "outbox" / name).write_bytes(data.getvalue())
        return str(tmp_path / "outbox" / name)

    return put


def ask(adoption, folder, name):
    path = folder.inbox / name
    os.utime(path, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    return adoption(folder, name, path.stat().st_mtime_ns)


def test_an_output_that_can_only_be_its_own_is_adopted(inbox, adoption, deliver, folder_for, pic):
    """Newer than the source, of the right format and size, and no other source near."""
    (inbox / "photo.jpg").write_bytes(pic())
    output = deliver("photo.webp")
    assert ask(adoption, folder_for(inbox), "photo.jpg") == output


@pytest.mark.parametrize("other", ["photo.png", "photo.JPG", "photo.Jpg", "photo.jfif", "photo.JFIF"])
def test_an_output_that_may_be_anothers_is_not(inbox, adoption, deliver, folder_for, pic, other):
    """Rather pay again than miss a file: whatever the other one's ending is, as long as the folder includes it."""
    (inbox / "photo.jpg").write_bytes(pic())
    (inbox / other).write_bytes(pic(seed=1))
    deliver("photo.webp")
    folder = folder_for(inbox, include=("*.jpg", "*.png", "*.jfif"))
    assert ask(adoption, folder, "photo.jpg") is None
    whole = deliver(f"{other}.webp")
    assert ask(adoption, folder, other) == whole
    assert ask(adoption, folder, "photo.jpg") is not None
