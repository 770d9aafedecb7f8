"""The JSON Schema of the config file, with which an editor completes keys and underlines mistakes.

``python -m rembg_watch.config.schema`` writes the shipped ``schema.json`` anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rembg_watch.config.written import WrittenConfig

SCHEMA_FILE = Path(__file__).with_name("schema.json")
_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
_NOT_TEXT = ("integer", "number", "boolean")


def _with_variables(node: Any) -> Any:
    """Let ``${NAME}`` stand wherever a number or a truth does."""
    if isinstance(node, list):
        return [_with_variables(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_variables(entry) for key, entry in node.items()}
    if node.get("type") not in _NOT_TEXT:
        return node
    told = {key: node.pop(key) for key in ("title", "description", "default") if key in node}
    return {**told, "anyOf": [node, _VARIABLE]}


def build() -> dict[str, Any]:
    """Give the schema."""
    schema = _with_variables(WrittenConfig.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "rembg-watch config"}


def render() -> str:
    """Give the text of the shipped file."""
    return json.dumps(build(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(render(), encoding="utf-8")
