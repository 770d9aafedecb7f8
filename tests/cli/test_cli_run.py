"""The start of the daemon, before there is a daemon."""

from __future__ import annotations

import gc
import json

import pytest
from click.testing import CliRunner

from rembg_watch import logs
from rembg_watch.cli.run import command


@pytest.fixture
def own_process(monkeypatch):
    """As if the command had a process to itself: nothing of it stays behind in this one."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("own_process")
def test_what_is_loaded_is_left_alone_by_the_garbage_collector(tmp_path):
    """Rubbish is collected as ever, but nobody looks for it in what was loaded for good."""
    (tmp_path / "inbox").mkdir()
    config = tmp_path / "config.yaml"
    folder = {"inbox": str(tmp_path / "inbox"), "outbox": str(tmp_path / "outbox")}
    config.write_text(json.dumps({"api": {"key": "any"}, "state_dir": str(tmp_path / "state"), "folders": [folder]}))
    config.chmod(0o600)
    done = CliRunner().invoke(command, ["-c", str(config), "--test-config"])
    assert done.exit_code == 0, done.output
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000
