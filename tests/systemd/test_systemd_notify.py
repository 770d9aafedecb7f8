"""sd_notify over a real socket, and the watchdog that is only fed while every loop is well."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from rembg_watch import systemd as systemd_module
from rembg_watch.systemd import LONGEST_STATUS, Watchdog, extend, notify, reloading, watchdog_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket such as systemd's, of either kind, named in the environment."""
    shown = str(tmp_path / "notify") if request.param == "path" else f"@rembg-watch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + shown[1:] if shown.startswith("@") else shown)
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        yield sock


def said(sock: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in sock.recv(8192).decode().splitlines())


def test_systemd_notify_arrives(systemd: socket.socket) -> None:
    """Variables arrive in one datagram; a status stays one line, however long or broken its text is."""
    assert notify(READY=1, STATUS="a\nb\r\n" + "c" * 1000)
    heard = said(systemd)
    assert heard["READY"] == "1"
    assert heard["STATUS"].startswith("a b ccc")
    assert len(heard["STATUS"]) == LONGEST_STATUS
    assert notify(STATUS="photo-\udcff.jpg")
    assert said(systemd)["STATUS"] == "photo-?.jpg"


def test_systemd_reload_and_extension(systemd: socket.socket) -> None:
    """A reload begins with the monotonic time; more time is asked for in microseconds."""
    before = time.monotonic_ns() // 1000
    reloading()
    heard = said(systemd)
    assert heard["RELOADING"] == "1"
    assert before <= int(heard["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    extend(2.5)
    assert said(systemd) == {"EXTEND_TIMEOUT_USEC": "2500000"}


def test_systemd_without_it_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No socket, or one where nobody listens, is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(READY=1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify(READY=1)


def test_systemd_watchdog_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's time counts only for the process that it is meant for, and only where it is a number."""
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert watchdog_seconds() == 60
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 60
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_seconds() is None


def test_systemd_watchdog_is_only_fed_while_all_are_well(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unwell loop stops the feeding, whoever calls, and says why; once well again it is fed again."""
    monkeypatch.setattr(systemd_module, "FEED_SECONDS", 0.0)
    reason: list[str | None] = [None]
    watchdog = Watchdog(lambda: reason[0])
    watchdog.feed()
    assert said(systemd) == {"WATCHDOG": "1"}
    reason[0] = "the producer hangs"
    watchdog.feed()
    watchdog.feed()
    assert said(systemd) == {"STATUS": "not well: the producer hangs"}
    assert watchdog.reason == "the producer hangs"
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(8192)
    reason[0] = None
    watchdog.feed()
    assert said(systemd) == {"WATCHDOG": "1"}
    assert watchdog.reason is None


def test_systemd_watchdog_is_not_asked_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy loop turns hundreds of times a second; the looking stays rare."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.setattr(systemd_module, "FEED_SECONDS", 3600.0)
    asked: list[int] = []
    watchdog = Watchdog(lambda: asked.append(1))  # type: ignore[func-returns-value]
    for _ in range(100):
        watchdog.feed()
    assert len(asked) == 1
