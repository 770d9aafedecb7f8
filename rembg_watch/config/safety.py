"""Who else can read the key or change the config: warnings, for a human to judge."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_watch.config.yamltree import Tree

_ANYBODY_WRITES = stat.S_IWOTH
_OTHERS_AND_GROUP_READ = stat.S_IRGRP | stat.S_IROTH


def _stat(path: Path | None) -> os.stat_result | None:
    try:
        return path.stat() if path is not None else None
    except OSError:
        return None


def warnings(file: Path, tree: Tree, key_file: Path | None, state_dir: Path) -> tuple[str, ...]:
    """Look at the modes and owners of the config file, the key file and the state directory."""
    found: list[str] = []
    shown = printable(str(file))

    def warn(path: tuple[str, ...], text: str) -> None:
        where = f"{shown}:{tree.line(path)}: {'.'.join(path)}" if path else shown
        found.append(f"{where}: {text}")

    if (config := _stat(file)) is not None:
        inline = ("api", "key") in tree.lines and ("api", "key") not in tree.variables
        if inline and config.st_mode & _OTHERS_AND_GROUP_READ:
            warn(("api", "key"), f"others can read the key in this file: chmod 600 {shown}, or use key_file")
        if config.st_mode & _ANYBODY_WRITES:
            warn((), f"everybody can change this file: chmod o-w {shown}")
        if config.st_uid not in {0, os.geteuid()}:
            warn((), "belongs to another user, who can change what is done and where the key is sent")
    if (key := _stat(key_file)) is not None:
        if key.st_mode & stat.S_IROTH:
            warn(("api", "key_file"), f"everybody can read the key: chmod o-rwx {key_file}")
        if key.st_mode & _ANYBODY_WRITES:
            warn(("api", "key_file"), f"everybody can change the key: chmod o-rwx {key_file}")
    if (state := _stat(state_dir)) is not None and state.st_mode & _ANYBODY_WRITES:
        warn(("state_dir",), f"everybody can write to {state_dir}, where the jobs are: chmod o-w {state_dir}")
    return tuple(found)
