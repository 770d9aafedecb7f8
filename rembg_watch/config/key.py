"""Where the API key comes from. The key itself is never part of a message."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.config.written import ApiConfig
    from rembg_watch.config.yamltree import Tree

VARIABLE = "REMBG_API_KEY"
CREDENTIAL = "rembg-api-key"
_LONGEST_KEY_FILE = 65_536


def key_mistake(key: str) -> str | None:
    """Say why ``key`` can't be an API key, which travels in an HTTP header; None if it can."""
    if any(c.isspace() for c in key):
        return "has a space or a line break inside"
    if not key.isascii() or not key.isprintable():
        return "has a character that no API key has"
    return None


def read_first_line(path: Path) -> str:
    """Give the first line of a regular file, without white space around it. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is not a regular file")
        line = file.readline(_LONGEST_KEY_FILE)
    return line.decode("utf-8-sig", "replace").strip()


def resolve_key(api: ApiConfig, tree: Tree, env: Mapping[str, str]) -> str | None:
    """Give the key: ``api.key``, else that in ``api.key_file``, else the systemd credential, else the variable.

    Notes in ``tree`` what is wrong with it. None where none is set: some commands need none.
    """
    written = api.key.get_secret_value().strip() if api.key else ""
    if written and api.key_file:
        tree.note(("api", "key_file"), "is there together with api.key: keep one of the two")
        return None
    if written:
        return _checked(written, "", ("api", "key"), tree)
    if api.key_file:
        return _from_file(api.key_file, ("api", "key_file"), tree)
    if folder := env.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder, CREDENTIAL)
        # A blank one is none: our service has it where its key file is missing, so that we can say so ourselves.
        if os.path.lexists(credential) and not _is_blank(credential):
            return _from_file(credential, ("api",), tree)
    if (key := env.get(VARIABLE, "").strip()) and not tree.is_unknown(("api", "key")):
        return _checked(key, f"the environment variable {VARIABLE} ", ("api", "key"), tree)
    return None


def _is_blank(path: Path) -> bool:
    try:
        return not read_first_line(path)
    except OSError:
        return False


def _from_file(path: Path, where: tuple[str, ...], tree: Tree) -> str | None:
    shown = printable(str(path))
    try:
        key = read_first_line(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        tree.note(where, f"the key file {shown} can't be read: {reason}")
        return None
    if not key:
        tree.note(where, f"the key file {shown} is empty")
        return None
    return _checked(key, f"the key in {shown} ", where, tree)


def _checked(key: str, whose: str, where: tuple[str, ...], tree: Tree) -> str | None:
    mistake = key_mistake(key)
    if mistake:
        tree.note(where, f"{whose}{mistake}")
        return None
    return key
