"""What the watchdog asks: each loop of a real daemon, hung or dead in turn, is named; a slow one is not."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from rembg_watch.config.load import load_config
from rembg_watch.daemon import Daemon
from rembg_watch.dispatch import dispatcher, rest
from rembg_watch.dispatch.steps import Step
from rembg_watch.intake import intake
from rembg_watch.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class World:
    """A daemon with one folder; ``let_go`` frees whatever a test let hang."""

    def __init__(self, daemon: Daemon, inbox: Path, outbox: Path) -> None:
        self.daemon = daemon
        self.inbox = inbox
        self.outbox = outbox
        self.let_go = threading.Event()
        self.at: Callable[[Step], object] = lambda _step: None

    def hang(self, *_: object, **__: object) -> None:
        self.let_go.wait()

    def start(self) -> None:
        self.daemon.start()
        self.daemon.intake.start()
        self.daemon.intake.first_scan_done.wait(60)

    def drop(self) -> None:
        Image.new("RGB", (60, 40), "white").save(self.inbox / "photo.png")

    def reason(self, word: str) -> str:
        """Wait until the watchdog's question is answered with a reason that has this word in it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if word in (self.daemon._unwell() or ""):
                break
            time.sleep(0.02)
        return self.daemon._unwell() or "well"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    with Sandbox() as sandbox:
        (tmp_path / "config.yaml").write_text(
            f"api: {{key: sk-wellness-test, url: '{sandbox.url}', usage_url: '{sandbox.usage_url}'}}\n"
            f"state_dir: {tmp_path / 'state'}\nworkers: 2\nshutdown_grace: 5\n"
            f"folders: [{{inbox: {inbox}, outbox: {outbox}, settle: 0}}]\n"
        )
        daemon = Daemon(load_config(tmp_path / "config.yaml", {}), at=lambda step: world.at(step))  # noqa: PLW0108 - later
        world = World(daemon, inbox, outbox)
        try:
            yield world
        finally:
            world.let_go.set()
            daemon.stop()


def test_systemd_all_loops_are_well(world: World) -> None:
    """Idle, at work and stopping: nothing to say."""
    world.start()
    assert world.daemon._unwell() is None
    world.drop()
    deadline = time.monotonic() + 60
    while not list(world.outbox.glob("photo.*")) and time.monotonic() < deadline:
        assert world.daemon._unwell() is None
        time.sleep(0.02)
    assert list(world.outbox.glob("photo.*"))
    world.daemon.stop()
    assert world.daemon._unwell() is None


def test_systemd_hung_worker_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stays at one step for longer than any request may take."""
    monkeypatch.setattr(dispatcher, "lease_seconds", lambda _config: 0.5)
    world.at = lambda step: world.hang() if step is Step.READ else None
    world.start()
    world.drop()
    assert world.reason("one step").startswith("worker-")


def test_systemd_worker_that_waits_for_its_turn_is_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow pace makes workers wait for long; that is not hanging."""
    monkeypatch.setattr(dispatcher, "lease_seconds", lambda _config: 0.2)
    line = world.daemon.dispatcher._line
    with line.place(lambda: True), line.place(lambda: True):  # both of its places are taken
        world.start()
        world.drop()
        deadline = time.monotonic() + 60
        while not line._first.locked() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert line._first.locked()
        time.sleep(0.3)
        assert world.daemon._unwell() is None


def test_systemd_dead_worker_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that an error has ended, with the error."""
    monkeypatch.setattr(world.daemon.dispatcher._crew, "_settle", lambda *_: {}["settled"])
    world.start()
    world.drop()
    assert world.reason("has died").endswith(" has died: 'settled'")


def test_systemd_hung_dispatcher_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that does not turn; one that waits for its usage call within the timeouts is no such thing."""
    assert dispatcher.longest_turn(world.daemon.config) > 2 * (4 * 10 + 60)
    monkeypatch.setattr(dispatcher, "longest_turn", lambda _config: rest.LOOK_SECONDS + 0.5)
    monkeypatch.setattr(world.daemon.dispatcher, "_look_outside", world.hang)
    world.start()
    assert world.reason("dispatcher").startswith("the dispatcher hangs")


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
        assert world.daemon._unwell() is None
        assert world.daemon.intake.waits_for() == str(world.inbox)
    else:
        assert world.reason("walk").startswith("the walk through the inboxes hangs")


def test_systemd_hung_reload_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders are not taken any more: not even SIGTERM's."""
    world.start()
    monkeypatch.setattr(world.daemon._orders, "beat", time.monotonic() - 301)
    assert str(world.daemon._unwell()).startswith("a reload hangs for ")
