"""Nothing in the README is only claimed: its configs load, its commands run, its lists are the program's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw

from rembg_watch import errors
from rembg_watch.cli import COMMANDS
from rembg_watch.config.load import load_config
from rembg_watch.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


SET_UP = [line for line in commands() if line.startswith("python3 -m venv")]
COMMAND_LINES = [line for line in commands() if line not in SET_UP]


def test_every_block_is_of_a_language_that_is_tested():
    """A block in another language would be one that no test runs."""
    assert set(re.findall(r"^```(\w*)$", README, re.MULTILINE)) <= {"sh", "yaml", "text", ""}


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: f"{len(text.splitlines())}-lines")
def test_each_config_in_the_readme_loads(text, tmp_path):
    """Each YAML block is a whole config that loads with nothing but the key in the environment."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    loaded = load_config(config, {"REMBG_API_KEY": "a-key-from-the-environment", "HOME": str(tmp_path)})
    assert loaded.folders
    assert loaded.require_key() == "a-key-from-the-environment"


def test_the_set_up_lines_are_the_two_that_ci_runs():
    """Two lines set everything up. They take a fresh environment each, so it is ``.ci/run`` that executes them, as they
    stand in the README.
    """
    assert len(SET_UP) == 2
    assert "rembg-watch demo" in SET_UP[0]
    assert "-m pytest" in SET_UP[1]
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "readme_line 'rembg-watch demo'" in script
    assert "readme_line 'pytest'" in script


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the README's commands can run in their order, against the sandbox."""
    folder = tmp_path_factory.mktemp("readme")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    command = bin_folder / "rembg-watch"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rembg_watch "$@"\n')
    command.chmod(0o755)
    with Sandbox(credits=50) as sandbox:
        env = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "REMBG_API_KEY": "a-key-from-the-environment",
            "PYTHONPATH": str(ROOT),
        }
        yield folder, env, sandbox


def run(line: str, place) -> subprocess.CompletedProcess[str]:
    folder, env, sandbox = place
    result = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    if line.startswith("rembg-watch init"):
        config = folder / "photos" / "config.yaml"
        settings = yaml.safe_load(config.read_text())
        settings["api"] = {"url": sandbox.url, "usage_url": sandbox.usage_url}
        config.write_text(json.dumps(settings))
        picture = Image.new("RGB", (200, 150), "white")
        ImageDraw.Draw(picture).ellipse((60, 40, 140, 110), fill="crimson")
        picture.save(folder / "photos" / "inbox" / "ball.jpg")
        env["REMBG_WATCH_CONFIG"] = str(config)
    return result


@pytest.mark.timeout(420)
def test_each_command_in_the_readme_runs(place):
    """In their order, as a reader would type them: each ends with 0, and the photo becomes a cut-out for one credit."""
    folder, _, sandbox = place
    assert COMMAND_LINES
    for line in COMMAND_LINES:
        result = run(line, place)
        assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
    with Image.open(folder / "photos" / "outbox" / "ball.webp") as cutout:
        assert cutout.size == (200, 150)
        assert cutout.getchannel("A").getextrema() == (0, 255)
    assert sandbox.charged == 1


def test_the_table_of_commands_is_complete():
    """Each command has its row, and each row its command."""
    table = README.split("## Commands")[1].split("## Configuration")[0]
    named = {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    assert set(COMMANDS) <= named
    assert named - set(COMMANDS) <= {"show", "retry", "cancel"}


def test_the_table_of_exit_codes_is_the_programs():
    """The codes in the README are those of ``errors.py``, no more and no fewer."""
    table = README.split("## Exit codes")[1].split("##")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert listed == {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_each_link_leads_somewhere():
    """Links within the repository lead to files that are there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target
