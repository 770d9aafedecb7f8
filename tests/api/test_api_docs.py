"""The client's page: every example on it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from api_raw_server import picture

from rembg_watch.api.client import RembgClient
from rembg_watch.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_examples_run(code, tmp_path, monkeypatch):
    """Each example runs as it is printed, against the sandbox in place of the real addresses."""
    (tmp_path / "shoe.jpg").write_bytes(picture("JPEG", (80, 60), "white"))
    monkeypatch.chdir(tmp_path)
    with Sandbox() as sandbox:
        monkeypatch.setitem(RembgClient.__init__.__kwdefaults__, "url", sandbox.url)
        monkeypatch.setitem(RembgClient.__init__.__kwdefaults__, "usage_url", sandbox.usage_url)
        exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - the page is ours
        assert sandbox.requests or sandbox.usage_calls


def test_there_are_examples():
    """The page has not lost its examples."""
    assert len(BLOCKS) >= 5
