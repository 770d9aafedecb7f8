"""What the journal gets: a priority in front of each line, and never the key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LOGS = """
import logging, os, sys, structlog
from rembg_watch import logs
status = os.fstat(2)
if sys.argv[1] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
logs.configure(sys.argv[2])
logs.hide('sk-secret"123')
log = structlog.get_logger()
log.info("ready")
log.warning("key", header='x-api-key: sk-secret"123', deep={"a": ['sk-secret"123']})
log.error("object", error=ValueError('bad sk-secret"123'))
try:
    raise RuntimeError('with sk-secret"123')
except RuntimeError:
    log.exception("broken")
log.critical("worst")
logging.getLogger("urllib3").warning("said %s", "something")
"""


def lines(where: str, form: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    run = subprocess.run(
        [sys.executable, "-c", _LOGS, where, form], check=True, capture_output=True, text=True, env=env
    )
    return run.stderr.splitlines()


def test_systemd_journal_lines_have_priorities() -> None:
    """Under the journal each line begins with its level as syslog numbers it, and the rest is JSON."""
    found = [(line[:3], json.loads(line[3:])["event"]) for line in lines("journal", "json")]
    assert found == [
        ("<6>", "ready"),
        ("<4>", "key"),
        ("<3>", "object"),
        ("<3>", "broken"),
        ("<2>", "worst"),
        ("<4>", "said something"),
    ]


def test_systemd_journal_prefixes_every_line_of_a_trace() -> None:
    """A trace for people has many lines; each of them keeps its priority."""
    assert all(line.startswith(("<6>", "<4>", "<3>", "<2>")) for line in lines("journal", "console"))


def test_systemd_elsewhere_there_is_no_prefix() -> None:
    """In a file or a pipe a line is the JSON object alone."""
    assert all(json.loads(line) for line in lines("file", "json"))


def test_systemd_key_is_in_no_line() -> None:
    """Neither in a text, nor nested, nor in an exception, nor escaped by JSON."""
    for where, form in (("journal", "json"), ("journal", "console"), ("file", "json")):
        said = "\n".join(lines(where, form))
        assert "sk-secret" not in said
        assert "[key]" in said


def test_systemd_start_that_fails_tells_systemd_why(tmp_path: Path) -> None:
    """The first mistake of the config becomes the status line that 'systemctl status' keeps showing."""
    import socket  # noqa: PLC0415

    config = tmp_path / "config.yaml"
    config.write_text("wrokers: 3\nfolders: []\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        command = [sys.executable, "-m", "rembg_watch", "run", "-c", str(config)]
        env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        run = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
        assert run.returncode == 78
        said = sock.recv(8192).decode()
        assert said.startswith(f"STATUS={config}:1: wrokers: unknown key")
        assert "more: see the journal" in said
        tested = subprocess.run([*command, "--test-config"], check=False, capture_output=True, text=True, env=env)
        assert (tested.returncode, tested.stderr) == (78, run.stderr)
