"""A world for each test; processes that still live and mounts that still stand at its end are taken away."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from survival_world import World


@pytest.fixture(scope="session")
def _stopping():
    """Sandboxes that are on their way down; all are by the end of the session."""
    threads = []
    yield threads
    for thread in threads:
        thread.join()


@pytest.fixture
def make_world(tmp_path, _stopping):
    """Make a world with a sandbox of the given settings."""
    made = []

    def make(name="world", **sandbox):
        world = World((tmp_path / name).resolve(), **sandbox)
        made.append(world)
        return world

    yield make
    _stopping += [world.close() for world in made]


@pytest.fixture
def world(make_world):
    return make_world()


@pytest.fixture
def mount(request):
    """Mount a tmpfs of so many KiB on a folder (root only); ``mount.away`` takes it off again."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting takes root")
    mounted = []

    class Mount:
        def __call__(self, where, kib=4096, options=""):
            where.mkdir(parents=True, exist_ok=True)
            more = f",{options}" if options else ""
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={kib}k{more}", "rembg-watch-test", where],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
            mounted.append(where)
            return where

        def remount(self, where, options):
            subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)

        def away(self, where):
            mounted.remove(where)
            subprocess.run(["umount", "--lazy", where], check=True)

    yield Mount()
    for where in reversed(mounted):
        subprocess.run(["umount", "--lazy", where], check=False)
