"""What many tests need: pictures that can be told apart, a sandbox, the real daemon as a process, and waiting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest
from hypothesis import HealthCheck, settings

from rembg_watch.sandbox import Sandbox

# No deadline: a busy machine is no fault of the code. The examples are the same in every run of one version.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


LONGEST = {"test_systemd_machine.py", "test_survival_soak.py"}
"""Minutes each: begun first, so that nobody waits for them in the end."""


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="takes minutes: run it with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _no_key_from_outside():
    """No test may ever use a real key, should the environment have one."""
    os.environ.pop("REMBG_API_KEY", None)


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """What tests start can be interrupted: a shell that runs the tests in the background makes them, and it, deaf to that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def wait_until():
    """Poll a condition until it gives something true, and give that; fail after so many seconds."""

    def wait(condition, seconds=60.0, what=""):
        end = time.monotonic() + seconds
        while True:
            if result := condition():
                return result
            if time.monotonic() > end:
                state = what() if callable(what) else what
                pytest.fail(f"not within {seconds} s: {state or condition}")
            time.sleep(0.01)

    return wait


@pytest.fixture
def one_day():
    """Begin early enough for the UTC day, by which limits and usage count, to last until the test is over."""
    if (left := -time.time() % 86400) < 60:
        time.sleep(left)


@pytest.fixture
def sandbox():
    """The RemBG.com API on loopback, with plenty of credits."""
    with Sandbox(credits=10_000) as running:
        yield running


@pytest.fixture
def mount_at():
    """Mount on a folder, made if need be, with the words of mount(8) given; everything is unmounted in the end."""
    mounted = []

    def mount(where, *words):
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("mounting takes root")
        where.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", *words, where], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield mount
    for where in reversed(mounted):
        subprocess.run(["umount", "--lazy", where], capture_output=True, check=False)  # a test may have done it
