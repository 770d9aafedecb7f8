"""Finds the config file and loads it whole, or raises one error with every mistake in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_watch.config.key import VARIABLE, resolve_key
from rembg_watch.config.model import Config
from rembg_watch.config.overlap import overlaps
from rembg_watch.config.resolve import Resolver, default_state_dir
from rembg_watch.config.safety import warnings
from rembg_watch.config.validate import validate
from rembg_watch.config.yamltree import read_tree
from rembg_watch.errors import ConfigError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.config.written import WrittenConfig
    from rembg_watch.config.yamltree import Tree

MAX_BYTES = 1_000_000
"""No config file is longer."""
_SHORTEST_SECRET = 8
"""Shorter ones are no real keys, and words of the messages themselves."""


def find_config(explicit: str | None, env: Mapping[str, str] | None = None) -> Path:
    """Give the config file: ``explicit``, else ``$REMBG_WATCH_CONFIG``, else the first that exists of the usual places.

    Raises:
        ConfigError: there is none; the message names the places that were looked at.
    """
    env = os.environ if env is None else env
    for named, by in ((explicit, "-c"), (env.get("REMBG_WATCH_CONFIG"), "$REMBG_WATCH_CONFIG")):
        if named == "" and by == "-c":
            raise ConfigError(["there is no config file: what -c names is empty"])
        if named:
            path = _with_home(named)
            if not _is_there(path):
                shown = printable(str(path))
                raise ConfigError(
                    [f"{shown}: there is no such config file (named by {by}): write one with 'rembg-watch init'"]
                )
            return path
    home = Path(env["HOME"]) if env.get("HOME") else Path("~").expanduser()
    places = (Path("config.yaml"), home / ".config/rembg-watch/config.yaml", Path("/etc/rembg-watch/config.yaml"))
    for place in places:
        if _is_there(place):
            return place
    looked = ", ".join(printable(str(place) if place.is_absolute() else f"./{place}") for place in places)
    raise ConfigError(
        [f"there is no config file: looked for {looked}; write one with 'rembg-watch init', or name it with -c"]
    )


def _with_home(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:  # '~name' without such a user
        return Path(named)


def _is_there(path: Path) -> bool:
    """Say whether there is a file, or something that keeps us from telling: reading it says what."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load_config(path: Path | str, env: Mapping[str, str] | None = None) -> Config:
    """Load the config file at ``path``. Folders need not exist: that is looked at when they are used.

    Raises:
        ConfigError: with one line for every mistake, in the order of the file.
    """
    env = os.environ if env is None else env
    path = Path(path)
    tree = read_tree(_read(path), env)
    written = validate(tree)
    config = _resolved(written, tree, path, env) if written is not None else None
    if tree.problems or config is None:
        secrets = _secrets(tree, env)
        lines = [problem.shown(printable(str(path))) for problem in sorted(tree.problems, key=lambda p: p.line)]
        raise ConfigError([_without(line, secrets) for line in dict.fromkeys(lines)])
    return config


def _resolved(written: WrittenConfig, tree: Tree, path: Path, env: Mapping[str, str]) -> Config:
    base = path.absolute().parent
    resolver = Resolver(written, tree, base, env)
    state_dir = resolver.path(written.state_dir or default_state_dir(env), ("state_dir",))
    key_file = resolver.path(str(written.api.key_file), ("api", "key_file")) if written.api.key_file else None
    api = written.api.model_copy(update={"key_file": key_file})
    folders = resolver.folders()
    for where, text in overlaps(folders, state_dir):
        tree.note(where, text)
    if written.retry.max_delay < written.retry.base_delay:
        tree.note(("retry", "max_delay"), "must not be less than base_delay")
    return Config(
        api=api,
        state_dir=state_dir or base,
        workers=written.workers,
        shutdown_grace=written.shutdown_grace,
        credits=written.credits,
        retry=written.retry,
        results=written.results,
        folders=tuple(folder for folder in folders if folder is not None),
        profiles=resolver.profiles,
        path=path,
        key=resolve_key(api, tree, env),
        warnings=warnings(path, tree, key_file, state_dir or base),
    )


def _read(path: Path) -> str:
    shown = printable(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{shown}: can't be read: {error.strerror}"]) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError([f"{shown}: is longer than a config file can be"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{shown}:{line}: is not UTF-8 text: save the file as UTF-8"]) from None


def _secrets(tree: Tree, env: Mapping[str, str]) -> list[str]:
    """Give every text that may be the key: what messages show of the file must not hold it, wherever it was put."""
    names = {VARIABLE, *tree.variables.get(("api", "key"), ())}
    found = {env.get(name, "").strip() for name in names}
    api = tree.value.get("api") if isinstance(tree.value, dict) else None
    key = api.get("key") if isinstance(api, dict) else None
    return sorted((s for s in {*found, str(key or "").strip()} if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)


def _without(line: str, secrets: list[str]) -> str:
    for secret in secrets:
        line = re.sub(re.escape(secret), "***", line, flags=re.IGNORECASE)
    return line
