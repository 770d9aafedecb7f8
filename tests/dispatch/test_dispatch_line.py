"""One photo from its claim to its end, and what becomes of it where it can't be sent."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from dispatch_pictures import QUICK
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.delivery import candidates
from rembg_watch.dispatch.photo import Photo
from rembg_watch.dispatch.steps import Step
from rembg_watch.dispatch.targets import Targets
from rembg_watch.errors import Refused, SourceChanged, SourceError, StateError
from rembg_watch.imagefile import MAX_BYTES
from rembg_watch.jobs.model import Output, Version


def job_of(file, inbox):
    """Return what a job says of a file."""
    status = file.lstat()
    version = Version(status.st_size, status.st_mtime_ns)
    return SimpleNamespace(folder=str(inbox), path=str(file.relative_to(inbox)), version=version)


def test_the_steps_come_in_their_order(world, pic):
    """A photo is marked as sent before its body goes out, as received before its name is given, as done after that."""
    steps, rows = [], []

    def look(step):
        steps.append(step)
        if step is Step.MARKED_SENT:
            rows.append((world.jobs()["sub/a.jpg"], world.ledger(), len(world.sandbox.requests)))

    with world.running(failpoint=look):
        world.drop("sub/a.jpg", pic())
        world.wait_done()
    assert steps == [step for step in Step if step is not Step.TIDIED]
    ((job, ledger, requests),) = rows
    assert (job.state, job.output, ledger, requests) == ("running", str(world.outbox / "sub/a.png"), (0, 1), 0)
    assert job.content_hash
    assert job.api_sent_at
    assert [path.name for path in (world.outbox / "sub").iterdir()] == ["a.png"]
    assert world.ledger() == (1, 0)


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.READ, Step.FOUND, Step.MARKED_SENT, Step.OPENED])
@pytest.mark.parametrize("what", ["changed", "removed", "touched"])
def test_a_photo_that_changes_before_its_last_byte_is_out_costs_nothing(world, pic, step, what):
    """Its job is superseded, the watcher is told to look again, and no request is completed."""
    file = world.inbox / "a.jpg"

    def spoil(now):
        if now is not step:
            return
        if what == "changed":
            file.write_bytes(pic("blue"))
        elif what == "touched":
            os.utime(file, ns=(1, 1))
        else:
            file.unlink()

    with world.running(failpoint=spoil) as daemon:
        looked = []
        daemon.intake.offer = lambda *where: looked.append(where)
        world.drop("a.jpg", pic())
        world.wait_for(a="superseded")
        world.wait_until(lambda: looked)
        world.wait_until(lambda: not len(daemon._parts.claims) and not daemon._parts.targets._reserved)
    assert looked == [(str(world.inbox), "a.jpg")]
    assert world.sandbox.charged == 0
    assert world.ledger() == (0, 0)
    assert not [*world.outbox.iterdir(), *world.results.glob("??/*")]


@pytest.mark.parametrize("change", ["write", "touch", "truncate", "grow"])
def test_the_last_bytes_of_a_changed_photo_are_never_returned(tmp_path, pic, change):
    """Whatever is done to the open file, the request can't be completed."""
    file = tmp_path / "a.png"
    file.write_bytes(pic(size=(400, 300), form="PNG", noise=True))
    os.utime(file, ns=(1, 1))  # long ago: the filesystem's clock may not tick between this and the change
    job = job_of(file, tmp_path)
    with Photo(job) as photo:
        photo.seek(0)
        assert len(photo.read(100)) == 100
        match change:
            case "write":
                with file.open("r+b") as writer:
                    writer.seek(500)
                    writer.write(b"other")
            case "touch":
                os.utime(file, ns=(2, 2))
            case "truncate":
                os.truncate(file, 300)
            case _:
                with file.open("ab") as writer:
                    writer.write(b"more")
        got = 100
        with suppress(SourceChanged):
            while block := photo.read(4096):
                got += len(block)
        assert got < job.version.size
        with pytest.raises(SourceChanged):
            photo.check()


def test_what_can_not_be_sent_has_its_own_error(tmp_path, pic):
    """Gone, a link, no picture, too many pixels or bytes: each is told apart, and refused before a request."""
    file = tmp_path / "a.jpg"
    file.write_bytes(pic())
    job = job_of(file, tmp_path)
    file.unlink()
    with pytest.raises(SourceChanged):
        Photo(job)
    file.symlink_to("/etc/hostname")
    with pytest.raises(SourceError):
        Photo(job)
    for name, data, words in (("b.jpg", b"text", "."), ("c.bmp", pic(size=(10001, 1), form="BMP"), "10001")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Refused, match=words):
            Photo(job_of(tmp_path / name, tmp_path))
    (tmp_path / "d.jpg").write_bytes(pic())
    os.truncate(tmp_path / "d.jpg", MAX_BYTES + 1)
    with pytest.raises(Refused, match=r"50\.0 MB"):
        Photo(job_of(tmp_path / "d.jpg", tmp_path))
    closed = Photo.__new__(Photo)  # as Python closes one whose __init__ raised
    closed.close()


def test_a_photo_behind_a_link_is_not_sent(world, pic):
    """A folder that became a link after the photo came in leads nowhere."""
    with world.running():
        world.pause()
        world.drop("sub/a.jpg", pic())
        (world.inbox / "sub").rename(world.root / "elsewhere")
        (world.inbox / "sub").symlink_to(world.root / "elsewhere")
        world.resume()
        world.wait_until(lambda: world.states()["sub/a.jpg"] == "superseded")
    assert not world.sandbox.requests


@pytest.mark.parametrize("fails", [False, True])
def test_a_refused_photo_is_moved_with_its_reason(world, pic, monkeypatch, fails):
    """What the API would refuse fails without a request; where its move can't be written down at once, it is later."""
    world.folder.update(on_failure="move", failed=str(world.root / "failed"))
    with world.running() as daemon:
        tidied, errors = daemon.queue.tidied, [StateError("no room left", "Free some.")] * fails

        def fail(job):
            if errors:
                raise errors.pop()
            tidied(job)

        monkeypatch.setattr(daemon.queue, "tidied", fail)
        world.drop("a.jpg", b"\xff\xd8\xffnot really")
        world.wait_for(a="failed")
        world.wait_until((world.root / "failed" / "a.jpg").exists)
        world.drop("b.jpg", pic())
        world.wait_for(b="done")
    assert not (world.inbox / "a.jpg").exists()
    assert [request.status for request in world.sandbox.requests] == [200]


@pytest.mark.parametrize(
    ("faults", "held", "state"),
    [
        (["413"], set(), "failed"),
        (["429"], set(), "queued"),
        (["401"], {("all", "key")}, "queued"),
        (["429-monthly"], {("all", "credits")}, "queued"),
        (["503"] * 5, {("all", "service")}, "waiting"),
    ],
)
def test_each_answer_reaches_as_far_as_it_concerns(world, pic, faults, held, state):
    """One picture: no other; the pace: nothing is held; the account, or a service that fails again and again: all."""
    world.settings.update(retry={"base_delay": 0.01, "max_delay": 0.02, "max_attempts": 50}, workers=1)
    with world.running(timings=None) as daemon:
        world.sandbox.next(*faults)
        world.drop("a.jpg", pic())
        world.wait_until(lambda: len(world.sandbox.requests) >= len(faults))
        world.wait_until(lambda: len(daemon._parts.claims) == 0 or not held)
        if held:
            world.wait_until(lambda: {(hold.scope, hold.kind) for hold in daemon.holds.all()} == held)
            assert world.states()["a.jpg"] == state
        elif state == "failed":
            world.wait_for(a="failed")
        else:
            world.wait_done()
        assert {(hold.scope, hold.kind) for hold in daemon.holds.all()} == held


def test_an_owned_place_is_replaced_and_a_foreign_one_never(world, pic):
    """A source's own output is its place again; what belongs to another source, or to nobody known, is left alone."""
    (world.outbox / "foreign.png").write_bytes(b"somebody's")
    with world.running():
        world.drop_all({"a.jpg": pic(), "a.png": pic("blue", form="PNG"), "foreign.jpg": pic("green")})
        world.wait_done(3)
        world.drop("a.jpg", pic("black", (90, 70)))
        world.wait_done(4)
    assert sorted(world.delivered()) == sorted({"foreign.png", "foreign.jpg.png", "a.png", *world.delivered()})
    assert len(world.delivered()) == 4
    assert (world.outbox / "foreign.png").read_bytes() == b"somebody's"
    with Image.open(world.jobs()["a.jpg"].output) as result:
        assert result.size == (90, 70)
    assert len({job.output for job in world.jobs().values()}) == 3


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "a.b", "ä"]), st.sampled_from(["jpg", "png", "webp"])), unique=True)
)
def test_reserved_places_are_never_shared(names):
    """However many photos are on their way at once, no two have the same place; all places are free again after them."""
    owned = Output("/out/a.png", 1, "/in", "b.jpg", None, "f", "h", 1, 1.0)
    targets = Targets(SimpleNamespace(at=lambda paths: {"/out/a.png": owned} if "/out/a.png" in paths else {}))
    reserved = []
    for stem, extension in names:
        path = f"{stem}.{extension}"
        paths = [f"/out/{name}" for name in candidates(path, "{stem}.{ext}", "png", "p", "2026-01-01", "0" * 64)]
        reserved.append(targets.reserve(SimpleNamespace(folder="/in", path=path), "/out", paths))
    assert len({target.path for target in reserved}) == len(reserved)
    assert all(target.replace == (target.path == "/out/a.png") for target in reserved)
    for target in reserved:
        targets.release(target)
    assert targets._reserved == {}


def test_sources_that_can_not_be_put_away_do_not_stand_before_the_others(world, pic):
    """The archive's disk refuses one of them: all others are archived, and it is tried again."""
    world.folder.update(on_success="archive", archive=str(world.root / "archive"))
    (world.root / "archive").mkdir()
    (world.root / "archive" / "sub").write_bytes(b"a file where a folder should be")
    with world.running(timings=replace(QUICK, tidy=0.05)):
        world.drop("sub/a.jpg", pic())
        world.wait_done()
        world.drop_all({f"{number}.jpg": pic(size=(60 + number, 60)) for number in range(5)})
        world.wait_until(lambda: len(list((world.root / "archive").iterdir())) == 6)
        (world.root / "archive" / "sub").unlink()
        world.wait_until((world.root / "archive" / "sub" / "a.jpg").exists)
    assert not [path for path in world.inbox.rglob("*") if path.is_file()]
