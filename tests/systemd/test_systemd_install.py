"""The install command, as far as it goes without changing this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from rembg_watch.cli import layout
from rembg_watch.cli.install import Steps, _place, command
from rembg_watch.config.load import load_config
from rembg_watch.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path


def test_systemd_install_never_touches_foreign_files(tmp_path: Path) -> None:
    """A unit of that name that is not from here stops everything before the first file is written."""
    files = [layout.Placed(tmp_path / name, layout.MARK + name) for name in ("a.service", "b.service")]
    files[1].path.write_text("[Service]\nExecStart=/bin/mine\n")
    with pytest.raises(FileError) as caught:
        _place(Steps(dry=False), files)
    assert str(files[1].path) in caught.value.message
    assert not files[0].path.exists()
    assert files[1].path.read_text().endswith("mine\n")


def test_systemd_install_brings_its_own_files_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is ours is replaced whole where it differs, and left alone where it does not."""
    old = layout.Placed(tmp_path / "deep/a.service", layout.MARK + "old\n")
    new = layout.Placed(old.path, layout.MARK + "new\n")
    _place(Steps(dry=False), [old])
    _place(Steps(dry=False), [new])
    assert old.path.read_text() == new.text
    assert old.path.stat().st_mode & 0o777 == 0o644
    _place(Steps(dry=False), [new])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["write", "write", "stands"]
    assert [path.name for path in old.path.parent.iterdir()] == ["a.service"]


def test_systemd_install_dry_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step is said, with a 'would' in front, and none is done."""
    steps = Steps(dry=True)
    steps.write(tmp_path / "file", "text")
    steps.link(tmp_path / "link", tmp_path)
    steps.run("touch", str(tmp_path / "touched"))
    (tmp_path / "folder").mkdir()
    steps.remove(tmp_path / "folder")
    steps.remove_empty(tmp_path / "folder")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all(line.startswith("would: ") for line in said)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_systemd_install_says_which_command_failed() -> None:
    """A step that fails ends the installation with the command's own words."""
    with pytest.raises(FileError, match="No such file"):
        Steps(dry=False).run("ls", "/nonexistent-folder")
    Steps(dry=False).run("ls", "/nonexistent-folder", may_fail=True)


@pytest.mark.parametrize("words", [["--purge"], ["--undo", "--purge", "--user"]])
def test_systemd_install_wrong_usage(words: list[str]) -> None:
    """--purge is for the undoing of a system-wide installation alone."""
    assert CliRunner().invoke(command, words).exit_code == 2


def test_systemd_install_undo_dry_run_is_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask what would be done; doing it is for root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = CliRunner().invoke(command, ["--undo"])
    assert isinstance(refused.exception, FileError)
    assert "only root" in refused.exception.message


def test_systemd_first_config_is_valid_and_names_the_state(tmp_path: Path) -> None:
    """The config that install writes loads without a change, and commands typed by root find the service's state."""
    file = tmp_path / "config.yaml"
    file.write_text(layout.first_config(), "utf-8")
    config = load_config(file, {})
    assert config.state_dir == layout.STATE
    assert config.key is None
