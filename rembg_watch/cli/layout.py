"""What ``install`` puts where. Pure, but for reading the unit files that are shipped."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rembg_watch.config.example import Sample, render
from rembg_watch.config.schema import SCHEMA_FILE

MARK = "# Put here by 'rembg-watch install', which overwrites and removes it: change it by drop-ins, not here.\n"
"""The first line of each file that is ours to replace or remove; a file without it is never touched."""
SHIPPED_FOR = "/opt/rembg-watch"
"""The environment that the shipped unit files name."""
UNITS = Path("/etc/systemd/system")
CONFIG = Path("/etc/rembg-watch")
STATE = Path("/var/lib/rembg-watch")
PHOTOS = (Path("/srv/photos/inbox"), Path("/srv/photos/outbox"), Path("/srv/photos"))
"""The folders that tmpfiles.d makes, the inner ones first."""
USER, GROUP = "rembg-watch", "photos"
LINK = Path("/usr/local/bin/rembg-watch")
"""The command for whoever types it."""
RECORD = CONFIG / ".installed.json"
"""What was made that may have been there before: who undoes it must know."""

_SYSTEM = {
    "rembg-watch.service": UNITS,
    "rembg-watch@.service": UNITS,
    "rembg-watch-failed@.service": UNITS,
    "sysusers.d/rembg-watch.conf": Path("/etc/sysusers.d"),
    "tmpfiles.d/rembg-watch.conf": Path("/etc/tmpfiles.d"),
}
_OWN = "user/rembg-watch.service"


@dataclass(frozen=True)
class Placed:
    """One file to be put in place: where, and what is in it."""

    path: Path
    text: str


def shipped() -> Path:
    """Give the folder of unit files: in the installed package, or beside it in a clone."""
    packaged = Path(str(resources.files("rembg_watch"))) / "units"
    return packaged if packaged.is_dir() else packaged.parent.parent / "systemd"


def _text(name: str, environment: Path, python_homes: tuple[Path, ...]) -> str:
    text = (shipped() / name).read_text("utf-8").replace(SHIPPED_FOR, str(environment))
    if python_homes:
        text = text.replace(f"ExecPaths=/usr {environment}", " ".join(["ExecPaths=/usr", *map(str, python_homes)]))
    return MARK + text


def exec_paths(environment: Path, base: Path) -> tuple[Path, ...]:
    """Give the folders that a service may run programs from, besides /usr: the environment and its Python."""
    return tuple(path for path in dict.fromkeys((environment, base)) if not path.is_relative_to("/usr"))


def system_files(environment: Path, base: Path) -> list[Placed]:
    """Give the files of a system-wide installation. ``base`` is where the Python of the environment is installed."""
    homes = exec_paths(environment, base)
    return [Placed(folder / Path(name).name, _text(name, environment, homes)) for name, folder in _SYSTEM.items()]


def user_files(environment: Path, config_home: Path) -> list[Placed]:
    """Give the files of one person's own service; ``config_home`` is their ~/.config."""
    return [Placed(config_home / "systemd/user/rembg-watch.service", _text(_OWN, environment, ()))]


def first_config() -> str:
    """Give the config to begin with. It names the state directory, so that commands typed by root find it as well."""
    return render(Sample({}, frozenset({"key", "key_file", "archive", "failed"}))).replace(
        "rembg_watch/config/schema.json", str(SCHEMA_FILE), 1
    )


def unsuitable(environment: Path, base: Path, package: Path | None = None) -> str | None:
    """Say why a hardened system service can't use this environment, or None. Looks at modes on the disk.

    ``package`` is where the program itself lies, which is a clone after ``pip install -e``.
    """
    for folder in (environment, base, package or environment):
        for hidden in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"):  # noqa: S108 - to refuse them
            if folder.is_relative_to(hidden):
                return f"{folder} lies in {hidden}, which the service can't see"
        for part in (folder, *folder.parents):
            if part.exists() and not part.stat().st_mode & 0o001:
                return f"other users, such as the service's, can't enter {part}"
    return None
