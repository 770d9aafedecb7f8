"""Which file is the config, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rembg_watch.config.load import find_config, load_config
from rembg_watch.errors import ConfigError


def test_the_order_in_which_the_config_is_looked_for(tmp_path, monkeypatch):
    """-c, then $REMBG_WATCH_CONFIG, then ./config.yaml, then the one below home."""
    home, here, other = tmp_path / "home", tmp_path / "here", tmp_path / "other.yaml"
    (home / ".config/rembg-watch").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    env = {"HOME": str(home)}
    in_home = home / ".config/rembg-watch/config.yaml"
    in_home.touch()
    assert find_config(None, env) == in_home
    Path("config.yaml").touch()
    assert find_config(None, env) == Path("config.yaml")
    other.touch()
    assert find_config(None, {**env, "REMBG_WATCH_CONFIG": str(other)}) == other
    assert find_config("config.yaml", {**env, "REMBG_WATCH_CONFIG": str(other)}) == Path("config.yaml")


def test_no_config_names_the_places_and_init(tmp_path, monkeypatch):
    """A missing config is told with every place that was looked at; a named one is never replaced by another."""
    monkeypatch.chdir(tmp_path)
    if not Path("/etc/rembg-watch/config.yaml").exists():
        with pytest.raises(ConfigError) as caught:
            find_config(None, {"HOME": "/h"})
        for part in ("./config.yaml", "/h/.config/rembg-watch/config.yaml", "/etc/rembg-watch", "rembg-watch init"):
            assert part in caught.value.problems[0]
        assert caught.value.exit_code == 78
    Path("config.yaml").touch()
    for explicit, env in (("gone.yaml", {}), (None, {"REMBG_WATCH_CONFIG": "gone.yaml"})):
        with pytest.raises(ConfigError, match=r"gone\.yaml"):
            find_config(explicit, env)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "what -c names is empty"),
        ("~nobody-is-called-so/c.yaml", "there is no such config file"),
        ("x" * 300, "can't be read: File name too long"),
        ("loop", "can't be read: Too many levels of symbolic links"),
        ("a\x1b[31mb", r"a\x1b[31mb: there is no such config file"),
        (".", ".: can't be read: Is a directory"),
    ],
)
def test_a_name_that_is_no_config_is_told_in_words(tmp_path, monkeypatch, named, said):
    """Whatever -c names: no crash, nothing that drives a terminal, and never another config instead."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").touch()
    Path("loop").symlink_to("loop")
    with pytest.raises(ConfigError) as caught:
        load_config(find_config(named, {}), {})
    assert said in caught.value.problems[0]


def test_a_config_that_can_not_be_looked_at_is_not_passed_over(tmp_path, monkeypatch):
    """A place that is closed to us may hold the config: the next one is not taken in its stead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="can't be read: File name too long"):
        load_config(find_config(None, {"HOME": "/" + "h" * 300}), {})
