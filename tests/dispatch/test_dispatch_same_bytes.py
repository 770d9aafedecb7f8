"""A paid answer serves other photos of the same picture at every moment of its way."""

from __future__ import annotations

import pytest

from rembg_watch.dispatch.steps import Step


@pytest.mark.parametrize("step", [Step.OPENED, Step.ANSWERED, Step.VERIFIED])
def test_a_copy_waits_while_the_answer_comes_in(world, pic, gate, step):
    """It is set aside until the answer is verified, and then served from the store."""
    held = gate(step)
    with world.running(failpoint=held) as daemon:
        world.drop("a.jpg", pic())
        held.wait()
        world.drop("b.jpg", pic())
        world.wait_until(lambda: any(daemon._parts.claims._keys.values()))
        assert world.states()["b.jpg"] == "queued"
        held.open()
        world.wait_done(2)
    assert world.jobs()["b.jpg"].how == "reused"
    assert (world.outbox / "b.png").read_bytes() == (world.outbox / "a.png").read_bytes()
    assert world.sandbox.charged == 1


@pytest.mark.parametrize("step", [Step.SYNCED, Step.MARKED_RECEIVED, Step.PLACED, Step.PLACE_SYNCED])
def test_a_copy_is_served_while_the_answer_is_delivered(world, pic, gate, step):
    """The store has the answer whatever becomes of its delivery: into another outbox the copy does not even wait."""
    other, other_outbox = world.add_folder("other")
    held = gate(step)
    with world.running(failpoint=held):
        world.drop("a.jpg", pic())
        held.wait()
        world.drop("b.jpg", pic(), other)
        world.wait_until(lambda: world.delivered(other_outbox))
        held.open()
        world.wait_done(2)
    assert world.sandbox.charged == 1


def test_a_copy_in_a_failing_store_waits_until_the_answer_is_delivered(world, pic, gate, monkeypatch):
    """The answer is in the outbox alone: nobody could find it, so the copy is not offered again before it is in place."""
    held = gate(Step.SYNCED)

    def fail(*_):
        raise OSError(5, "Input/output error")

    with world.running(failpoint=held) as daemon:
        with monkeypatch.context() as patch:
            patch.setattr("rembg_watch.dispatch.results.Results.rename", fail)
            world.drop("a.jpg", pic())
            held.wait()
        world.drop("b.jpg", pic())
        world.wait_until(lambda: any(daemon._parts.claims._keys.values()))
        held.open()
        world.wait_done(2)
    assert world.sandbox.charged == 1
