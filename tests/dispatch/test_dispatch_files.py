"""The photo that is sent and the place that its output gets: real files, and names by the thousand."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.target import Targets, names_for
from rembg_watch.errors import Refused, SourceChanged, SourceError
from rembg_watch.imagefile import MAX_BYTES
from rembg_watch.jobs.model import Output, Version
from rembg_watch.jobs.outputs import record_output


def _job(bench, path, data=None):
    bench.arrive(path, data)
    return bench.job(path)


def test_a_photo_gives_its_bytes_and_its_hash(bench, pic):
    """What is hashed and what is sent are the same bytes of the same open file."""
    data = pic()
    with Photo(_job(bench, "a.jpg", data)) as photo:
        first = photo.hash()
        photo.seek(0)
        assert photo.read() == data
        assert photo.size == len(data)
        assert (photo.header.width, photo.header.height) == (80, 60)
        assert photo.hash() == first


def test_a_photo_that_is_too_large_is_refused_here_too(bench, pic):
    """A job that is asked for again by hand does not pass intake: what the API would refuse is still never sent."""
    job = _job(bench, "a.jpg", pic())
    path = bench.inbox / "a.jpg"
    os.truncate(path, MAX_BYTES + 1)
    status = path.stat()
    with pytest.raises(Refused, match=r"50\.0 MB"):
        Photo(replace(job, version=Version(status.st_size, status.st_mtime_ns)))


@pytest.mark.parametrize("change", ["write", "touch", "truncate", "grow"])
def test_the_last_bytes_of_a_changed_photo_are_never_given(bench, pic, change):
    """Whatever is done to the open file, the request can't be completed."""
    path = bench.inbox / "a.jpg"
    path.write_bytes(pic(size=(400, 300)))
    os.utime(path, ns=(1, 1))  # long ago: the file system's clock may not tick between this and the change
    job = _job(bench, "a.jpg")
    with Photo(job) as photo:
        photo.hash()
        photo.seek(0)
        assert len(photo.read(100)) == 100
        match change:
            case "write":
                with path.open("r+b") as file:
                    file.seek(500)
                    file.write(b"other")
            case "touch":
                os.utime(path, ns=(2, 2))
            case "truncate":
                os.truncate(path, 300)
            case _:
                with path.open("ab") as file:
                    file.write(b"more")
        got = 100
        with suppress(SourceChanged):
            while block := photo.read(64):
                got += len(block)
        assert got < job.version.size
        with pytest.raises(SourceChanged):
            photo.check()


def test_what_can_not_be_sent_is_told_by_its_kind(bench, pic):
    """Gone, another version, a folder behind a link, no picture: each has its own error."""
    job = _job(bench, "a.jpg", pic())
    (bench.inbox / "a.jpg").unlink()
    with pytest.raises(SourceChanged):
        Photo(job)
    (bench.inbox / "a.jpg").symlink_to("/etc/hostname")
    with pytest.raises(SourceError):
        Photo(job)
    with pytest.raises(Refused):
        Photo(_job(bench, "b.jpg", b"text"))
    with pytest.raises(Refused, match="10001"):
        Photo(_job(bench, "c.bmp", pic(size=(10001, 1), form="BMP")))


def test_what_could_not_be_opened_is_closed_without_an_error():
    """Python closes such a file too when it takes it away, and says on stderr what goes wrong there."""
    photo = Photo.__new__(Photo)
    photo.close()
    assert photo.closed


def test_an_owned_place_is_replaced_and_a_foreign_one_never(bench, pic):
    """The source's own output is its place again; what belongs to others, or to nobody we know, is left alone."""
    targets = Targets(bench.outputs)
    job = _job(bench, "a.jpg", pic())
    names = names_for(job, bench.folder, bench.profile, "0" * 64, bench.now)
    with targets.reserve(job, str(bench.outbox), names) as target:
        assert (target.relpath, target.replace) == ("a.png", False)
        other = _job(bench, "a.webp", pic(form="WEBP"))
        with targets.reserve(
            other, str(bench.outbox), names_for(other, bench.folder, bench.profile, "0" * 64, bench.now)
        ) as second:
            assert second.relpath == "a.webp.png"
    (bench.outbox / "a.png").write_bytes(b"somebody's")
    with targets.reserve(job, str(bench.outbox), names) as target:
        assert (target.relpath, target.replace) == ("a.jpg.png", False)
    output = Output(str(bench.outbox / "a.png"), job.id, job.folder, job.path, None, "f", "h", 1, bench.now)
    bench.database.write(lambda connection: record_output(connection, output))
    with targets.reserve(job, str(bench.outbox), names) as target:
        assert (target.relpath, target.replace) == ("a.png", True)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["a", "b", "a.b", "ä"]), min_size=2, max_size=6), st.data())
def test_reserved_places_are_never_shared(bench, stems, data):
    """However many photos are under way at once, no two have the same place."""
    targets = Targets(bench.outputs)
    jobs = [_job(bench, f"{stem}.{data.draw(st.sampled_from(['jpg', 'png', 'webp', 'bmp']))}", b"x") for stem in stems]
    unique = {job.path: job for job in jobs}.values()
    reserved, taken = [], []
    for job in unique:
        context = targets.reserve(
            job, str(bench.outbox), names_for(job, bench.folder, bench.profile, "0" * 64, bench.now)
        )
        taken.append(context.__enter__().path)
        reserved.append(context)
    assert len(set(taken)) == len(taken)
    for context in reserved:
        context.__exit__(None, None, None)
    assert targets._taken == {}
