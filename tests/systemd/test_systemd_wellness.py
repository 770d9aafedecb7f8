"""What the watchdog asks: each loop of a real daemon, hung in turn, is named; what is merely slow is not."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from structlog.testing import capture_logs

from rembg_watch import daemon as daemon_module
from rembg_watch import systemd
from rembg_watch.api.client import RembgClient
from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon
from rembg_watch.dispatch import budget, executor, producer
from rembg_watch.dispatch.holds import Timings
from rembg_watch.intake import intake
from rembg_watch.jobs.database import Database
from rembg_watch.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rembg_watch.jobs.model import Job


class World:
    """A daemon with two folders; ``let_go`` frees whatever a test let hang."""

    def __init__(self, daemon: Daemon, sandbox: Sandbox, inbox: Path, outbox: Path) -> None:
        self.daemon = daemon
        self.sandbox = sandbox
        self.inbox = inbox
        self.outbox = outbox
        self.let_go = threading.Event()
        self.loop = threading.Thread(target=daemon.loop, daemon=True)

    def hang(self, *_: object, **__: object) -> None:
        self.let_go.wait()

    def start(self) -> None:
        self.daemon.start()
        self.daemon.intake.start()
        self.daemon.intake.first_scan_done.wait(60)
        self.loop.start()

    def stop(self) -> None:
        self.let_go.set()
        self.daemon.finish()
        if self.loop.ident is not None:
            self.loop.join(60)
        self.daemon.close()

    def drop(self, name: str = "photo", inbox: Path | None = None) -> None:
        size = (60 + len(name), 40)  # another picture for names of another length
        Image.new("RGB", size, "white").save((inbox or self.inbox) / f"{name}.png")

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert condition()

    def reason(self, word: str) -> str:
        """Wait until the watchdog's question is answered with a reason that has this word in it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if word in (self.daemon.unhealthy() or ""):
                break
            time.sleep(0.02)
        return self.daemon.unhealthy() or "well"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (tmp_path / "other").mkdir()
    with Sandbox() as sandbox:
        (tmp_path / "config.yaml").write_text(
            f"api: {{key: sk-wellness-test, url: '{sandbox.url}', usage_url: '{sandbox.usage_url}'}}\n"
            f"state_dir: {tmp_path / 'state'}\nworkers: 2\nshutdown_grace: 5\nfolders:\n"
            f"- {{inbox: {inbox}, outbox: {outbox}, settle: 0}}\n"
            f"- {{inbox: {tmp_path / 'other'}, outbox: {tmp_path / 'other-out'}, settle: 0}}\n"
        )
        daemon = Daemon(load_config(tmp_path / "config.yaml", {}), timings=Timings(late=0.2))
        world = World(daemon, sandbox, inbox, outbox)
        try:
            yield world
        finally:
            world.stop()


def test_systemd_all_loops_are_well(world: World) -> None:
    """Idle, at work and stopping: nothing to say."""
    world.start()
    assert world.daemon.unhealthy() is None
    world.drop()
    deadline = time.monotonic() + 60
    while not list(world.outbox.glob("photo.*")) and time.monotonic() < deadline:
        assert world.daemon.unhealthy() is None
        time.sleep(0.02)
    assert list(world.outbox.glob("photo.*"))
    world.daemon.finish()
    assert world.daemon.unhealthy() is None


def test_systemd_hung_inbox_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor that hangs while it reads holds its inbox: no restart would mend that, and others go on."""

    class Hanging(executor.Photo):
        def __init__(self, job: Job) -> None:
            if job.folder == str(world.inbox):
                world.hang()
            super().__init__(job)

    monkeypatch.setattr(executor, "Photo", Hanging)
    world.start()
    world.drop()
    scope = f"inbox:{world.inbox}"
    world.until(lambda: world.daemon.holds.is_open(scope))
    assert world.daemon.unhealthy() is None
    other = world.inbox.with_name("other")
    world.drop("elsewhere", other)
    world.until(lambda: list(other.with_name("other-out").iterdir()))
    world.let_go.set()
    world.until(lambda: list(world.outbox.iterdir()))
    world.until(lambda: not world.daemon.holds.has(scope))


def test_systemd_photo_that_waits_for_its_turn_is_well(world: World) -> None:
    """Photos in line behind slow answers wait for long; that is not hanging, and holds nothing."""
    world.sandbox.latency = 3600
    world.start()
    for name in ("a", "bb", "ccc"):
        world.drop(name)
    world.until(lambda: world.sandbox.working == 2)
    time.sleep(1)
    assert world.daemon.unhealthy() is None
    assert world.daemon.holds.all() == []
    world.sandbox.latency = 0


def test_systemd_hung_producer_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that takes jobs from the queue does not turn."""
    monkeypatch.setattr(producer, "TURN_SECONDS", 0.5)
    monkeypatch.setattr(producer, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(world.daemon.queue, "ready", world.hang)
    world.start()
    world.drop()
    assert world.reason("producer").startswith("the producer hangs: ")


def test_systemd_hung_account_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that asks for the credits does not turn; one that waits within the timeouts is no such thing."""
    assert budget.longest_call(world.daemon.config) > 4 * 10 + 60
    monkeypatch.setattr(budget, "longest_call", lambda _config: 0.5)
    monkeypatch.setattr(RembgClient, "membership_usage", world.hang)
    world.start()
    assert world.reason("account").startswith("the account hangs: ")


def test_systemd_full_disk_is_not_hung(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that wait for the database, because the disk is full, are well: a restart would not free any space."""
    monkeypatch.setattr(daemon_module, "RELOAD_SECONDS", 0.2)
    monkeypatch.setattr(world.daemon.intake, "roots", lambda: world.hang() or [])
    world.start()
    assert world.reason("main loop").startswith("the main loop hangs: ")
    monkeypatch.setattr(Database, "blocked", True)
    assert world.daemon.unhealthy() is None


def test_systemd_hung_intake_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that decides about files does not turn."""
    monkeypatch.setattr(intake, "TURN_SECONDS", 0.5)
    monkeypatch.setattr(world.daemon.intake._gate, "step", world.hang)
    world.start()
    assert world.reason("intake").startswith("intake hangs")


@pytest.mark.parametrize("network", [False, True])
def test_systemd_hung_walk(world: World, monkeypatch: pytest.MonkeyPatch, *, network: bool) -> None:
    """A walk that hangs on a local disk is named; on a network filesystem it is an inbox that is silent."""
    monkeypatch.setattr(intake, "WALK_SECONDS", 3.0)
    monkeypatch.setattr(intake, "SILENT_SECONDS", 2.5)
    world.start()
    patrol = world.daemon.intake._patrol

    def visit(inbox: object, **_: object) -> None:
        patrol.visiting = inbox
        inbox.network = network
        world.hang()

    monkeypatch.setattr(patrol._roots, "look", visit)
    patrol._bell.ring()
    if network:
        deadline = time.monotonic() + 60
        while world.daemon.intake.silence < 3.5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert world.daemon.unhealthy() is None
        assert world.daemon.intake.waits_for() == str(world.inbox)
    else:
        assert world.reason("walk").startswith("the walk through the inboxes hangs")


def test_systemd_hung_reload_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main loop takes no orders any more, not even SIGTERM's: another thread logs that."""
    monkeypatch.setattr(daemon_module, "RELOAD_SECONDS", 0.5)
    monkeypatch.setattr(producer, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(systemd, "FEED_SECONDS", 0.1)
    with capture_logs() as logged:
        world.start()
        monkeypatch.setattr(world.daemon, "reload", world.hang)
        world.daemon.order("reload")
        assert world.reason("main loop").startswith("the main loop hangs: ")
        world.until(lambda: any(line["event"] == "watchdog.unwell" for line in logged))
