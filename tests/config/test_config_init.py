"""``rembg-watch init`` writes a config that loads, and overwrites nothing."""

from __future__ import annotations

import stat

import pytest
from click.testing import CliRunner

from rembg_watch.cli.init import command, write_config
from rembg_watch.config.load import load_config
from rembg_watch.errors import FileError


def test_what_init_writes_loads_and_its_folders_are_there(tmp_path):
    """The config names folders below DIR, and they exist; only its owner can read it."""
    target = tmp_path / "new" / "my photos"
    result = CliRunner().invoke(command, [str(target)])
    assert result.exit_code == 0
    config = load_config(target / "config.yaml", {"REMBG_API_KEY": "abcd"})
    (folder,) = config.folders
    assert (folder.inbox, folder.outbox, config.state_dir) == (target / "inbox", target / "outbox", target / "state")
    for made in (folder.inbox, folder.outbox, config.state_dir):
        assert made.is_dir()
    assert stat.S_IMODE((target / "config.yaml").stat().st_mode) == 0o600
    assert stat.S_IMODE(config.state_dir.stat().st_mode) == 0o700
    assert config.warnings == ()
    assert "rembg-watch check -c '" in result.stdout


def test_without_a_folder_it_is_this_one(tmp_path, monkeypatch):
    """Then the next steps need no -c, for ./config.yaml is found by itself."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [])
    assert (tmp_path / "config.yaml").is_file()
    assert "rembg-watch run\n" in result.stdout


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_config_that_is_there_is_left_alone(tmp_path, kind):
    """Not a byte is changed and no folder is made; the exit code says that nothing could be written."""
    file = tmp_path / "config.yaml"
    if kind == "file":
        file.write_text("mine")
    else:
        file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match="is there already") as caught:
        write_config(tmp_path)
    assert caught.value.exit_code == 73
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    if kind == "file":
        assert file.read_text() == "mine"


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    """The message names what is in the way."""
    (tmp_path / "inbox").write_text("mine")
    with pytest.raises(FileError, match="inbox is there and is not a folder"):
        write_config(tmp_path)
    assert not (tmp_path / "config.yaml").exists()


def test_folders_that_are_there_are_used(tmp_path):
    """Photos that are in an inbox already stay where they are."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/a.jpg").write_text("x")
    write_config(tmp_path)
    assert (tmp_path / "inbox/a.jpg").read_text() == "x"
