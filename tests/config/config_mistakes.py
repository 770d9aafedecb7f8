"""A config file with mistakes, and what is said of them."""

from __future__ import annotations

import textwrap

import pytest

from rembg_watch.config.load import load_config
from rembg_watch.errors import ConfigError

KEY = "s3cret-Key-0123456789"
ENV = {"REMBG_API_KEY": KEY, "HOME": "/home/somebody"}
FOLDERS = "folders: [{inbox: in, outbox: out}]\n"


def problems(tmp_path, text, env=None):
    """Give the problem lines without the file's name."""
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, ENV if env is None else env)
    for line in caught.value.problems:
        assert line.startswith(f"{file}:")
        assert "pydantic" not in line
        assert KEY.lower() not in line.lower()
    return [line.removeprefix(f"{file}:") for line in caught.value.problems]
