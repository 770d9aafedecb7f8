"""Stops, kills and hung loops: nothing is lost, nothing is paid twice, and work goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from starting import SHOP
from tools import (
    ETC,
    HOME,
    api,
    check,
    config,
    delivered,
    drop,
    drop_in,
    journal,
    must,
    photos,
    pid,
    results_in,
    run,
    show,
    start,
    status,
    stop,
    until,
)

HUNG = ("worker", "dispatcher", "intake", "walk", "reload", "interpreter")


def in_flight(count: int) -> bool:
    return until(lambda: api()["in_flight"] >= count, 20)


def stop_in_flight() -> None:
    """TimeoutStopSec is 3 s, what is in flight takes longer, and more photos wait."""
    api("set", latency=5.0)
    before = api()["charged"]
    mine = photos(7)
    drop(mine, SHOP[0])
    in_flight(4)
    took = stop()
    done = len(results_in(SHOP[1]) & {file.stem for file in mine})
    well = (show("Result"), done) == ("success", 4)
    check("stop waits for what is in flight, beyond TimeoutStopSec", well and took > 3, (took, show("Result"), done))
    api("set", latency=0.0)
    start()
    check("the rest is done after the next start", until(lambda: delivered(mine), 20), status())
    check("none was paid twice", api()["charged"] - before == 7, api()["charged"] - before)


def stop_that_is_cut_short() -> None:
    """What is in flight takes longer than shutdown_grace allows."""
    config("config", SHOP, shutdown_grace=1)
    must("systemctl", "reload", "rembg-watch")
    api("set", latency=6.0)
    before = api()["charged"]
    mine = photos(3)
    drop(mine, SHOP[0])
    in_flight(3)
    took = stop()
    api("set", latency=0.0)
    start()
    well = until(lambda: delivered(mine), 20)
    check("a stop beyond shutdown_grace ends in time, and nothing is lost", well and took < 5, (took, status()))
    _told_as_possible("rembg-watch", api()["charged"] - before - 3)
    config("config", SHOP)
    must("systemctl", "reload", "rembg-watch")


def stop_that_hangs() -> None:
    """The process never ends by itself, and is killed after TimeoutStopSec with photos in flight."""
    unit, folders = _hanging("stop")
    start(unit)
    api("set", latency=8.0)
    before = api()["charged"]
    mine = photos(3)
    drop(mine, folders[0])
    in_flight(3)
    took = stop(unit)
    killed_ = (show("Result", unit), took >= 3)
    check("a stop that hangs is ended after TimeoutStopSec", killed_ == ("timeout", True), (killed_, took))
    api("set", latency=0.0)
    start(unit)
    check("and nothing is lost by that", until(lambda: delivered(mine, folders[1]), 20), status(unit))
    _told_as_possible("rembg-watch/stop", api()["charged"] - before - 3)
    stop(unit)


def _told_as_possible(state: str, extra: int) -> None:
    name = "stop" if state.endswith("/stop") else "config"
    env = {**os.environ, "STATE_DIRECTORY": f"/var/lib/{state}"}
    report = run(HOME / "bin/rembg-watch", "credits", "report", "--json", "-c", ETC / f"{name}.yaml", env=env)
    possibly = re.findall(r'"possibly[a-z_]*": (\d+)', report.stdout)
    told = extra <= 3 <= max(map(int, possibly), default=0)
    check(f"the three that were cut off are told as possibly charged ({extra} were paid twice)", told, report)


def _hanging(part: str) -> tuple[str, tuple[str, str]]:
    """Prepare an instance in which one part is to hang; give its unit, inbox and outbox."""
    program = Path("/usr/local/lib/hang.py")
    if not program.exists():
        program.write_text((Path(__file__).parent / "hang.py").read_text())
        command = f"{HOME}/bin/python -B {program} %i {ETC}/%i.yaml"
        drop_in("rembg-watch@", "60-hang", f"[Service]\nTimeoutStartSec=10s\nExecStart=\nExecStart={command}\n")
    folders = (f"/srv/photos/{part}-in", f"/srv/photos/{part}-out")
    must("runuser", "-u", "ftpuser", "--", "mkdir", "-p", "-m", "2770", *folders)
    config(part, folders)
    (ETC / f"{part}.key").write_text((ETC / "key").read_text())
    return f"rembg-watch@{part}", folders


def killed() -> None:
    api("set", latency=2.0)
    mine = photos(6)
    number, restarts = pid(), int(show("NRestarts"))
    drop(mine, SHOP[0])
    in_flight(4)
    os.kill(number, signal.SIGKILL)
    api("set", latency=0.0)
    again = until(lambda: pid() not in {0, number} and int(show("NRestarts")) > restarts, 10)
    check("kill -9: it is restarted", again, show("ActiveState"))
    check("kill -9: work goes on, nothing is lost", until(lambda: delivered(mine), 20), status())


def frozen() -> None:
    number = pid()
    os.kill(number, signal.SIGSTOP)
    again = until(lambda: pid() not in {0, number} and show("ActiveState") == "active", 20)
    check("kill -STOP: the watchdog ends it, and it is restarted", again and "Watchdog timeout" in journal())
    mine = photos(1)
    drop(mine, SHOP[0])
    check("kill -STOP: work goes on", until(lambda: delivered(mine), 15), status())


def hung_loops() -> None:
    """Each in an instance of its own, all at once: they hang at their first run, and must be restarted."""
    stop()
    mine = dict(zip((*HUNG, "observer", "slow-start"), photos(8), strict=True))
    for part, photo in mine.items():
        drop([photo], _hanging(part)[1][0])
    must("systemctl", "start", "--no-block", *(f"rembg-watch@{part}" for part in mine))
    until(lambda: show("ActiveState", "rembg-watch@reload") == "active")
    must("systemctl", "kill", "-s", "HUP", "rembg-watch@reload")
    for part in HUNG:
        unit = f"rembg-watch@{part}"
        again = until(lambda u=unit: int(show("NRestarts", u)) > 0, 40)
        said = journal(unit)
        check(
            f"{part} hangs: the watchdog hears nothing, and it is restarted", again and "Watchdog timeout" in said, said
        )
        if part != "interpreter":
            check(
                f"{part} hangs: the journal says what hung, with the stacks",
                "watchdog.unwell" in said and "File " in said,
            )
        done = until(lambda p=part: delivered([mine[p]], f"/srv/photos/{p}-out"), 25)
        check(f"{part} hangs: the photo is delivered after that", done, status(unit))
    unit = "rembg-watch@observer"
    until(lambda: "intake.watcher_died" in journal(unit))
    drop(photos(1), "/srv/photos/observer-in")
    done = until(lambda: len(results_in("/srv/photos/observer-out")) == 2, 15)
    said = journal(unit)
    alone = "intake.watcher_died" in said and show("NRestarts", unit) == "0"
    check("a dead observer alone is replaced without a restart", alone and done, said)
    unit = "rembg-watch@slow-start"
    well = until(lambda: show("ActiveState", unit) == "active", 20) and show("NRestarts", unit) == "0"
    check("a first scan longer than TimeoutStartSec gets the time it needs", well, status(unit))
    run("systemctl", "stop", *(f"rembg-watch@{part}" for part in mine))
    drop_in("rembg-watch@", "60-hang", None)
    start()
