"""The unit files, as far as they can be looked at without systemd."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

from rembg_watch.cli import layout
from rembg_watch.errors import EXIT_CONFIG

UNITS = Path(__file__).parents[2] / "systemd"


def settings(name: str) -> list[str]:
    text = (UNITS / name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_systemd_template_is_the_same_service() -> None:
    """The template differs from the service in its config, key, state and description, and in nothing else."""
    one, many = settings("rembg-watch.service"), settings("rembg-watch@.service")
    assert len(one) == len(many)
    different = {a.partition("=")[0] for a, b in zip(one, many, strict=True) if a != b}
    assert different == {"Description", "ExecStart", "ExecReload", "LoadCredential", "StateDirectory", "NoExecPaths"}


@pytest.mark.parametrize("name", ["rembg-watch.service", "rembg-watch@.service", "user/rembg-watch.service"])
def test_systemd_units_keep_the_contract(name: str) -> None:
    """Ready when it says so, reloaded by HUP, watched, restarted except where that can't help, and without cores."""
    lines = settings(name)
    for line in (
        "Type=notify",
        "ExecReload=kill -HUP $MAINPID",
        "Restart=on-failure",
        f"RestartPreventExitStatus={EXIT_CONFIG}",
        "Environment=PYTHONFAULTHANDLER=1",
        "LimitCORE=0",
        "MemoryDenyWriteExecute=yes",
    ):
        assert line in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)
    assert not any("API_KEY" in line for line in lines)


def test_systemd_nothing_writable_is_executable() -> None:
    """What is writable is mounted by itself, and has to be named in NoExecPaths to be covered."""
    for name in ("rembg-watch.service", "rembg-watch@.service"):
        values = dict(line.split("=", 1) for line in settings(name) if "=" in line)
        state = "/var/lib/" + values["StateDirectory"]
        no_exec = values["NoExecPaths"].replace("-/", "/").split()
        assert {*values["ReadWritePaths"].replace("-/", "/").split(), state, "/", "/tmp", "/var/tmp"} <= set(no_exec)


@pytest.mark.parametrize("path", sorted(UNITS.glob("examples/*.conf")), ids=lambda path: path.name)
def test_systemd_examples_say_how_to_use_them(path: Path) -> None:
    """Each drop-in has a section, a setting, and a comment on top with the command that puts it in place."""
    text = path.read_text("utf-8")
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    assert parser.sections()
    assert text.startswith("#")
    assert "systemctl edit rembg-watch" in text


def test_systemd_layout_names_this_environment() -> None:
    """Installed units start this environment's program and may run nothing but it, its Python and /usr."""
    files = {file.path.name: file.text for file in layout.system_files(Path("/srv/apps/rw"), Path("/opt/python"))}
    text = files["rembg-watch.service"]
    assert text.startswith(layout.MARK)
    assert "ExecStart=/srv/apps/rw/bin/rembg-watch run" in text
    assert "ExecPaths=/usr /srv/apps/rw /opt/python\n" in text
    assert layout.SHIPPED_FOR not in "".join(files.values())


def test_systemd_layout_refuses_hidden_places(tmp_path: Path) -> None:
    """An environment that the service can't see or enter is refused with the reason, before anything is done."""
    assert "/home" in (layout.unsuitable(Path("/home/anna/venv"), Path("/usr")) or "")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert layout.unsuitable(closed, Path("/usr")) is not None
    assert layout.unsuitable(Path("/usr"), Path("/usr")) is None


def test_systemd_mail_example_is_a_shell_script() -> None:
    """The mail example can be run, and a shell takes it."""
    script = UNITS / "examples/on-failure-mail"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_systemd_first_config_names_the_folders_that_are_made() -> None:
    """What tmpfiles.d makes is what the first config watches."""
    made = set(re.findall(r"^d\s+(\S+)", (UNITS / "tmpfiles.d/rembg-watch.conf").read_text("utf-8"), re.MULTILINE))
    assert made == {str(path) for path in layout.PHOTOS}
    assert all(f": {path}" in layout.first_config() for path in layout.PHOTOS[:2])
