"""What keeps it from starting, who is told, what a start waits for, and where the key is."""

from __future__ import annotations

import re
from pathlib import Path

import service
import shop
from tools import ETC, KEY, api, check, must, run, until


def refused_starts() -> None:
    told = ETC / "on-failure"
    told.write_text('#!/bin/sh\necho "told of $1: $MONITOR_SERVICE_RESULT $MONITOR_EXIT_STATUS"\n')
    told.chmod(0o755)
    shop.config("config", shop.FOLDERS)
    result = service.start()
    said = run("systemctl", "status", "rembg-watch").stdout
    check("without a key: the start fails with 78", result.returncode and service.show("ExecMainStatus") == "78", said)
    check("without a key: systemctl status says so", re.search(r'Status: ".*no API key', said), said)
    _ends_there("without a key")
    (ETC / "key").write_text(KEY + "\n")
    (ETC / "key").chmod(0o600)
    (ETC / "config.yaml").write_text("wrokers: 3\nfolders:\n  - inbox: /srv/photos/inbox\n")
    service.start()
    said = run("systemctl", "status", "rembg-watch").stdout
    named = re.search(r'Status: "/etc/rembg-watch/config.yaml:\d+: .*see the journal', said)
    check("a config with mistakes: systemctl status names the first, file and line", named, said)
    both = service.journal("rembg-watch", "-p", "err", "--since", "-120s")
    check("each mistake is in the journal, as an error", "wrokers" in both and "outbox" in both, both)
    _ends_there("a config with mistakes")


def _ends_there(why: str) -> None:
    unit = "rembg-watch-failed@rembg-watch.service.service"
    until(lambda: "exit-code 78" in service.journal(unit))
    check(f"{why}: OnFailure runs and knows why", "told of rembg-watch.service: exit-code 78" in service.journal(unit))
    state = (service.show("ActiveState"), service.show("NRestarts"))
    check(f"{why}: it is not restarted", state == ("failed", "0"), state)
    run("journalctl", "--rotate", "--vacuum-time=1s", "-u", unit)


def start_waits_for_ready() -> None:
    for number in range(3000):
        Path(f"/srv/photos/inbox/junk-{number:04}.jpg").write_bytes(b"")
    shop.config("config", shop.FOLDERS)
    run("systemctl", "start", "--no-block", "rembg-watch")
    must("systemctl", "start", "rembg-watch")
    said = service.journal("rembg-watch", "--since", "-120s")
    order = [said.find(word) for word in ('"started"', "intake.first_scan_done", '"ready"')]
    check("start blocks until the first scan is done", order == sorted(order) and order[0] >= 0, order)
    check(
        "it is active, of type notify, with its watchdog", service.show("WatchdogUSec") == "1min" and service.pid() > 0
    )
    for file in Path("/srv/photos/inbox").glob("junk-*"):
        file.unlink()
    check(
        "its status line is about what it does",
        until(lambda: "done in the last minute" in service.status()),
        service.status(),
    )


def key_stays_secret() -> None:
    number = service.pid()
    environment = Path(f"/proc/{number}/environ").read_text()
    words = Path(f"/proc/{number}/cmdline").read_text()
    check("the key is not in the environment, nor in the command line", KEY not in environment + words)
    for user in ("ftpuser", "outsider", "nobody"):
        places = [
            ETC / "key",
            Path("/run/credentials/rembg-watch.service/rembg-api-key"),
            Path(f"/proc/{number}/environ"),
        ]
        said = "".join(run("runuser", "-u", user, "--", "cat", place).stdout for place in places)
        check(f"{user} reads the key nowhere", KEY not in said, said)
    limits = Path(f"/proc/{number}/limits").read_text()
    check("no core dump can hold it", re.search(r"Max core file size\s+0\s+0", limits), limits)
    known = until(lambda: "credits" in service.status() and "credits unknown" not in service.status())
    check("it is the key that the API takes", known and api()["usage_calls"], service.status())


def check_runs_as_the_services_user() -> None:
    """As docs/systemd.md says it, in the shell that root has after a login."""
    typed = "REMBG_API_KEY=$(cat /etc/rembg-watch/key) runuser -u rembg-watch -- rembg-watch check"
    result = run("env", "-C", "/root", "HOME=/root", "sh", "-c", f"{typed} -c /etc/rembg-watch/config.yaml")
    check("check runs as the service's user, with the key", result.returncode == 0, result.stdout + result.stderr)


def wrong_key_is_told() -> None:
    right = (ETC / "key").read_text()
    (ETC / "key").write_text("sk-mistyped-0123456789\n")
    service.stop()
    service.start()
    said = until(lambda: re.match("held: .*key", service.status()))
    well = service.show("ActiveState") == "active"
    check("a mistyped key: the status line says so before the first photo", said and well, service.status())
    (ETC / "key").write_text(right)
    service.stop()
    service.start()


def journal_is_in_order() -> None:
    run("journalctl", "--sync")
    rows = must("journalctl", "--no-pager", "-o", "json", "-u", "rembg-watch", "-u", "rembg-watch@*")
    check("the key is nowhere in the journal", KEY not in rows and KEY not in must("journalctl", "--no-pager"))
    rows = must("journalctl", "--no-pager", "-o", "verbose", "-u", "rembg-watch", "-t", "rembg-watch")
    found = dict.fromkeys(re.findall(r"PRIORITY=(\d)[\s\S]*?MESSAGE=(.*)", rows))
    levels = {level for level, _ in found}
    check("the journal has information, warnings and errors by their priority", {"6", "4", "3"} <= levels, levels)
    check("no line still has its prefix", not [text for _, text in found if re.match(r"<\d>", text)])
    ready = must("journalctl", "--no-pager", "-p", "6..6", "-o", "cat", "-t", "rembg-watch")
    check("what is merely told is information", '"event": "ready"' in ready)


def quicker() -> None:
    """Make the unit's patience short enough for tests."""
    quick = "[Unit]\nStartLimitBurst=100\n[Service]\nWatchdogSec=6s\nRestartSec=200ms\nTimeoutStopSec=3s\n"
    service.drop_in("rembg-watch", "50-quick", quick)
    service.drop_in("rembg-watch@", "50-quick", quick)
