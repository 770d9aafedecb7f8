"""Run every benchmark at a tiny size. Only that it works is tested: the figures mean nothing there."""

from __future__ import annotations

import difflib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from benchmarks import photos
from benchmarks.runners import PEERS, Workspace, copy_peers
from benchmarks.server import ANSWERS, PNG_640, WEBP_64, WEBP_1000
from benchmarks.suite import SMALL
from benchmarks.table import at_least, at_most, row

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(420)


def run(tmp_path, *options):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--dir", str(tmp_path), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("name", ["race", "tls", "api-bound", "latency", "memory", "depth", "rescan", "idle", "peers"])
def test_a_benchmark_returns_its_rows(tmp_path, name):
    """Each benchmark runs by its name alone, returns rows with figures, and leaves nothing on the disk."""
    report = json.loads(run(tmp_path, "--only", name, "--json").stdout)
    rows = [row for row in report["rows"] if row["bench"] == name]
    assert rows
    assert rows == report["rows"]
    assert all(row["what"] and row["measured"] for row in rows)
    assert not any(row["measured"].startswith("skipped") for row in rows)
    assert any(row["figures"] for row in rows)
    assert all((row["met"] is None) == (row["must"] == "") for row in rows)
    assert not list(tmp_path.iterdir())


def test_the_table_is_markdown(tmp_path):
    """Without --json stdout is one Markdown table."""
    lines = run(tmp_path, "--only", "depth").stdout.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:5]] == ["what", "measured", "must", "aim"]
    assert set(lines[1]) == {"|", "-"}
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines[2:])
    assert len({len(line) for line in lines}) == 1


def test_a_row_shows_median_spread_goal_and_aim():
    """A goal is met by the must, and the row says when the aim is met too."""
    assert row("race", "speed", [1.6, 1.3, 1.4], " x", at_least(1.2, 1.5)).cells == (
        *("speed", "1.4 x (1.3 to 1.6)", ">= 1.2 x", ">= 1.5 x", "met"),
    )
    assert row("race", "speed", 1.5, " x", at_least(1.2, 1.5)).cells[-1] == "met, aim met"
    assert row("race", "speed", 1.1, " x", at_least(1.2, 1.5)).cells[-1] == "**not met**"
    assert row("race", "cpu", 0.8, " x", at_most(0.85, 0.75)).cells[-1] == "met"
    assert row("idle", "cpu", 0.02, "%", at_most(0.02)).cells[-2:] == ("", "met")
    assert row("peers", "speed", 0.5, " x").cells[2:] == ("", "", "")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=str)
def test_an_answer_has_its_format_and_size(answer):
    with Image.open(io.BytesIO(answer.picture())) as picture:
        assert (picture.format.lower(), picture.size) == (answer.format, (answer.width, answer.height))
        assert picture.mode == ("RGB" if answer is WEBP_64 else "RGBA")
    if answer is WEBP_1000:
        assert 60_000 <= len(answer.picture()) <= 150_000


def test_photos_have_the_size_and_are_different_pictures(tmp_path):
    """Two photos are different pictures of the same size, so that each must be sent."""
    paths = photos.make(tmp_path, 3, SMALL)
    assert {path.stat().st_size for path in paths} == {SMALL}
    assert len({Image.open(path).tobytes() for path in paths}) == 3


def test_the_decoding_peer_is_the_naive_script_and_the_load():
    """naive-decode loads each answer by Pillow and does nothing else that naive does not."""
    naive, decode = ((PEERS / name).read_text().split('"""', 2)[2] for name in ("naive.py", "naive_decode.py"))
    changed = [line for line in difflib.ndiff(naive.splitlines(), decode.splitlines()) if line[0] in "+-"]
    assert changed == [
        "+ import io",
        "+ from PIL import Image",
        "+         Image.open(io.BytesIO(answer.content)).load()",
    ]


def test_peers_ask_for_the_answer_that_the_daemon_asks_for(tmp_path):
    """For the default answer the copies are the scripts themselves."""
    copy_peers(tmp_path / "same", WEBP_64)
    assert all((tmp_path / "same" / path.name).read_bytes() == path.read_bytes() for path in PEERS.glob("*.*"))
    copy_peers(tmp_path / "png", PNG_640)
    asked = '{"format": "png", "w": 640, "h": 480, "exact_resize": "true"}'
    for name in ("naive.py", "naive_decode.py", "session.py", "huey_worker.py"):
        assert asked in (tmp_path / "png" / name).read_text()
    assert "-F format=png -F w=640 -F h=480" in (tmp_path / "png" / "upload.sh").read_text()
    assert 'form = "w=640"\\nform = "h=480"' in (tmp_path / "png" / "curl_parallel.sh").read_text()


def test_the_daemon_runs_with_its_default_config(tmp_path):
    """Only what a run needs is set."""
    service = SimpleNamespace(answer=WEBP_1000, url="http://127.0.0.1:1/rmbg", base="http://127.0.0.1:1")
    config = json.loads(Workspace(tmp_path, service, 16).write_config().read_text())
    assert set(config) == {"api", "state_dir", "workers", "profiles", "folders"}
    assert set(config["api"]) == {"key", "url", "usage_url"}
    assert [set(folder) for folder in config["folders"]] == [{"inbox", "outbox", "profile"}]
    assert list(config["profiles"].values()) == [{"format": "webp", "w": 1000, "h": 1000, "exact_resize": True}]
