"""The written config to the one that the daemon uses: paths made absolute, profiles looked up, keys compared."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rembg_watch.api.options import Options
from rembg_watch.config.model import Folder, Profile
from rembg_watch.config.overlap import shares_outbox
from rembg_watch.config.problems import brief, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.config.problems import KeyPath
    from rembg_watch.config.written import FolderConfig, WrittenConfig
    from rembg_watch.config.yamltree import Tree

DEFAULT_PROFILE = "default"


def default_state_dir(env: Mapping[str, str]) -> str:
    """Give ``$STATE_DIRECTORY`` (the first of them, as systemd gives it), else the user's own state folder."""
    if given := env.get("STATE_DIRECTORY", "").split(":")[0]:
        return given
    base = env.get("XDG_STATE_HOME", "")
    return f"{base if base.startswith('/') else '~/.local/state'}/rembg-watch"


def absolute(written: str, base: Path, env: Mapping[str, str]) -> Path:
    """Expand ``~``, take the rest as below ``base``, and resolve links as far as they exist.

    Raises:
        ValueError: there is no such home.
    """
    home = env.get("HOME", "")
    if (written == "~" or written.startswith("~/")) and home.startswith("/"):
        written = home + written[1:]
    try:
        expanded = Path(written).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder for '{brief(written.split('/')[0])}'") from None
    # Unlike Path.resolve on Python before 3.13, this does not raise for links that go in circles.
    return Path(os.path.realpath(base / expanded))


class Resolver:
    """Resolves one config; what is wrong is noted in the tree."""

    def __init__(self, written: WrittenConfig, tree: Tree, base: Path, env: Mapping[str, str]) -> None:
        self.written, self.tree, self.base, self.env = written, tree, base, env
        self.profiles: dict[str, Profile] = {}
        self._name_profiles()

    def _name_profiles(self) -> None:
        for name, options in self.written.profiles.items():
            if not name.strip() or not name.isprintable() or name.startswith(".") or set(name) & set("/:\\"):
                self.tree.note(
                    ("profiles", name), "a profile's name has no slash, colon or control character, and no dot in front"
                )
            self.profiles[name] = Profile(name, options)
        self.profiles.setdefault(DEFAULT_PROFILE, Profile(DEFAULT_PROFILE, Options()))

    def path(self, written: str, where: KeyPath) -> Path | None:
        """Make a path absolute; None, and a problem noted, where that can't be done."""
        if self.tree.is_unknown(where):
            return None
        try:
            return absolute(written, self.base, self.env)
        except (ValueError, OSError) as error:
            self.tree.note(where, str(error))
            return None

    def profile(self, written: str | Options | None, where: KeyPath, inline_name: str) -> Profile:
        """Look a profile up by its name, or name the options that are written in place."""
        if isinstance(written, Options):
            name, number = inline_name, 1
            while name in self.profiles:
                number += 1
                name = f"{inline_name}-{number}"
            self.profiles[name] = Profile(name, written)
            return self.profiles[name]
        if written is None:
            return self.profiles[DEFAULT_PROFILE]
        if written in self.profiles:
            return self.profiles[written]
        if not self.tree.is_unknown(where) and ("profiles",) not in self.tree.unknown:
            shown = "" if where in self.tree.variables else f" '{brief(written)}'"
            hint = did_you_mean(written, self.profiles)
            known = "" if hint else f": there are {', '.join(map(brief, sorted(self.written.profiles)))}"
            if not self.written.profiles:
                known = ": the config has no profiles"
            self.tree.note(where, f"there is no profile{shown}{hint or known}")
        return self.profiles[DEFAULT_PROFILE]

    def folders(self) -> list[Folder | None]:
        """Give every folder, None where its inbox or outbox could not be told."""
        found = [self._folder(folder, ("folders", index)) for index, folder in enumerate(self.written.folders)]
        return [
            replace(folder, adopt_existing=False) if folder is not None and shares_outbox(folder, found) else folder
            for folder in found
        ]

    def _folder(self, folder: FolderConfig, at: KeyPath) -> Folder | None:
        inbox, outbox = self.path(folder.inbox, (*at, "inbox")), self.path(folder.outbox, (*at, "outbox"))
        archive = self.path(folder.archive, (*at, "archive")) if folder.archive else None
        failed = self.path(folder.failed, (*at, "failed")) if folder.failed else None
        for key, value, needs in (("on_success", "archive", "archive"), ("on_failure", "move", "failed")):
            if (
                getattr(folder, key) == value
                and getattr(folder, needs) is None
                and not self.tree.is_unknown((*at, needs))
            ):
                self.tree.note((*at, key), f"'{value}' needs the key {needs} as well: the folder to move photos to")
        short = inbox.name if inbox else "folder"
        profile = self.profile(folder.profile, (*at, "profile"), f"{short}:options")
        subfolders = self._subfolders(folder, at, short)
        if inbox is None or outbox is None:
            return None
        same = set(Folder.__dataclass_fields__) - {"inbox", "outbox", "archive", "failed", "profile", "subfolders"}
        return Folder(
            inbox=inbox,
            outbox=outbox,
            archive=archive,
            failed=failed,
            profile=profile,
            subfolders=subfolders,
            **{name: getattr(folder, name) for name in same},
        )

    def _subfolders(self, folder: FolderConfig, at: KeyPath, short: str) -> tuple[tuple[PurePosixPath, Profile], ...]:
        found: dict[PurePosixPath, Profile] = {}
        if folder.subfolders and not folder.recursive:
            self.tree.note((*at, "subfolders"), "has no effect, as recursive is false: remove one of the two")
        for written, value in folder.subfolders.items():
            where = (*at, "subfolders", written)
            mistake, path = _subfolder_mistake(written), PurePosixPath(written)
            if mistake is None and path in found:
                mistake = "is there twice, with and without a slash"
            if mistake is not None:
                self.tree.note(where, mistake)
            found[path] = self.profile(value, where, f"{short}:{path.as_posix().replace('/', '-')}")
        return tuple(found.items())


def _subfolder_mistake(written: str) -> str | None:
    path = PurePosixPath(written)
    if path.is_absolute():
        return "must be a path below the inbox, without a slash in front"
    if ".." in path.parts:
        return "must be a path below the inbox, without '..'"
    if not path.parts:
        return "must name a subfolder of the inbox"
    return None if written.isprintable() else "has a control character in it"
