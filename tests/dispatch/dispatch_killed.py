"""Runs that die at a step, and answers that lie in the spool since."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from PIL import Image

from rembg_watch.api.options import Options
from rembg_watch.config.model import Profile
from rembg_watch.dispatch import worker
from rembg_watch.dispatch.answer import Sink, spool_file
from rembg_watch.dispatch.contents import Contents
from rembg_watch.dispatch.steps import Step

RED = Profile("plain", Options(format="png", bg_color="#ff0000"))


class Killed(BaseException):
    """The process ends here."""


def kill(bench, step, meanwhile=lambda: None):
    """Let the process die at a step: nothing is tidied up, what is open is closed, the next run takes the job back."""

    def at(reached):
        if reached is Step.ANSWERED:
            meanwhile()
        if reached is step:
            raise Killed

    bench.at = at
    job = bench.claim()
    really, sinks = worker._open, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sink, "discard", lambda _sink: None)
        patch.setattr(worker, "_open", lambda *way: sinks.append(really(*way)) or sinks[-1])
        with pytest.raises(Killed):
            bench.worker.run(job)
    for sink in sinks:
        sink._temp.close()
    bench.at = lambda _step: None
    bench.worker._tools = replace(bench.worker._tools, contents=Contents())
    bench.store.take_back(bench.now)


def keep(bench, pic, path="a.jpg"):
    """Have an answer that is written down, in the spool: its outbox had no room. Gives its file."""
    bench.arrive(path, pic())
    kill(bench, Step.MARKED_RECEIVED)
    job = bench.job(path)
    place = spool_file(bench.state, "kept")
    (bench.state / "spool").mkdir()
    os.rename(job.temp, place)
    bench.database.write(lambda db: db.execute("UPDATE jobs SET temp = ? WHERE id = ?", (place, job.id)))
    return place


def red_from_now_on(bench):
    bench.folder = replace(bench.folder, profile=RED)
    bench.config = replace(bench.config, folders=(bench.folder,), profiles={"plain": RED})


def corner(bench, name="a.png"):
    with Image.open(bench.outbox / name) as result:
        return result.convert("RGBA").getpixel((0, 0))


def leftovers(bench):
    spool = bench.state / "spool"
    return [*bench.outbox.rglob(".rembg-watch-*"), *(spool.iterdir() if spool.exists() else ())]
