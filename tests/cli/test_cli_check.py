"""``check`` as people type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_environment import environment
from cli_terminal import on_terminal

from rembg_watch.jobs.database import Database
from rembg_watch.jobs.status_table import StatusTable

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a-key-that-nobody-shows"


@pytest.fixture
def place(tmp_path, sandbox):
    """A config, with the folders it names."""
    for name in ("in/sub", "out", "state"):
        (tmp_path / name).mkdir(parents=True)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"api: {{key: {KEY}, url: '{sandbox.url}', usage_url: '{sandbox.usage_url}'}}\n"
        "state_dir: state\n"
        "credits: {reserve: 10, warn_below: 100}\n"
        "folders: [{inbox: in, outbox: out, profile: {format: png}}]\n"
    )
    config.chmod(0o600)
    return tmp_path


def check(place: Path, *arguments: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Run it with --json; give the exit code and the findings by subject."""
    done = run(place, "--json", *arguments)
    told = json.loads(done.stdout)
    assert told["exit_code"] == done.returncode
    assert told["ok"] is (done.returncode == 0)
    found: dict[str, list[tuple[str, str]]] = {}
    for row in told["findings"]:
        found.setdefault(row["subject"], []).append((row["level"], f"{row['message']} {row['hint']}"))
    return done.returncode, found


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "rembg_watch", "check", *arguments],
        cwd=place, env=environment(HOME=str(place)), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def edit(place: Path, old: str, new: str) -> None:
    config = place / "config.yaml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def test_a_good_set_up_is_all_ok(place, sandbox):
    """Everything in order: exit 0, each thing has its line, no image is sent, nothing is left behind."""
    code, found = check(place)
    assert code == 0
    levels = {subject: {level for level, _ in rows} for subject, rows in found.items()}
    for subject in ("config", "state_dir", "inbox", "outbox", "inotify", "key", "credits", "api", "clock", "sandbox"):
        assert levels[subject] == {"ok"}, found[subject]
    assert "sqlite" in levels
    assert "2 folders" in found["inbox"][0][1]
    assert "10000 credits left" in found["credits"][0][1]
    assert [request for request in sandbox.requests if request.size] == []
    assert sandbox.charged == 0
    assert sorted(p.name for p in place.rglob("*")) == ["config.yaml", "in", "out", "state", "sub"]


def test_people_get_one_line_each(place):
    """Without --json: a level, a subject, a text on each line; no colours where it is no terminal."""
    done = run(place)
    lines = done.stdout.splitlines()
    assert len(lines) >= 10
    assert all(line.split()[0] in {"ok", "warn", "FAIL"} for line in lines)
    assert "\x1b" not in done.stdout


def test_every_mistake_of_a_config_is_a_line(place):
    """A config with mistakes: one FAIL for each, exit 78, and what needs no config is still looked at."""
    edit(place, "outbox: out", "outbux: out, watch: sometimes")
    code, found = check(place)
    assert code == 78
    assert [level for level, _ in found["config"]].count("fail") == 3
    assert "sqlite" in found
    (place / "config.yaml").unlink()
    assert check(place)[0] == 78


def test_a_refused_key_is_77(place, sandbox):
    """The key is tried with the free usage call."""
    sandbox.set_key("another")
    code, found = check(place)
    assert code == 77
    assert found["key"][0][0] == "fail"
    assert sandbox.requests == [] or all(not request.size for request in sandbox.requests)


def test_no_key_is_78(place):
    """A config without a key, and none anywhere else."""
    edit(place, f"key: {KEY}, ", "")
    code, found = check(place)
    assert code == 78
    assert "REMBG_API_KEY" in found["key"][0][1]


def test_an_api_that_is_not_there_is_69(place, sandbox):
    """Nobody listens; --offline does not ask."""
    sandbox.stop()
    code, found = check(place)
    assert code == 69
    assert found["api"][0][0] == "fail"
    code, found = check(place, "--offline")
    assert code == 0
    assert "key" not in found


def test_an_address_without_the_service_is_a_warning(place, sandbox):
    """A 404 at the picture address is told before the first photo meets it."""
    edit(place, sandbox.url, sandbox.base_url + "/nothing-here")
    code, found = check(place)
    assert code == 0
    assert found["api"][0][0] == "warn"


def test_folders_that_are_not_there_are_73(place):
    """A missing inbox and a missing outbox, each with a line; the config's own kind goes first."""
    edit(place, "inbox: in, outbox: out", "inbox: nowhere, outbox: neither")
    code, found = check(place)
    assert code == 73
    assert "is not there" in found["inbox"][0][1]
    assert "is not there" in found["outbox"][0][1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_what_can_not_be_written_is_73(place):
    """An outbox without write permission is found by writing."""
    (place / "out").chmod(0o500)
    code, found = check(place)
    assert code == 73
    assert "can't be written" in found["outbox"][0][1]


def test_a_file_where_a_folder_should_be_is_73(place):
    """Also for root: a file in place of the state directory can't hold a database."""
    (place / "state").rmdir()
    (place / "state").write_text("in the way")
    code, found = check(place)
    assert code == 73
    assert found["state_dir"][0][0] == "fail"


def test_a_damaged_database_is_73(place):
    """jobs.db that is no database is found before the daemon meets it."""
    (place / "state/jobs.db").write_bytes(b"this is no database" * 100)
    code, found = check(place)
    assert code == 73
    assert "jobs.db" in found["state_dir"][0][1]


def test_a_linked_inbox_is_told(place):
    """What is really watched is said where the config names a link."""
    (place / "link").symlink_to("in")
    edit(place, "inbox: in", "inbox: link")
    code, found = check(place)
    assert code == 0
    assert any("is a link" in text for _, text in found["inbox"])


def test_few_credits_are_a_warning(place, sandbox):
    """Below warn_below, and at the reserve: warnings, exit 0."""
    sandbox.set_credits(50)
    code, found = check(place)
    assert (code, found["credits"][0][0]) == (0, "warn")
    sandbox.set_credits(10)
    code, found = check(place)
    assert (code, found["credits"][0][0]) == (0, "warn")
    assert "nothing would be sent" in found["credits"][0][1]


def test_the_configs_warnings_are_shown(place):
    """A key that others can read is a warning."""
    (place / "config.yaml").chmod(0o644)
    code, found = check(place)
    assert code == 0
    assert any(level == "warn" for level, _ in found["config"])


def test_free_disk_is_told(place, sandbox):
    """The state directory's line and the outbox's each say how much room there is, also where there is enough."""
    _, found = check(place)
    for subject in ("state_dir", "outbox"):
        assert re.search(r", [0-9.]+ GB free", found[subject][0][1])


def test_a_missing_outbox_is_made_by_the_daemon(place):
    """A warning, as its name may be mistyped; the start does not fail for it."""
    edit(place, "outbox: out", "outbox: fresh/out")
    code, found = check(place)
    assert code == 0
    assert found["outbox"][0][0] == "warn"
    assert "the daemon makes it at its next start" in found["outbox"][0][1]
    assert "mistyped" in found["outbox"][0][1]
    assert not (place / "fresh").exists()


def test_an_outbox_that_was_there_once_is_73(place):
    """One that the daemon has seen and that is gone is an unmounted disk, and nobody makes it again."""
    with Database(place / "state" / "jobs.db") as database:
        StatusTable(database).set_fact("targets", [str(place / "fresh")], 1.0)
    edit(place, "outbox: out", "outbox: fresh")
    code, found = check(place)
    assert code == 73
    assert "is not there" in found["outbox"][0][1]


def test_a_state_directory_that_others_can_write_is_73(place):
    """The daemon refuses to start with it, so it is no mere warning here."""
    (place / "state").chmod(0o777)
    code, found = check(place)
    assert code == 73
    assert "chmod o-w" in found["state_dir"][0][1]


def test_folders_that_can_not_be_looked_at_are_73(place):
    """What keeps us from telling whether there is a folder is said, and the other lines come all the same."""
    edit(place, "inbox: in, outbox: out", f"inbox: {'i' * 300}, outbox: {'o' * 300}")
    code, found = check(place)
    assert code == 73
    assert "can't be reached: File name too long" in found["inbox"][0][1]
    assert "can't be reached: File name too long" in found["outbox"][0][1]
    assert found["key"][0][0] == "ok"


@pytest.mark.parametrize(
    ("more", "coloured"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_want_them(place, more, coloured):
    """NO_COLOR and a terminal that has none are heeded."""
    env = environment(HOME=str(place), **{"TERM": "xterm", **more})
    code, seen, _ = on_terminal("check", "--offline", cwd=place, env=env)
    assert code == 0
    assert (b"\x1b[" in seen) is coloured
