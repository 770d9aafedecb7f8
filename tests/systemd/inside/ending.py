"""Stops, kills and hung loops: nothing is lost, nothing is paid twice, and work goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import service
import shop
from tools import BIN, ETC, HOME, api, check, must, run, until

HUNG = ("producer", "account", "intake", "walk", "reload", "interpreter")


def in_flight(count: int) -> bool:
    return until(lambda: api()["working"] >= count)


def stop_in_flight() -> None:
    """TimeoutStopSec is 3 s, what is in flight takes longer, and more photos wait."""
    api("set", latency=600.0)
    before = api()["charged"]
    mine = shop.photos(7)
    shop.drop(mine, shop.FOLDERS[0])
    in_flight(4)
    began = time.monotonic()
    must("systemctl", "stop", "--no-block", "rembg-watch")
    until(lambda: service.show("ActiveState") == "deactivating")
    time.sleep(4)
    api("set", latency=0.0)
    until(lambda: service.show("ActiveState") in {"inactive", "failed"})
    took = time.monotonic() - began
    done = len(shop.results_in(shop.FOLDERS[1]) & {file.stem for file in mine})
    well = (service.show("Result"), done) == ("success", 4)
    check(
        "stop waits for what is in flight, beyond TimeoutStopSec",
        well,
        (took, service.show("Result"), done),
    )
    service.start()
    check("the rest is done after the next start", until(lambda: shop.delivered(mine)), service.status())
    check("none was paid twice", api()["charged"] - before == 7, api()["charged"] - before)


def stop_that_is_cut_short() -> None:
    """What is in flight takes longer than shutdown_grace allows."""
    shop.config("config", shop.FOLDERS, shutdown_grace=1)
    must("systemctl", "reload", "rembg-watch")
    api("set", latency=600.0)
    before, possible = api()["charged"], _possible()
    mine = shop.photos(3)
    shop.drop(mine, shop.FOLDERS[0])
    in_flight(3)
    took = service.stop()
    api("set", latency=0.0)
    service.start()
    well = until(lambda: shop.delivered(mine))
    check(
        "a stop beyond shutdown_grace ends in time, and nothing is lost", well and took < 60, (took, service.status())
    )
    _told_as_possible(api()["charged"] - before - 3, _possible() - possible)
    shop.config("config", shop.FOLDERS)
    must("systemctl", "reload", "rembg-watch")


def stop_that_hangs() -> None:
    """The process never ends by itself, and is killed after TimeoutStopSec with photos in flight."""
    unit, folders = _hanging("stop")
    service.start(unit)
    api("set", latency=600.0)
    before, possible = api()["charged"], _possible("stop")
    mine = shop.photos(3)
    shop.drop(mine, folders[0])
    in_flight(3)
    took = service.stop(unit)
    killed_ = (service.show("Result", unit), took >= 3)
    check("a stop that hangs is ended after TimeoutStopSec", killed_ == ("timeout", True), (killed_, took))
    api("set", latency=0.0)
    service.start(unit)
    check("and nothing is lost by that", until(lambda: shop.delivered(mine, folders[1])), service.status(unit))
    _told_as_possible(api()["charged"] - before - 3, _possible("stop") - possible)
    service.stop(unit)


def _possible(name: str = "config") -> int:
    """Count the images that the ledger of an instance tells as possibly charged."""
    state = "/var/lib/rembg-watch" + ("" if name == "config" else f"/{name}")
    report = (BIN, "credits", "report", "--json", "-c", ETC / f"{name}.yaml")
    return json.loads(must(*report, env={**os.environ, "STATE_DIRECTORY": state}))["total"]["possibly"]


def _told_as_possible(extra: int, more: int) -> None:
    """Three were cut off; ``extra`` were charged beyond one each, ``more`` are told as possibly charged since."""
    told = 0 <= extra <= more == 3
    check(f"the three that were cut off are told as possibly charged ({extra} were paid twice)", told, more)


def _hanging(part: str) -> tuple[str, tuple[str, str]]:
    """Prepare an instance in which one part is to hang; give its unit, inbox and outbox."""
    program = Path("/usr/local/lib/hang.py")
    if not program.exists():
        program.write_text((Path(__file__).parent / "hang.py").read_text())
        command = f"{HOME}/bin/python -B {program} %i {ETC}/%i.yaml"
        service.drop_in("rembg-watch@", "60-hang", f"[Service]\nTimeoutStartSec=10s\nExecStart=\nExecStart={command}\n")
    folders = (f"/srv/photos/{part}-in", f"/srv/photos/{part}-out")
    must("runuser", "-u", "ftpuser", "--", "mkdir", "-p", "-m", "2770", *folders)
    shop.config(part, folders)
    (ETC / f"{part}.key").write_text((ETC / "key").read_text())
    return f"rembg-watch@{part}", folders


def killed() -> None:
    api("set", latency=600.0)
    mine = shop.photos(6)
    number, restarts = service.pid(), int(service.show("NRestarts"))
    shop.drop(mine, shop.FOLDERS[0])
    in_flight(4)
    os.kill(number, signal.SIGKILL)
    api("set", latency=0.0)
    again = until(lambda: service.pid() not in {0, number} and int(service.show("NRestarts")) > restarts)
    check("kill -9: it is restarted", again, service.show("ActiveState"))
    check("kill -9: work goes on, nothing is lost", until(lambda: shop.delivered(mine)), service.status())


def frozen() -> None:
    number = service.pid()
    os.kill(number, signal.SIGSTOP)
    again = until(lambda: service.pid() not in {0, number} and service.show("ActiveState") == "active")
    check("kill -STOP: the watchdog ends it, and it is restarted", again and "Watchdog timeout" in service.journal())
    mine = shop.photos(1)
    shop.drop(mine, shop.FOLDERS[0])
    check("kill -STOP: work goes on", until(lambda: shop.delivered(mine)), service.status())


def hung_loops() -> None:
    """Each in an instance of its own, all at once: they hang at their first run, and must be restarted."""
    service.stop()
    mine = dict(zip((*HUNG, "observer", "slow-start"), shop.photos(8), strict=True))
    for part, photo in mine.items():
        shop.drop([photo], _hanging(part)[1][0])
    for part in ("observer", "slow-start"):  # not to be restarted, though the machine itself may stand still a while
        service.drop_in(f"rembg-watch@{part}", "61-patient", "[Service]\nWatchdogSec=60s\n")
    must("systemctl", "start", "--no-block", *(f"rembg-watch@{part}" for part in mine))
    until(lambda: service.show("ActiveState", "rembg-watch@reload") == "active")
    must("systemctl", "kill", "-s", "HUP", "rembg-watch@reload")
    for part in HUNG:
        unit = f"rembg-watch@{part}"
        again = until(lambda u=unit: int(service.show("NRestarts", u)) > 0)
        said = service.journal(unit)
        check(
            f"{part} hangs: the watchdog hears nothing, and it is restarted", again and "Watchdog timeout" in said, said
        )
        if part != "interpreter":
            check(
                f"{part} hangs: the journal says what hung, with the stacks",
                "watchdog.unwell" in said and "File " in said,
            )
        done = until(lambda p=part: shop.delivered([mine[p]], f"/srv/photos/{p}-out"))
        check(f"{part} hangs: the photo is delivered after that", done, service.status(unit))
    unit = "rembg-watch@observer"
    until(lambda: "intake.watcher_died" in service.journal(unit))
    shop.drop(shop.photos(1), "/srv/photos/observer-in")
    done = until(lambda: len(shop.results_in("/srv/photos/observer-out")) == 2)
    said = service.journal(unit)
    alone = "intake.watcher_died" in said and service.show("NRestarts", unit) == "0"
    check("a dead observer alone is replaced without a restart", alone and done, said)
    unit = "rembg-watch@slow-start"
    well = until(lambda: service.show("ActiveState", unit) == "active") and service.show("NRestarts", unit) == "0"
    check("a first scan longer than TimeoutStartSec gets the time it needs", well, service.status(unit))
    run("systemctl", "stop", *(f"rembg-watch@{part}" for part in mine))
    service.drop_in("rembg-watch@", "60-hang", None)
    service.start()
