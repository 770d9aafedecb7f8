"""The config as the daemon uses it: every path absolute, every profile looked up, nothing left to decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from rembg_watch.config.matching import any_of, by_folder, nearest
from rembg_watch.config.written import (
    DEFAULT_INCLUDE,
    ApiConfig,
    CreditsConfig,
    FolderConfig,
    ResultsConfig,
    RetryConfig,
)
from rembg_watch.errors import ConfigError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from rembg_watch.api.options import Options

__all__ = ["ApiConfig", "Config", "CreditsConfig", "Folder", "FolderConfig", "Profile", "ResultsConfig", "RetryConfig"]


@dataclass(frozen=True)
class Profile:
    """A named set of options. Options written in place have a name with a colon, such as ``inbox:masks``."""

    name: str
    options: Options


@dataclass(frozen=True)
class Folder:
    """One watched inbox. Paths are absolute with links resolved; times in seconds; limits in images per UTC day."""

    inbox: Path
    outbox: Path
    profile: Profile
    subfolders: tuple[tuple[PurePosixPath, Profile], ...] = ()
    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = ()
    recursive: bool = True
    priority: int = 0
    daily_limit: int | None = None
    hold_above: int | None = 2000
    settle: float = 0.5
    watch: Literal["auto", "events", "scan"] = "auto"
    rescan: float = 60.0
    on_success: Literal["keep", "archive", "delete"] = "keep"
    archive: Path | None = None
    on_failure: Literal["keep", "move"] = "keep"
    failed: Path | None = None
    output_name: str = "{stem}.{ext}"
    reuse_results: bool = True
    adopt_existing: bool = True

    @cached_property
    def _subfolder_table(self) -> dict[str, Profile]:
        return by_folder(dict(self.subfolders))

    @cached_property
    def _included(self) -> Callable[[str], bool]:
        return any_of(self.include)

    @cached_property
    def _excluded(self) -> Callable[[str], bool]:
        return any_of(self.exclude)

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of all options that photos of this folder may be sent with."""
        profiles = (self.profile, *(profile for _, profile in self.subfolders))
        return tuple(dict.fromkeys(profile.options.fingerprint for profile in profiles))

    def profile_for(self, relpath: str) -> Profile:
        """Give the profile of a file by its path relative to the inbox; the longest matching subfolder wins."""
        return nearest(self._subfolder_table, relpath, self.profile) if self.subfolders else self.profile

    def accepts(self, relpath: str) -> bool:
        """Say whether ``include`` and ``exclude`` let a file in, by its path relative to the inbox."""
        return self._included(relpath) and not self._excluded(relpath)

    def refuses(self, relpath: str) -> str | None:
        """Say why a file of this path, relative to the inbox, is none of this folder's photos, or None if it is one."""
        if not self.recursive and "/" in relpath:
            return "in a subfolder, and the folder is not recursive"
        return None if self.accepts(relpath) else "its name is not among those that the folder includes"


@dataclass(frozen=True)
class Config:
    """The whole config. ``profiles`` holds every profile by name, those written in place included."""

    api: ApiConfig
    state_dir: Path
    workers: int
    shutdown_grace: float
    credits: CreditsConfig
    retry: RetryConfig
    folders: tuple[Folder, ...]
    profiles: dict[str, Profile]
    results: ResultsConfig | None
    path: Path
    warnings: tuple[str, ...] = ()
    key: str | None = field(default=None, repr=False)

    @cached_property
    def _by_inbox(self) -> dict[str, Folder]:
        return {str(folder.inbox): folder for folder in self.folders}

    def folder(self, inbox: str) -> Folder | None:
        """Give the folder with this resolved inbox, or None if the config has none."""
        return self._by_inbox.get(inbox)

    def require_key(self) -> str:
        """Give the API key.

        Raises:
            ConfigError: there is none.
        """
        if self.key is None:
            what_to_do = (
                "set the environment variable REMBG_API_KEY, name a file with api.key_file, or give the service the "
                "systemd credential rembg-api-key (rembg-watch.service takes it from /etc/rembg-watch/key)"
            )
            raise ConfigError([f"{printable(str(self.path))}: api.key: there is no API key: {what_to_do}"])
        return self.key
