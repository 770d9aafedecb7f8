"""The result store: every paid answer has one place, by what it belongs to: the picture and the options.

    state_dir/results/ab/CONTENT-FINGERPRINT.ATTEMPT.part        an answer that is coming in
    state_dir/results/ab/CONTENT-FINGERPRINT-HASH-SIZE-ATTEMPT   a verified answer, with its own hash and size
    state_dir/results/rejected/CONTENT-FINGERPRINT.ATTEMPT       an answer that is not what was asked for

``ab`` are two digits of the picture hash. A verified answer stays here after its delivery, by age and size: the same
picture is never paid for twice while it is here. Everything that a look-up needs is in the name, so the store survives
the loss of the database. Nothing is ever renamed or linked from here into an outbox: mode, group, ACL and label would
be those of the state directory. Delivery copies.

An answer is paid for: where the store can't take it (a full disk, an I/O error), its bytes go on into a temporary file
in the outbox, and if that can't take them either, in memory.
"""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO

import structlog
from blake3 import blake3

from rembg_watch.delivery.files import hash_file, open_source, open_temp
from rembg_watch.errors import FileError, SourceError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from rembg_watch.config.model import ResultsConfig
    from rembg_watch.delivery.files import TempFile
    from rembg_watch.jobs.model import Key
    from rembg_watch.jobs.queue import Queue

IN_MEMORY = 1024 * 1024
"""Bytes up to which an answer is also kept in memory until it is delivered."""
RESERVE = 64 * 1024 * 1024
"""Bytes that pruning frees beyond what was asked for."""
KEPT_FREE = 0.1
"""The part of the disk that kept results leave free."""
WEEK = 7 * 86_400.0
"""A store that holds less than this is worth a warning."""
_BLOCK = 1024 * 1024
_PART, _REJECTED = ".part", "rejected"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """A verified answer in the store: its path, its blake3 hash in hex, its size in bytes, and who brought it."""

    path: str
    hash: str
    size: int
    attempt: int
    """The ledger's row of its attempt; 0 for a copy of a delivered file."""


class Body:
    """The answer to one attempt, hashed as it comes in. What is written to it is on a disk, or at least in memory.

    It is the sink that the client writes to. ``outbox``, the path below it and ``tag`` name the temporary file that
    takes the bytes should the store be unable to.
    """

    def __init__(self, store: Results, key: Key, attempt: int, outbox: str, relpath: str, tag: str) -> None:
        self._store = store
        self._key = key
        self._attempt = attempt
        self._temp_place = (outbox, relpath, tag)
        self._hasher = blake3()
        self._blocks: list[bytes] | None = []
        self.path = store.part_path(key, attempt)
        """Where the bytes are, while they are in the store."""
        self.temp: TempFile | None = None
        """The temporary file in the outbox that has the bytes, where the store could not take them."""
        self.size = 0
        self._file: BinaryIO = self._open()

    def _open(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                return io.FileIO(os.open(self.path, flags, 0o600), "r+b")
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
                return io.FileIO(os.open(self.path, flags, 0o600), "r+b")
        except OSError as error:
            return self._elsewhere(error)

    def write(self, data: ReadableBuffer, /) -> int:
        """Append a block; it always succeeds."""
        block = memoryview(data).cast("B")
        while True:
            try:
                _write_all(self._file, block)
                break
            except (OSError, FileError) as error:
                if self.path and self._store.prune(len(block) + RESERVE):
                    self._file.seek(self.size)
                    with suppress(OSError):
                        _write_all(self._file, block)
                        break
                self._move(error)
        self._hasher.update(block)
        self.size += len(block)
        if self._blocks is not None:
            self._blocks.append(data if isinstance(data, bytes) else bytes(block))
            if self.size > IN_MEMORY:
                self._blocks = None
        return len(block)

    def _move(self, error: Exception) -> None:
        """Copy the bytes that came so far to the next place that takes them, and continue there."""
        before, path, temp = self._file, self.path, self.temp
        self._file = self._elsewhere(error)
        before.seek(0)
        left = self.size
        while left and (block := before.read(min(left, _BLOCK))):
            try:
                _write_all(self._file, memoryview(block))
            except (OSError, FileError) as failed:  # a full outbox: memory takes them all
                full = self.temp
                self._file = self._elsewhere(failed)
                if full is not None:
                    full.discard()
                before.seek(0)
                left = self.size
                continue
            left -= len(block)
        if temp is not None:
            temp.discard()
            return
        before.close()
        with suppress(OSError):
            os.unlink(path)

    def _elsewhere(self, error: Exception) -> BinaryIO:
        """Open the next place: the outbox after the store, then memory."""
        if self.path:
            log.error("results.cannot_write", reason=str(error), hint="the answer goes on in the outbox")
            self.path = ""
            with suppress(FileError):
                self.temp = open_temp(*self._temp_place)
                return self.temp.file
        self.temp = None
        log.error("results.held_in_memory", hint="free some space in the state directory or in the outbox")
        return io.BytesIO()

    @property
    def hash(self) -> str:
        """The blake3 hash of what was written, in hex."""
        return self._hasher.hexdigest()

    @property
    def data(self) -> bytes | None:
        """The whole answer, where it is small or on no disk."""
        if self._blocks is not None:
            return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        return self._file.getvalue() if isinstance(self._file, io.BytesIO) else None

    @property
    def to_verify(self) -> BinaryIO | bytes:
        """The answer, from memory where it is there."""
        data = self.data
        return self._file if data is None else data

    @property
    def is_stored(self) -> bool:
        """Whether the store has it."""
        return bool(self.path)

    def keep(self) -> None:
        """Rename the verified answer in the store, if it is there; it replaces an earlier one of its key."""
        if not self.path:
            return
        try:
            kept = Kept("", self.hash, self.size, self._attempt)
            self.path = self._store.rename(self.path, kept, self._key)
        except OSError as error:
            self._move(error)
            return
        self._file.close()

    def reject(self) -> None:
        """Keep the answer apart, where no look-up finds it: it is not what was asked for."""
        if self.path:
            self._file.close()
            self._store.reject(self.path)
        else:
            self.discard()

    def discard(self) -> None:
        """Remove what came of the answer."""
        if self.temp is not None:
            self.temp.discard()
        else:
            self._file.close()
        if self.path:
            with suppress(OSError):
                os.unlink(self.path)


class Results:
    """The store in one state directory. Safe for threads."""

    def __init__(self, state_dir: Path, queue: Queue, limits: ResultsConfig | None) -> None:
        self.root = os.path.join(state_dir, "results")
        self._queue = queue
        self.limits = limits
        """How long and how much is kept after its delivery; None: nothing. Replaced by a reload."""
        self._pruning = threading.Lock()
        self._keys: set[str] | None = None
        """The keys of kept answers. A key whose answer was deleted may still be in it; None before ``load_keys``."""
        self._shortage: Shortage | None = None

    def load_keys(self) -> None:
        """Read the names of all kept answers, so that from now on a look-up of a new picture needs no disk."""
        keys = set[str]()
        try:
            for folder in os.listdir(self.root):
                if folder != _REJECTED:
                    names = os.listdir(os.path.join(self.root, folder))
                    keys.update("-".join(name.split("-")[:2]) for name in names if not name.endswith(_PART))
        except FileNotFoundError:
            pass  # nothing was kept so far
        except OSError:
            return  # what could not be listed may be kept all the same: each look-up goes to the disk
        self._keys = keys

    # -- names

    def part_path(self, key: Key, attempt: int) -> str:
        return os.path.join(self._folder(key), f"{key}.{attempt}{_PART}")

    def _folder(self, key: Key) -> str:
        return os.path.join(self.root, key.content[-2:])

    def rename(self, part: str, kept: Kept, key: Key) -> str:
        """Rename a verified part, and remove the earlier answers that it replaces; return the new path."""
        path = os.path.join(self._folder(key), f"{key}-{kept.hash}-{kept.size}-{kept.attempt}")
        os.rename(part, path)
        if self._keys is None or str(key) in self._keys:
            for earlier in self._kept(key):
                if earlier.path != path:
                    self.remove(earlier.path)
        else:
            self._keys.add(str(key))
        return path

    def reject(self, part: str) -> None:
        """Move a part to the rejected answers. Never raises an OSError."""
        with suppress(OSError):
            os.makedirs(os.path.join(self.root, _REJECTED), mode=0o700, exist_ok=True)
            os.rename(part, self._rejected_path(os.path.basename(part).removesuffix(_PART)))

    def reject_parts(self) -> None:
        """Move all parts to the rejected answers: those of attempts that have ended."""
        with suppress(OSError):
            for folder in os.listdir(self.root):
                with suppress(OSError):
                    for name in os.listdir(os.path.join(self.root, folder)):
                        if name.endswith(_PART):
                            self.reject(os.path.join(self.root, folder, name))

    def _rejected_path(self, name: str) -> str:
        return os.path.join(self.root, _REJECTED, name)

    def rejected(self, key: Key, attempt: int) -> str | None:
        """Return the path of the answer to an attempt that was rejected, or None where it is not there."""
        path = self._rejected_path(f"{key}.{attempt}")
        return path if os.path.isfile(path) else None

    # -- look-up

    def find(self, key: Key) -> Kept | None:
        """Return the kept answer of a key by its name, or None. What it holds must be checked against its hash."""
        if self._keys is not None and str(key) not in self._keys:
            return None
        return max(self._kept(key), key=lambda kept: kept.attempt, default=None)

    def _kept(self, key: Key) -> list[Kept]:
        """Return all kept answers of a key: two, where a crash came while the newer one replaced the older."""
        prefix, folder = f"{key}-", self._folder(key)
        found = []
        with suppress(OSError):
            for name in os.listdir(folder):
                if name.startswith(prefix) and not name.endswith(_PART):
                    result_hash, *numbers = name.removeprefix(prefix).split("-")
                    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
                        found.append(Kept(os.path.join(folder, name), result_hash, *map(int, numbers)))
        return found

    def read(self, kept: Kept) -> bytes | None:
        """Return a small answer whole, or an empty text for a large one that is whole; None where it is not.

        Every use counts as the last one for its age, and checks the hash. An answer that is not what its name says is
        removed.
        """
        try:
            file, status = open_source(kept.path)
            with file:
                data = file.read() if status.st_size <= IN_MEMORY else b""
                found = blake3(data).hexdigest() if data else hash_file(file)[0]
                if status.st_size == kept.size and found == kept.hash:
                    with suppress(OSError):
                        os.utime(file.fileno())
                    return data
        except SourceError:
            return None
        log.warning("results.damaged", path=printable(kept.path), hint="it is removed, and not used")
        with suppress(OSError):
            os.unlink(kept.path)
        return None

    def take_in(self, key: Key, source: str, result_hash: str, size: int) -> Kept | None:
        """Copy a delivered file into the store, as the answer of ``key``; None where it is not what was delivered.

        Raises:
            OSError: the store can't be written.
        """
        part = self.part_path(key, 0)
        os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
        try:
            file, status = open_source(source)
        except SourceError:
            return None
        try:
            with file, open(part, "wb", buffering=0) as copy:
                hasher = blake3()
                while block := file.read(_BLOCK):
                    hasher.update(block)
                    _write_all(copy, memoryview(block))
            if status.st_size == size and hasher.hexdigest() == result_hash:
                kept = Kept("", result_hash, size, 0)
                return replace(kept, path=self.rename(part, kept, key))
        except SourceError:
            pass
        with suppress(OSError):
            os.unlink(part)
        return None

    def write(self, key: Key, data: bytes, result_hash: str, attempt: int) -> str:
        """Store an answer that the store could not take when it came in; return its path.

        Raises:
            OSError: it still can't.
        """
        part = self.part_path(key, attempt)
        os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
        try:
            _write_file(part, data)
        except OSError:
            if not self.prune(len(data) + RESERVE):
                raise
            _write_file(part, data)
        return self.rename(part, Kept("", result_hash, len(data), attempt), key)

    def sync(self, path: str) -> None:
        """Force a kept answer and its name to the disk.

        Raises:
            OSError: the disk did not take it.
        """
        for target in (path, os.path.dirname(path)):
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a kept answer."""
        with suppress(OSError):
            os.unlink(path)

    # -- room

    def has_room(self) -> bool:
        """Return whether another answer can most likely be written; prune if that may help."""
        return self._has_room() or (self.prune(RESERVE) > 0 and self._has_room())

    def _has_room(self) -> bool:
        try:
            room = os.statvfs(self.root)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return room.f_bavail * room.f_frsize > IN_MEMORY and (not room.f_files or room.f_favail > 0)

    def prune(self, needed: int = 0, *, unused_for: float | None = None, spare: float = 0.0) -> int:
        """Delete rejected answers first, then kept ones by their last use; return the number of bytes deleted.

        Deleted is what is older than ``keep``, what is above ``max``, and what leaves less than a tenth of the disk
        free; for ``needed`` bytes also younger ones. Never deleted is an answer that an open job needs.

        ``unused_for`` also deletes what was not used for so many seconds. ``spare`` leaves what was used in the last
        seconds: another process may be about to deliver it.
        """
        with self._pruning:
            files = sorted(self._files(), key=lambda found: (not found.rejected, found.used_at))
            # Only after the files: an answer whose job began meanwhile is not in the list.
            now, in_use = time.time(), self._queue.needed_results()
            keep, most = (None, 0) if self.limits is None else (self.limits.keep, self.limits.max)
            total = sum(found.size for found in files)
            free, least = self._free()
            deleted = 0
            for found in files:
                unused = now - found.used_at
                old = keep is not None and unused > keep
                by_hand = unused_for is not None and unused >= unused_for
                full = total > most
                short = full or free + deleted < max(least, 0) or deleted < needed
                if not (old or by_hand or short) or (found.key in in_use and not found.rejected):
                    continue
                if unused < spare:
                    continue
                try:
                    if os.stat(found.path, follow_symlinks=False).st_mtime != found.used_at:
                        continue  # used since it was listed
                    os.unlink(found.path)
                except OSError:
                    continue
                deleted += found.size
                total -= found.size
                if keep is not None and not (old or by_hand or found.rejected) and unused < WEEK:
                    self._shortage = Shortage(now, unused, "max" if full else "disk", most)
            return deleted

    def take_shortage(self) -> Shortage | None:
        """Return that answers were deleted within a week of their last use, once, for the fact ``SHORTAGE``."""
        with self._pruning:
            shortage, self._shortage = self._shortage, None
        return shortage

    def _free(self) -> tuple[int, int]:
        try:
            room = os.statvfs(self.root)
        except OSError:
            return 0, 0
        return room.f_bavail * room.f_frsize, int(room.f_blocks * room.f_frsize * KEPT_FREE)

    def _files(self) -> list[StoredFile]:
        found = []
        with suppress(OSError), os.scandir(self.root) as folders:
            for folder in folders:
                rejected = folder.name == _REJECTED
                with suppress(OSError), os.scandir(folder.path) as entries:
                    for entry in entries:
                        if entry.name.endswith(_PART):
                            continue
                        with suppress(OSError):  # deleted since
                            status = entry.stat(follow_symlinks=False)
                            found.append(StoredFile(entry.path, status.st_size, status.st_mtime, rejected))
        return found

    def listing(self) -> list[StoredFile]:
        """Return all answers in the store, the longest unused first."""
        return sorted(self._files(), key=lambda found: found.used_at)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the store. ``used_at`` is Unix seconds, ``size`` bytes."""

    path: str
    size: int
    used_at: float
    rejected: bool

    @property
    def key(self) -> str:
        """What it belongs to: the picture hash and the fingerprint, as text."""
        return "-".join(os.path.basename(self.path).split("-")[:2]).partition(".")[0]

    @property
    def attempt(self) -> int:
        """The ledger's row of its attempt; 0 for a copy of a delivered file."""
        number = os.path.basename(self.path).rpartition("." if self.rejected else "-")[2]
        return int(number) if number.isdecimal() else 0


SHORTAGE = "results_short"
"""The fact in which the newest ``Shortage`` is published."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Answers were deleted ``at`` (Unix seconds), only ``held`` seconds after their last use.

    ``why`` is ``max`` where the store had reached ``limit`` bytes, or ``disk``.
    """

    at: float
    held: float
    why: str
    limit: int

    @classmethod
    def from_fact(cls, fact: dict[str, Any] | None, limit: int | None, now: float) -> Shortage | None:
        """Return what the fact says, while it is worth a warning.

        It is for a week after the last such deletion, and until a higher ``limit`` of the config makes room. None for
        ``limit`` means that the config keeps nothing, so nothing is missing.
        """
        if not fact or limit is None:
            return None
        shortage = cls(**fact)
        over = now - shortage.at >= WEEK or (shortage.why == "max" and limit > shortage.limit)
        return None if over else shortage


def _write_file(path: str, data: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        _write_all(file, memoryview(data))


def _write_all(file: BinaryIO, block: memoryview) -> None:
    while block:
        block = block[file.write(block) :]
