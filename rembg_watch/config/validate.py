"""A tree of plain values to the written config, or every mistake in it at once. Pure.

Pydantic stops checking a group as a whole as soon as one key of it is wrong. So what is wrong is noted, put right for
the moment, and looked at again, until nothing new turns up.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from rembg_watch.api.options import Options
from rembg_watch.config.problems import did_you_mean, in_words, value_shown
from rembg_watch.config.written import (
    ApiConfig,
    CreditsConfig,
    FolderConfig,
    ResultsConfig,
    RetryConfig,
    WrittenConfig,
)

if TYPE_CHECKING:
    from rembg_watch.config.problems import KeyPath
    from rembg_watch.config.yamltree import Tree

_ROUNDS = 20
_SECTIONS: dict[str, type[BaseModel]] = {
    "api": ApiConfig,
    "credits": CreditsConfig,
    "retry": RetryConfig,
    "results": ResultsConfig,
}
_HOMES: dict[str, type[BaseModel]] = {
    "the top level": WrittenConfig,
    **_SECTIONS,
    "a folder": FolderConfig,
    "a profile": Options,
}
_OTHER_WORDS = {
    "width": "w",
    "height": "h",
    "background": "bg_color",
    "background_color": "bg_color",
    "rotate": "angle",
    "input": "inbox",
    "source": "inbox",
    "output": "outbox",
    "target": "outbox",
    "api_key": "key",
    "concurrency": "workers",
    "threads": "workers",
}
_STAND_INS: dict[str, Any] = {"w": 1, "h": 1, "bg_color": "white"}
_UNKNOWN_FOLDER = {"inbox": "?", "outbox": "?"}


def keys_at(path: KeyPath) -> tuple[str, ...]:
    """Give the keys that may stand in the group at ``path``."""
    match path:
        case ():
            model: type[BaseModel] = WrittenConfig
        case (str() as section,) if section in _SECTIONS:
            model = _SECTIONS[section]
        case ("folders", int()):
            model = FolderConfig
        case _:
            model = Options
    return tuple(model.model_fields)


def unknown_key(path: KeyPath) -> str:
    """Say that the last key of ``path`` does not exist, and which one may have been meant."""
    key, known = str(path[-1]), keys_at(path[:-1])
    if hint := did_you_mean(key, known):
        return f"unknown key{hint}"
    if (word := _OTHER_WORDS.get(key.lower())) in known:
        return f"unknown key (did you mean {word}?)"
    homes = [home for home, model in _HOMES.items() if key in model.model_fields]
    return f"unknown key here (it belongs to {homes[0]})" if homes else "unknown key"


def validate(tree: Tree) -> WrittenConfig | None:
    """Give the written config and note every problem in ``tree``; what was wrong has a stand-in and is in ``unknown``.

    None where there is nothing to give at all.
    """
    if not isinstance(tree.value, dict):
        if not tree.problems:
            tree.note((), "must be a group of keys, such as 'folders:', each on a line of its own")
        return None
    value = copy.deepcopy(tree.value)
    for path in sorted(tree.unknown, key=len):
        _put_right(value, path)
    for _ in range(_ROUNDS):
        try:
            return WrittenConfig.model_validate(value)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                path = _without_tag(one["loc"])
                if one["type"] == "too_short" and one["input"]:
                    continue  # pydantic counts the good entries only, and the bad ones are reported themselves
                _note(tree, path, one)
                _put_right(value, path)
    return None


def _without_tag(loc: KeyPath) -> KeyPath:
    """Leave out what pydantic puts into a path for which of the two, a name or options, it took a profile."""
    match loc:
        case ("folders", int(), "profile", _, *_):
            return (*loc[:3], *loc[4:])
        case ("folders", int(), "subfolders", _, _, *_):
            return (*loc[:4], *loc[5:])
    return loc


def _note(tree: Tree, path: KeyPath, error: Any) -> None:
    if tree.is_unknown(path):
        return
    tree.unknown.add(path)
    if error["type"] == "extra_forbidden":
        if path[0] == "api" and not re.fullmatch(r"[A-Za-z_]{1,20}", str(path[-1])):
            # Perhaps not a key at all, but the API key in the wrong place.
            tree.note(path[:-1], "has an unknown key", tree.line(path))
        else:
            tree.note(path, unknown_key(path))
        return
    secret = path[:1] == ("api",) and path[-1] not in {"connect_timeout", "read_timeout", "max_per_second"}
    hidden = secret or path in tree.variables or not path or path[0] not in WrittenConfig.model_fields
    # A text where a group of keys belongs may be anything, also a key in the wrong place.
    hidden = hidden or (isinstance(error["input"], str) and error["type"].startswith(("model", "dict")))
    tree.note(path, in_words(error, None if hidden else value_shown(error["input"])))


def _put_right(value: dict[str, Any], path: KeyPath) -> None:
    """Change ``value`` so that ``path`` is no longer wrong, and nothing else turns wrong by it."""
    parent: Any = value
    for part in path[:-1]:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1] if path else ""
    match path:
        case ("folders",):
            value["folders"] = [dict(_UNKNOWN_FOLDER)]
        case ("folders", int() as index):
            parent[index] = dict(_UNKNOWN_FOLDER)
        case ("folders", int() as index, _) if not isinstance(parent, dict):  # an entry with nothing behind its '-'
            value["folders"][index] = dict(_UNKNOWN_FOLDER)
        case ("folders", int(), "inbox" | "outbox"):
            parent[last] = "?"
        case ("profiles", _):
            parent[last] = {}
        case _ if isinstance(parent, list):
            # A wrong pattern: the whole list goes, whichever way it was reached.
            parent[:] = ["*"]
        case _ if isinstance(parent, dict) and last in _STAND_INS and last in Options.model_fields:
            parent[last] = _STAND_INS[str(last)]
        case _ if isinstance(parent, dict):
            parent.pop(last, None)
