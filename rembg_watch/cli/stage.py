"""The demo's own folder: which one it is, what stands in it, and which photos go through it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_watch.api.source import preflight
from rembg_watch.cli.samples import SAMPLES
from rembg_watch.errors import FileError, PictureError, Refused
from rembg_watch.imagefile import check_whole
from rembg_watch.intake.names import ignored_path
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MARKER = ".rembg-watch-demo"
"""A file that says: this folder was made by a demo."""
MAX_PHOTOS = 200
"""Photos that ``--images`` takes at most: it is a demo."""
SHOWN_IN_ALL = 3
"""So many of the photos of ``--images`` go through the other profiles, too."""

CONFIG = """\
# Written by "rembg-watch demo". It is a whole, real config: with your own key, and without
# url and usage_url, the same file sends photos to RemBG.com.
api:
  key: demo-key
  url: {url}
  usage_url: {usage_url}
state_dir: state
workers: 4
shutdown_grace: 10
credits:
  warn_below: 0
profiles:
  transparent: {{format: webp}}
  marketplace: {{format: png, bg_color: white, w: 1000, h: 1000}}
  mask: {{format: png, mask: true}}
  banner: {{format: jpeg, bg_color: "#ffd9a0", angle: 8}}
folders:
  - inbox: inbox
    outbox: outbox
    profile: transparent
    subfolders:
      marketplace: marketplace
      masks: mask
      banner: banner
    settle: 0.3
"""


class Way(StrEnum):
    """How a photo gets into the inbox."""

    THERE = "there before the start"
    COPIED = "copied"
    SLOWLY = "copied slowly"
    RENAMED = "written under another name, then renamed"
    TREE = "moved in with its folder"


@dataclass(frozen=True)
class Prop:
    """One photo of the demo: its ``path`` below the inbox, how it gets there, and who writes it to a given place."""

    path: str
    way: Way
    save: Callable[[Path], object]


_SAMPLE_WAYS = {
    "shoes": Way.THERE,
    "furniture": Way.THERE,
    "marketplace": Way.TREE,
    "masks": Way.RENAMED,
    "banner": Way.SLOWLY,
}


def sample_props() -> list[Prop]:
    """Give the photos that are drawn here."""
    return [
        Prop(sample.path, _SAMPLE_WAYS.get(sample.path.partition("/")[0], Way.COPIED), sample.save)
        for sample in SAMPLES
    ]


def own_props(images: Path, without: Path) -> tuple[list[Prop], list[str]]:
    """Give the photos of a folder, and for each file that can't go through why; ``without`` is left out.

    The first few go through every profile, all of them through that of their place.
    """
    good: list[Path] = []
    skipped: list[str] = []
    for path in _files(images, without):
        relative = path.relative_to(images).as_posix()
        shown = printable(relative)
        if (why := ignored_path(relative)) is not None:
            skipped.append(f"{shown}: {why}")
            continue
        if len(good) == MAX_PHOTOS:
            skipped.append(f"{shown} and what follows: the demo takes {MAX_PHOTOS} photos")
            break
        try:
            with path.open("rb") as file:
                preflight(file)
                check_whole(file)
        except (Refused, PictureError) as error:
            skipped.append(f"{shown}: {error.message}")
        except OSError as error:
            skipped.append(f"{shown}: {error.strerror}")
        else:
            good.append(path)
    turns = (Way.THERE, Way.COPIED, Way.RENAMED, Way.SLOWLY)
    props = {}
    for number, path in enumerate(good):
        relative = path.relative_to(images).as_posix()
        way = turns[number % len(turns)] if number < 2 * len(turns) else Way.COPIED
        props[relative] = Prop(relative, way, _copier(path))
    for path in good[:SHOWN_IN_ALL]:
        for profile in ("marketplace", "masks", "banner"):
            relative = f"{profile}/{path.relative_to(images).as_posix()}"
            props.setdefault(relative, Prop(relative, Way.TREE, _copier(path)))
    return list(props.values()), skipped


def _copier(path: Path) -> Callable[[Path], object]:
    return lambda to: to.write_bytes(path.read_bytes())


_TAKEN = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def _files(images: Path, without: Path) -> Iterator[Path]:
    """Give the regular files that have a photo's ending, sorted, following no links, leaving hidden ones out."""
    for folder, names, files in os.walk(images):
        names[:] = sorted(n for n in names if not n.startswith(".") and not (Path(folder) / n / MARKER).exists())
        if Path(folder).resolve() == without:
            names.clear()
            continue
        for name in sorted(files):
            path = Path(folder, name)
            if name.lower().endswith(_TAKEN) and not name.startswith(".") and not path.is_symlink():
                yield path


@dataclass(frozen=True)
class Stage:
    """The demo's folder and the places in it."""

    root: Path

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def sheet(self) -> Path:
        return self.root / "contact-sheet.png"

    @property
    def wings(self) -> Path:
        """Where photos wait for their entry: on the same filesystem, so that a rename is one."""
        return self.root / ".wings"


def set_up(directory: Path) -> Stage:
    """Make the demo's folder: ``directory``, or if an earlier demo is there, the next free ``directory-2``, ``-3``...

    Nothing that exists is ever changed or removed, an earlier demo included: somebody may have put photos into it.

    Raises:
        FileError: something else is there, or it can't be made.
    """
    number = 1
    while True:
        root = directory if number == 1 else directory.with_name(f"{directory.name}-{number}")
        try:
            if _make(root, wanted=number == 1):
                stage = Stage(root.resolve())
                (root / MARKER).write_text("This folder was made by 'rembg-watch demo' and may be removed.\n")
                for folder in (stage.inbox, stage.outbox, stage.wings, root / "state"):
                    folder.mkdir()
                (root / "state").chmod(0o700)
                return stage
        except OSError as error:
            raise FileError(
                f"can't make {printable(str(root))}: {error.strerror}",
                "Name a folder that you can write to with --dir.",
            ) from error
        number += 1


def _make(root: Path, *, wanted: bool) -> bool:
    """Make the folder, or take an empty one; False where an earlier demo has it."""
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        if root.is_dir() and (root / MARKER).exists():
            return False
        if root.is_dir() and not any(root.iterdir()):
            return True
        if not wanted:
            return False
        raise FileError(
            f"{printable(str(root))} is there already and is no earlier demo",
            "Nothing was changed. Name another folder with --dir.",
        ) from None
    return True


def write_config(stage: Stage, url: str, usage_url: str) -> None:
    """Write the config, readable by its owner alone. Raises OSError."""
    number = os.open(stage.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(url=url, usage_url=usage_url))


def by_way(props: Sequence[Prop], way: Way) -> list[Prop]:
    """Give the props that come this way."""
    return [prop for prop in props if prop.way is way]
