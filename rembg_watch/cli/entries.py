"""The ways in which photos get into an inbox in real life, for the demo to go through all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rembg_watch.cli.stage import Prop, Stage, Way, by_way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PIECES = 6
PAUSE = 0.15
"""Seconds between two pieces of a photo that is copied slowly."""


def already_there(stage: Stage, props: Sequence[Prop]) -> None:
    """Put the photos into the inbox that the daemon finds at its start. Raises OSError."""
    for prop in by_way(props, Way.THERE):
        prop.save(_place(stage.inbox, prop))


def enter(stage: Stage, props: Sequence[Prop], say: Callable[[str], None]) -> None:
    """Bring all other photos in, while the daemon runs; ``say`` is told of each entry. Raises OSError."""
    for prop in by_way(props, Way.COPIED):
        prop.save(_place(stage.inbox, prop))
        say(f"{prop.path}: {prop.way}")
    _move_trees(stage, by_way(props, Way.TREE), say)
    for prop in by_way(props, Way.RENAMED):
        target = _place(stage.inbox, prop)
        hidden = _waiting(stage, prop)
        part = target.with_name(f"{target.name}.part") if len(target.name.encode()) < 250 else hidden
        if part is not hidden:
            part.write_bytes(hidden.read_bytes())
        part.rename(target)
        say(f"{prop.path}: {prop.way}")
    for prop in by_way(props, Way.SLOWLY):
        data = _waiting(stage, prop).read_bytes()
        say(f"{prop.path}: {prop.way}")
        _write_slowly(_place(stage.inbox, prop), data)


def _place(root: Path, prop: Prop) -> Path:
    path = root / prop.path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _waiting(stage: Stage, prop: Prop) -> Path:
    path = _place(stage.wings, prop)
    prop.save(path)
    return path


def _move_trees(stage: Stage, props: Sequence[Prop], say: Callable[[str], None]) -> None:
    for prop in props:
        _waiting(stage, prop)
    for top in dict.fromkeys(prop.path.partition("/")[0] for prop in props):
        inside = [prop for prop in props if prop.path.partition("/")[0] == top]
        if not (stage.inbox / top).exists():
            (stage.wings / top).rename(stage.inbox / top)
        else:  # such a folder is there already, so its photos join it
            for prop in inside:
                (stage.wings / prop.path).rename(_place(stage.inbox, prop))
        say(f"{top}/ with {len(inside)} photo{'s' * (len(inside) != 1)}: {Way.TREE}")


def _write_slowly(path: Path, data: bytes) -> None:
    size = -(-len(data) // PIECES)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            time.sleep(PAUSE)
