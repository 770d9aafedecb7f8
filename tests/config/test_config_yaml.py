"""What is no YAML, or none of ours, is told with the line where it goes wrong."""

from __future__ import annotations

import pytest
from config_mistakes import ENV, FOLDERS, problems

from rembg_watch.config.load import load_config
from rembg_watch.errors import ConfigError

ONE_MISTAKE = {
    "half a character": (FOLDERS + 'state_dir: "\\ud800"', "2: state_dir: has something in it that is no text"),
    "the same key twice": (
        FOLDERS + "workers: 3\nworkers: 4",
        "3: workers: is there twice; the first is in line 2",
    ),
    "open bracket": (
        "folders: [{inbox: a, outbox: b}\nworkers: 3",
        "2: the bracket that line 1 opens is not closed, or a comma is missing",
    ),
    "open quote": ("x: 1\nfolders: 'abc\nd: e\n", "2: a quote that is opened here is never closed"),
    "tab": ("folders:\n\t- inbox: a", "2: a tab can't indent in YAML: use spaces"),
    "colon too many": (
        "folders:\na: b: c",
        "2: a ':' where none can be: the indentation is off, or a text with ': ' in it needs quotes",
    ),
    "no colon": ("folders:\n- inbox: a\nworkers\nretry: {}", "3: a key without a ':' behind it"),
    "two documents": (FOLDERS + "---\n" + FOLDERS, "2: a second document begins: a config file has only one"),
    "control character": (FOLDERS + "# \x01", "2: has a character that YAML does not allow"),
    "unknown anchor": (
        "profiles:\n  a: &white {w: 5}\n  b: *whit\n" + FOLDERS,
        "3: profiles.b: there is no anchor '&whit' above (did you mean white?)",
    ),
    "anchor in itself": (FOLDERS + "profiles: &a\n  b: *a", "3: profiles.b: is an anchor that holds itself"),
    "tag": (
        FOLDERS + "workers: !!python/name:os.system x",
        "2: workers: has a YAML tag ('!...'), which means nothing here",
    ),
    "variable not set": (
        FOLDERS + "workers: ${WORKERS}",
        "2: workers: the environment variable WORKERS is not set",
    ),
    "variable misspelt": (
        FOLDERS + "api:\n  key: ${REMBG_APY_KEY}",
        "3: api.key: the environment variable REMBG_APY_KEY is not set (did you mean REMBG_API_KEY?)",
    ),
    "variable without an end": (
        FOLDERS + "state_dir: /x/${HOME",
        "2: state_dir: a '${' begins a variable, as in ${NAME}: write '$${' for the characters themselves",
    ),
    "empty": ("", "1: is empty: it needs at least 'folders' with an inbox and an outbox"),
    "only comments": ("# nothing\n", "1: is empty: it needs at least 'folders' with an inbox and an outbox"),
    "a list": ("- a\n", "1: must be a group of keys, such as 'folders:', each on a line of its own"),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_is_one_line(tmp_path, name):
    """Each kind of mistake is told in exactly one line of plain words, with the right line number."""
    text, expected = ONE_MISTAKE[name]
    assert problems(tmp_path, text) == [expected]


def test_an_alias_bomb_is_refused(tmp_path):
    """A few lines that unfold into millions of values are one mistake, told in no time."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert problems(tmp_path, "\n".join(lines)) == ["1: holds far too many values for a config file"]


def test_deep_nesting_is_refused(tmp_path):
    """Thousands of brackets are a mistake, not a crash."""
    assert problems(tmp_path, "a: " + "[" * 5000) == ["1: is nested too deeply"]


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path):
    """A Latin-1 file is recognised, with the line of its first odd character."""
    file = tmp_path / "config.yaml"
    file.write_bytes(b"workers: 3\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r":2: is not UTF-8 text"):
        load_config(file, ENV)


def test_a_file_that_is_not_there_is_a_config_error(tmp_path):
    """A missing or unreadable file ends with exit code 78, like every other mistake."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="can't be read") as caught:
            load_config(path, ENV)
        assert caught.value.exit_code == 78
