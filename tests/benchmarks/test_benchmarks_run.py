"""The benchmark suite works: every workload comes to its end at a tiny size. What it measures there means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", ["throughput", "tls", "api-bound", "latency", "memory", "depth", "known", "idle"])
def test_a_workload_gives_its_rows(tmp_path, name):
    """Each workload runs by its name alone, gives rows with figures and goals, and leaves nothing on the disk."""
    told = json.loads(run(tmp_path, "--only", name, "--json").stdout)
    rows = [row for row in told["rows"] if row["bench"] == name]
    assert rows
    assert rows == told["rows"]
    assert all(row["what"] and row["measured"] for row in rows)
    assert any(row["figures"] for row in rows)
    assert all((row["met"] is None) == (row["goal"] == "") for row in rows)
    assert not list(tmp_path.iterdir())


def test_the_table_is_markdown(tmp_path):
    """Without --json stdout is one table, which goes into the README as it is."""
    lines = run(tmp_path, "--only", "depth").stdout.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:4]] == ["what", "measured", "goal"]
    assert set(lines[1]) == {"|", "-"}
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines[2:])
    assert len({len(line) for line in lines}) == 1
