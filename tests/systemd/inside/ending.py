"""Stops, kills and hung loops: nothing is lost, nothing is paid twice, and work goes on."""

from __future__ import annotations

import os
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
    """What is in flight takes longer than shutdown_grace; then a process that does not stop at all."""
    config("config", SHOP, shutdown_grace=1)
    must("systemctl", "reload", "rembg-watch")
    for name, freeze in (("beyond shutdown_grace", False), ("of a frozen process, which is killed", True)):
        api("set", latency=6.0)
        before = api()["charged"]
        mine = photos(3)
        drop(mine, SHOP[0])
        in_flight(3)
        if freeze:
            drop_in("rembg-watch", "55-no-watchdog", "[Service]\nWatchdogSec=0\n")
            os.kill(pid(), signal.SIGSTOP)
        took = stop()
        api("set", latency=0.0)
        drop_in("rembg-watch", "55-no-watchdog", None)
        start()
        well = until(lambda m=mine: delivered(m), 20)
        check(f"a stop {name}: in {took:.0f} s, and nothing is lost", well and took < 6, (took, status()))
        extra = api()["charged"] - before - 3
        said = must(HOME / "bin/rembg-watch", "credits", "report", "--json", env=_env())
        check("what may have been paid twice is told as possibly charged", extra <= 3 and "possibly" in said, said)
    config("config", SHOP)
    must("systemctl", "reload", "rembg-watch")


def _env() -> dict[str, str]:
    return {**os.environ, "STATE_DIRECTORY": "/var/lib/rembg-watch"}


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
    program = Path("/usr/local/lib/hang.py")
    program.write_text((Path(__file__).parent / "hang.py").read_text())
    drop_in(
        "rembg-watch@", "60-hang", f"[Service]\nExecStart=\nExecStart={HOME}/bin/python -B {program} %i {ETC}/%i.yaml\n"
    )
    mine = dict(zip((*HUNG, "observer"), photos(7), strict=True))
    for part, photo in mine.items():
        for folder in ("in", "out"):
            must("runuser", "-u", "ftpuser", "--", "mkdir", "-p", "-m", "2770", f"/srv/photos/{part}-{folder}")
        config(part, (f"/srv/photos/{part}-in", f"/srv/photos/{part}-out"))
        (ETC / f"{part}.key").write_text((ETC / "key").read_text())
        drop([photo], f"/srv/photos/{part}-in")
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
    for part in mine:
        run("systemctl", "stop", f"rembg-watch@{part}")
    drop_in("rembg-watch@", "60-hang", None)
    start()
