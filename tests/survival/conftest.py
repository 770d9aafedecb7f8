"""A world for each test; processes that still live and mounts that still stand at its end are taken away."""

from __future__ import annotations

import pytest
import survival_mount
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
def mount():
    """Mount a tmpfs of so many KiB on a folder (root only); ``mount.away`` takes it off again."""
    mounted = []

    class Mount:
        def __call__(self, where, kib=4096):
            where.mkdir(parents=True, exist_ok=True)
            self._try("rembg-watch-test", where, "tmpfs", 0, f"size={kib}k")
            mounted.append(where)
            return where

        def bind(self, real, where):
            self._try(real, where, None, survival_mount.BIND)
            mounted.append(where)

        def _try(self, *arguments):
            try:
                survival_mount.mount(*arguments)
            except PermissionError:
                pytest.skip("mounting is not permitted here")

        def remount(self, where, flags=0, kib=4096):
            survival_mount.mount("rembg-watch-test", where, None, survival_mount.REMOUNT | flags, f"size={kib}k")

        def away(self, where):
            mounted.remove(where)
            survival_mount.unmount(where)

    yield Mount()
    for where in reversed(mounted):
        survival_mount.unmount(where)
