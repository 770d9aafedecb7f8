"""The shipped example and schema say what the models say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from rembg_watch.config import example, schema
from rembg_watch.config.load import load_config
from rembg_watch.config.written import WrittenConfig

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / example.EXAMPLE_FILE


def uncommented(text):
    """The example with every key that it leaves out."""
    return re.sub(r"^( *)#(?=[a-z])", r"\1", text, flags=re.MULTILINE)


def test_the_shipped_example_is_current():
    """Made anew with: python -m rembg_watch.config.example"""
    assert SHIPPED.read_text(encoding="utf-8") == example.render()


def test_the_shipped_example_loads_with_only_the_key_set():
    """It is valid as it stands; its folders need not exist."""
    config = load_config(SHIPPED, {"REMBG_API_KEY": "abcd"})
    assert config.key == "abcd"
    assert config.folders[0].inbox == Path("/srv/photos/inbox")


def test_what_the_example_leaves_out_is_valid_too(tmp_path):
    """Uncommenting every key but one of the two for the API key gives a config that loads."""
    file = tmp_path / "config.yaml"
    file.write_text(uncommented(example.render()).replace("  key_file:", "  #key_file:"), encoding="utf-8")
    config = load_config(file, {"REMBG_API_KEY": "abcd"})
    assert config.state_dir == Path("/var/lib/rembg-watch")
    assert config.folders[0].failed == Path("/srv/photos/failed")


def _missing(value, node, defs, path=""):
    """The keys of ``value`` that the schema does not know."""
    if "$ref" in node:
        node = defs[node["$ref"].rpartition("/")[2]]
    for branch in node.get("anyOf", []) + node.get("oneOf", []):
        if "$ref" in branch or branch.get("type") in {"array", "object"}:
            node = {**node, **defs.get(branch.get("$ref", "").rpartition("/")[2], branch)}
    if isinstance(value, list):
        return [key for entry in value for key in _missing(entry, node.get("items", {}), defs, f"{path}[]")]
    if not isinstance(value, dict):
        return []
    known = node.get("properties", {})
    free = node.get("additionalProperties")
    missing = []
    for key, entry in value.items():
        if key in known:
            missing += _missing(entry, known[key], defs, f"{path}.{key}")
        elif isinstance(free, dict):
            missing += _missing(entry, free, defs, f"{path}.{key}")
        else:
            missing.append(f"{path}.{key}")
    return missing


def test_every_key_of_the_example_is_in_the_schema():
    """An editor underlines nothing in it."""
    shipped = json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8"))
    document = yaml.safe_load(uncommented(example.render()))
    assert _missing(document, shipped, shipped["$defs"]) == []
    assert _missing({"folders": [{"nonsense": 1}]}, shipped, shipped["$defs"]) == [".folders[].nonsense"]
    assert set(document) == set(WrittenConfig.model_fields)


def test_the_shipped_schema_is_current():
    """Made anew with: python -m rembg_watch.config.schema"""
    assert schema.SCHEMA_FILE.read_text(encoding="utf-8") == schema.render()


def test_every_key_says_what_it_is():
    """No key of any section is without a description."""
    for name, section in schema.build()["$defs"].items():
        for key, field in section.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "value", ["a: b", "yes", "*x", "{stem}", "", "5", "# x", "é", None, True, 2.5, ["a", {"b": [1]}]]
)
def test_a_value_on_one_line_reads_back_as_itself(value):
    """What the example shows is what YAML reads."""
    assert yaml.safe_load(f"x: {example.flow(value)}") == {"x": value}
