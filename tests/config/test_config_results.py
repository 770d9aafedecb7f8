"""``results`` and ``hold_above``: times and sizes as people write them, and ``off``."""

from __future__ import annotations

import json

import pytest
from config_mistakes import ENV, FOLDERS, problems

from rembg_watch.config import example, schema
from rembg_watch.config.load import load_config


def load(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load_config(file, ENV)


@pytest.mark.parametrize(
    ("written", "keep", "most"),
    [
        ("", 90 * 86400, 20 * 10**9),
        ("results:\n", 90 * 86400, 20 * 10**9),
        ("results: {}\n", 90 * 86400, 20 * 10**9),
        ("results: {keep: 30d, max: 5GB}\n", 30 * 86400, 5 * 10**9),
        ("results: {keep: 1.5d}\n", 36 * 3600, 20 * 10**9),
        ('results: {keep: "12 h", max: "500 MB"}\n', 12 * 3600, 500 * 10**6),
        ("results: {keep: 2w, max: 1TiB}\n", 14 * 86400, 1024**4),
        ("results: {keep: 7200, max: 3000000}\n", 7200, 3_000_000),
    ],
)
def test_how_long_and_how_much_is_kept(tmp_path, written, keep, most):
    """A number with its unit; a plain number is seconds or bytes; what is left out has its default."""
    results = load(tmp_path, written + FOLDERS).results
    assert (results.keep, results.max) == (keep, most)


@pytest.mark.parametrize("off", ["off", "Off", '"off"', "false"])
def test_results_can_be_off(tmp_path, off):
    """YAML reads off as false; in quotes it is a text. Both mean that nothing is kept."""
    assert load(tmp_path, f"results: {off}\n{FOLDERS}").results is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{keep: 90 days}", 'results.keep: must be a time such as "90d" or "12h" (s, m, h, d, w)'),
        ("{keep: soon}", 'results.keep: must be a time such as "90d" or "12h" (s, m, h, d, w)'),
        ("{keep: 10m}", 'results.keep: must be at least "1h" (a plain number is seconds)'),
        ("{keep: 90}", 'results.keep: must be at least "1h" (a plain number is seconds)'),
        ("{keep: true}", "results.keep: must be a number, not true or false"),
        ("{keep: .inf}", "results.keep: must be a number, not inf"),
        ("{max: lots}", 'results.max: must be a size such as "20GB" or "500MB"'),
        ("{max: 20}", 'results.max: must be at least "1MB" (a plain number is bytes)'),
        ("{max: 99999999999999TB}", 'results.max: must be a size such as "20GB" or "500MB"'),
        ("{kep: 3d}", "results.kep: unknown key (did you mean keep?)"),
        ("on", "results: must be off, or keys such as {keep: 90d, max: 20GB}"),
        ("90d", "results: must be off, or keys such as {keep: 90d, max: 20GB}"),
    ],
)
def test_mistakes_in_results(tmp_path, written, told):
    """With the line, and what is right."""
    assert problems(tmp_path, f"workers: 3\nresults: {written}\n{FOLDERS}") == [f"2: {told}"]


def test_a_misplaced_key_is_told_where_it_belongs(tmp_path):
    assert problems(tmp_path, f"keep: 90d\n{FOLDERS}") == ["1: keep: unknown key here (it belongs to results)"]


@pytest.mark.parametrize(("written", "limit"), [("off", None), ('"off"', None), ("500", 500), ("", 2000)])
def test_hold_above(tmp_path, written, limit):
    """A number, or off; without a value its default."""
    (folder,) = load(tmp_path, f"folders:\n  - inbox: in\n    outbox: out\n    hold_above: {written}\n").folders
    assert folder.hold_above == limit


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0", "must be at least 1, not 0"),
        ("on", "must be a number, not true or false"),
        ("many", "must be a whole number, not 'many'"),
        ("1.5", "must be a whole number, not 1.5"),
    ],
)
def test_mistakes_in_hold_above(tmp_path, written, told):
    text = f"folders:\n  - inbox: in\n    outbox: out\n    hold_above: {written}\n"
    assert problems(tmp_path, text) == [f"4: folders[0].hold_above: {told}"]


def test_the_example_shows_them_as_people_write_them():
    text = example.render()
    assert "\n  keep: 90d " in text
    assert "\n  max: 20GB " in text
    assert "\n    hold_above: 2000 " in text


def test_an_editor_accepts_what_is_valid():
    """The schema knows texts with units and off, and not only the numbers that come of them."""
    defs = json.loads(schema.render())["$defs"]
    patterns = [kind.get("pattern") for kind in defs["ResultsConfig"]["properties"]["keep"]["anyOf"]]
    assert any(pattern and "smhdw" in pattern for pattern in patterns)
    assert {"enum": ["off", False]} in defs["FolderConfig"]["properties"]["hold_above"]["anyOf"]
    assert {"enum": ["off", False]} in json.loads(schema.render())["properties"]["results"]["anyOf"]
