"""What ``check`` looks at on this machine: the state directory, the folders, the kernel's limits, what is installed."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_watch.cli import findings
from rembg_watch.cli.findings import Finding, fail, ok, warn
from rembg_watch.cli.options import reading, result_store, shortage
from rembg_watch.cli.results import Stock
from rembg_watch.cli.show import ago, count, size
from rembg_watch.config.yamltree import read_tree
from rembg_watch.errors import EXIT_CANT_WRITE, StateError
from rembg_watch.fsutil import MountTable, mount_of, network_type
from rembg_watch.jobs.database import Database, sqlite3
from rembg_watch.jobs.lock import running_pid
from rembg_watch.jobs.status_table import StatusTable
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from rembg_watch.config.model import Config, Folder
    from rembg_watch.fsutil import Mount

_SYSCTLS = Path("/proc/sys/fs/inotify")


def _shown(path: Path) -> str:
    return printable(str(path))


def _standing(path: Path) -> Path:
    """Give the path itself, or the nearest folder above it that exists and can be reached."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return path


def _write_probe(folder: Path) -> OSError | None:
    """Try to write for real, as permissions alone do not tell of read-only mounts and service sandboxes."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".rembg-watch-check-", suffix=".part") as file:
            file.write(b"probe")
            file.flush()
    except OSError as error:
        return error
    return None


def state(config: Config) -> Iterator[Finding]:
    """Look at the state directory and the job database in it."""
    directory = config.state_dir
    shown = _shown(directory)
    standing = _standing(directory)
    if (kind := network_type(standing)) is not None:
        yield fail(
            "state_dir",
            f"{shown} is on a network filesystem ({kind}), where SQLite loses data",
            "Set state_dir to a local directory.",
            EXIT_CANT_WRITE,
        )
        return
    if standing == directory and directory.stat().st_mode & stat.S_IWOTH:
        hint = f"Run: chmod o-w {shown}"
        yield fail("state_dir", f"others can write to {shown}, so no daemon starts", hint, EXIT_CANT_WRITE)
        return
    if (error := _write_probe(standing)) is not None:
        what = "can't be written" if standing == directory else f"can't be made in {_shown(standing)}"
        yield fail(
            "state_dir",
            f"{shown} {what}: {error.strerror}",
            "Make it, and let the daemon's user write there.",
            EXIT_CANT_WRITE,
        )
        return
    file = directory / "jobs.db"
    note = ("is made at the first start" if standing != directory else "can be written") + _free(standing)
    if file.exists():
        try:
            Database(file, readonly=True).close()
        except StateError as wrong:
            yield fail("state_dir", wrong.message, wrong.hint, EXIT_CANT_WRITE)
            return
        note = "holds jobs" + _free(standing)
    pid = running_pid(directory) if standing == directory else None
    yield ok("state_dir", f"{shown} {note}" + (f"; a daemon is running with it (process {pid})" if pid else ""))
    yield from _space("state_dir", standing)


def results(config: Config) -> Iterator[Finding]:
    """Check the result store: how much it holds, whether that is enough, and the room on its disk."""
    now = time.time()
    with reading(config) as database:
        stock = Stock.of(result_store(config, database).listing())
        short = shortage(config, database, now)
    room = _free(_standing(config.state_dir))
    if config.results is None:
        yield ok("results", f"off: a paid result is kept only until it is delivered ({size(stock.bytes)} now{room})")
        return
    held = f"{count(stock.kept, 'result')} kept, {size(stock.bytes)} of {size(config.results.max)}{room}"
    if stock.oldest is not None:
        held += f"; the longest unused one was last used {ago(stock.oldest, now)}"
    yield ok("results", held)
    if short is not None:
        yield findings.short_store(short)


def _free(path: Path) -> str:
    try:
        disk = os.statvfs(path)
    except OSError:
        return ""
    return f", {disk.f_bavail * disk.f_frsize / 1024**3:.1f} GB free"


def _space(subject: str, path: Path) -> Iterator[Finding]:
    try:
        disk = os.statvfs(path)
    except OSError:
        return
    if (finding := findings.space(subject, _shown(path), disk.f_bavail * disk.f_frsize)) is not None:
        yield finding


def folders(config: Config, env: Mapping[str, str]) -> Iterator[Finding]:
    """Look at every inbox, outbox, archive and failed folder; count what must be watched."""
    written = _written_inboxes(config, env)
    total, seen = 0, _seen(config)
    with MountTable() as table:
        mounts = table.read()
    for number, folder in enumerate(config.folders):
        count, unreadable = _count(folder)
        yield from _inbox(folder, count, unreadable, mounts)
        if written and written[number] != folder.inbox and written[number].is_symlink():
            yield ok("inbox", f"{_shown(written[number])} is a link; what is watched is {_shown(folder.inbox)}")
        for subject, path in (("outbox", folder.outbox), ("archive", folder.archive), ("failed", folder.failed)):
            if path is not None:
                yield from _target(subject, path, seen)
        for subject, path in (("archive", folder.archive), ("failed", folder.failed)):
            if path is not None and not _same_disk(folder.inbox, path):
                yield ok(subject, f"{_shown(path)} is on another disk than its inbox: each photo is copied there")
        if folder.watch != "scan":
            total += count
    yield findings.watches(total, _sysctl("max_user_watches"))
    if (finding := findings.instances(free=_instance_is_free(), limit=_sysctl("max_user_instances"))) is not None:
        yield finding


def _seen(config: Config) -> frozenset[str]:
    """Give the folders that a daemon has seen in their places: one of them that is gone, it does not make again."""
    try:
        with reading(config) as database:
            return frozenset() if database is None else frozenset(StatusTable(database).fact("targets") or ())
    except StateError:
        return frozenset()


def _written_inboxes(config: Config, env: Mapping[str, str]) -> list[Path]:
    """Give the inboxes as they are written, before links are resolved."""
    try:
        value = read_tree(config.path.read_text("utf-8-sig"), env).value
        base = config.path.absolute().parent
        return [base / Path(str(folder["inbox"])).expanduser() for folder in value["folders"]]
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return []


def _count(folder: Folder) -> tuple[int, list[str]]:
    """Count the folders of an inbox, itself included, and name those that can't be read."""
    if _no_folder(folder.inbox) is not None:
        return 0, []
    unreadable: list[str] = []
    if not folder.recursive:
        return 1, unreadable
    walk = os.walk(folder.inbox, onerror=lambda error: unreadable.append(str(error.filename)))
    return sum(1 for _ in walk), unreadable


def _inbox(folder: Folder, count: int, unreadable: list[str], mounts: Sequence[Mount]) -> Iterator[Finding]:
    path, shown = folder.inbox, _shown(folder.inbox)
    if (wrong := _no_folder(path)) is not None:
        yield fail("inbox", f"{shown} {wrong}", "Make it (mkdir -p), mount it, or correct the config.", EXIT_CANT_WRITE)
        return
    moves = folder.on_success != "keep" or folder.on_failure == "move"
    if not os.access(path, os.R_OK | os.X_OK):
        yield fail(
            "inbox", f"{shown} can't be read", "Let the daemon's user read it (chmod, setfacl).", EXIT_CANT_WRITE
        )
        return
    if moves and (error := _write_probe(path)) is not None:
        yield fail(
            "inbox",
            f"{shown} can't be written ({error.strerror}), but photos are to be moved out of it",
            "Let the daemon's user write there, or set on_success and on_failure to keep.",
            EXIT_CANT_WRITE,
        )
        return
    for name in unreadable[:5]:
        yield warn(
            "inbox", f"{printable(name)} can't be read: its photos are not seen", "Let the daemon's user read it."
        )
    mount = mount_of(str(path), mounts)
    how = ""
    if mount is not None and mount.is_network:
        how = f", scanned (a network filesystem, {mount.type})"
        if folder.watch == "events":
            yield warn(
                "inbox",
                f"{shown} is on a network filesystem ({mount.type}), which tells nothing of what other machines write",
                "Set watch to auto or scan.",
            )
    yield ok("inbox", f"{shown}: {count} folder{'s' * (count != 1)}, profile {printable(folder.profile.name)}{how}")


def _no_folder(path: Path) -> str | None:
    """Say why there is no folder at this path; None where there is one."""
    try:
        return None if stat.S_ISDIR(path.stat().st_mode) else "is not a folder"
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"can't be reached: {error.strerror}"


def _target(subject: str, path: Path, seen: Collection[str]) -> Iterator[Finding]:
    shown = _shown(path)
    if (wrong := _no_folder(path)) is not None:
        standing = _standing(path)
        if wrong == "is not there" and str(path) not in seen and _write_probe(standing) is None:
            hint = "Correct the config if its name is mistyped; mount its disk first if it has one."
            yield warn(subject, f"{shown} is not there; the daemon makes it at its next start", hint)
            return
        yield fail(subject, f"{shown} {wrong}", "Make it (mkdir -p), mount it, or correct the config.", EXIT_CANT_WRITE)
        return
    if (error := _write_probe(path)) is not None:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "Make room." if full else "Let the daemon's user write there, and see the unit's ReadWritePaths."
        yield fail(subject, f"{shown} can't be written: {error.strerror}", hint, EXIT_CANT_WRITE)
        return
    yield ok(subject, f"{shown} can be written{_free(path)}")
    yield from _space(subject, path)


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == _standing(other).stat().st_dev
    except OSError:
        return True


def _sysctl(name: str) -> int | None:
    try:
        return int((_SYSCTLS / name).read_text())
    except (OSError, ValueError):
        return None


def _instance_is_free() -> bool:
    """Say whether one more inotify instance can be had, by having one for a moment."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        number = libc.inotify_init1(os.O_CLOEXEC)
    except AttributeError:
        return True
    if number < 0:
        return ctypes.get_errno() != errno.EMFILE
    os.close(number)
    return True


def parts() -> Iterator[Finding]:
    """Look at what is installed."""
    major, minor, patch = (int(part) for part in sqlite3.sqlite_version.split(".")[:3])
    yield findings.sqlite_version((major, minor, patch))
    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if importlib.util.find_spec(name) is None]
    if missing:
        yield ok("sandbox", "not installed; only demo and sandbox need it (pip install 'rembg-watch[sandbox]')")
    else:
        yield ok("sandbox", "installed: demo and sandbox work")
