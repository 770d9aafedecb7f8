"""Renders a commented config file from the models, so that the two can't drift apart.

``python -m rembg_watch.config.example`` writes ``config.example.yaml`` into the current folder. Lines that begin with
``#`` and no space behind it are keys that are left out; without that ``#`` they are valid as they stand.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotated_types import Ge, Gt, Le

from rembg_watch.api.options import Options
from rembg_watch.config.written import (
    ApiConfig,
    CreditsConfig,
    FolderConfig,
    ResultsConfig,
    RetryConfig,
    WrittenConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

EXAMPLE_FILE = "config.example.yaml"
_COLUMN = 38
_WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z/~$][\w./~${}:-]*|\d+([smhdw]|[kMGT]B)")
_SECTIONS: dict[str, type[BaseModel]] = {
    "api": ApiConfig,
    "credits": CreditsConfig,
    "retry": RetryConfig,
    "results": ResultsConfig,
}


@dataclass(frozen=True)
class Sample:
    """The paths to show, the keys that are shown as left out, and where an editor finds the schema."""

    paths: dict[str, str]
    left_out: frozenset[str] = frozenset()
    schema: str = "rembg_watch/config/schema.json"


SERVER = Sample({}, frozenset({"key", "key_file", "state_dir", "archive", "failed"}))
"""``config.example.yaml``: a server with its photos in /srv/photos."""

_HEAD = """\
# The configuration of rembg-watch. Required is only 'folders', with an inbox and an outbox for each; this is enough:
#
#     folders: [{inbox: /srv/photos/inbox, outbox: /srv/photos/outbox}]
#
# Everything else is optional and is shown with its default, but for the profiles and subfolders: those are samples.
# A line that begins with '#' and no space is a key that is left out. Relative paths are relative to this file, '~' is
# your home folder. ${NAME} takes an environment variable; $${ stands for the characters '${' themselves.
# 'rembg-watch check' says what is wrong with this file, line by line.
"""


def flow(value: Any) -> str:
    """Write a value on one line of YAML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {flow(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value not in {"null", "true", "false", "yes", "no"}:
        return value
    return json.dumps(value)


def bounds(field: FieldInfo) -> str:
    """Write a number's range, such as ``1 to 256`` or ``0 or more``; nothing for what has none."""
    least = next((rule.ge for rule in field.metadata if isinstance(rule, Ge)), None)
    above = next((rule.gt for rule in field.metadata if isinstance(rule, Gt)), None)
    most = next((rule.le for rule in field.metadata if isinstance(rule, Le)), None)
    if least is not None:
        return f"{least} to {most}" if most is not None else f"{least} or more"
    if above is not None:
        return f"above {above}, up to {most}" if most is not None else f"above {above}"
    return ""


def about(field: FieldInfo) -> str:
    """Give a field's description with its range."""
    text = field.description or ""
    return f"{text.removesuffix('.')} ({range_})." if (range_ := bounds(field)) else text


def _line(indent: int, text: str, comment: str, *, left_out: bool = False) -> Iterator[str]:
    """Give ``text`` with its comment behind it, or above it where it is too long for that."""
    shown = " " * indent + ("#" if left_out else "") + text
    if len(shown) > _COLUMN - 2:
        for part in textwrap.wrap(comment, _WIDTH - indent - 2):
            yield f"{' ' * indent}# {part}"
        yield shown
        return
    first, *more = textwrap.wrap(comment, _WIDTH - _COLUMN - 2) or [""]
    yield f"{shown.ljust(_COLUMN)}# {first}" if first else shown
    for part in more:
        yield f"{' ' * _COLUMN}# {part}"


def _value(name: str, field: FieldInfo, sample: Sample) -> Any:
    if name in sample.paths:
        return sample.paths[name]
    if field.examples:
        return field.examples[0]
    return field.get_default(call_default_factory=True)


def _keys(model: type[BaseModel], indent: int, sample: Sample) -> Iterator[str]:
    for name, field in model.model_fields.items():
        value, left_out = _value(name, field, sample), name in sample.left_out
        if isinstance(value, dict) and value:
            yield from _line(indent, f"{name}:", about(field), left_out=left_out)
            for key, entry in value.items():
                yield from _line(indent + 2, f"{key}: {flow(entry)}", "", left_out=left_out)
        else:
            yield from _line(indent, f"{name}: {flow(value)}", about(field), left_out=left_out)


def _options() -> Iterator[str]:
    yield "  # Every option, with its default:"
    for name, field in Options.model_fields.items():
        told = _line(4, f"{name}: {flow(field.default)}", field.description or "")
        yield from (f"  # {line[4:]}" for line in told)


def _folders(sample: Sample) -> Iterator[str]:
    first, *rest = _keys(FolderConfig, 4, sample)
    yield f"  - {first[4:]}"
    yield from rest


def render(sample: Sample = SERVER) -> str:
    """Give the text of a whole config file."""
    lines = [f"# yaml-language-server: $schema={sample.schema}", *_HEAD.splitlines(), ""]
    for name, field in WrittenConfig.model_fields.items():
        if name in _SECTIONS:
            lines += ["", *_line(0, f"{name}:", about(field)), *_keys(_SECTIONS[name], 2, sample), ""]
        elif name == "profiles":
            lines += ["", *_line(0, f"{name}:", about(field)), *_options()]
            lines += [f"  {key}: {flow(entry)}" for key, entry in _value(name, field, sample).items()]
        elif name == "folders":
            lines += ["", *_line(0, f"{name}:", about(field)), *_folders(sample)]
        else:
            value = _value(name, field, sample)
            lines += _line(0, f"{name}: {flow(value)}", about(field), left_out=name in sample.left_out)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else EXAMPLE_FILE).write_text(render(), encoding="utf-8")
