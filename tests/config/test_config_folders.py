"""Folders that are incomplete, or lie where photos would be sent twice or never, are mistakes; where they may meet, care is taken."""

from __future__ import annotations

import pytest
from config_mistakes import FOLDERS, problems

from rembg_watch.config.load import load_config

TWICE = "is inside the inbox of folders[0], so its photos would be sent twice"
ONE_MISTAKE = {
    "a folder without anything": (
        "folders:\n- {inbox: a, outbox: b}\n- outbox:\n  inbox: c",
        "3: folders[1].outbox: is missing: it is required",
    ),
    "no folders": ("workers: 3", "1: folders: is missing: it is required"),
    "empty folders": ("workers: 3\nfolders: []", "2: folders: needs at least one entry"),
    "folders without a value": ("workers: 3\nfolders:\n", "2: folders: is missing: it is required"),
    "folders as a group": (
        "folders: {inbox: a, outbox: b}",
        "1: folders: must be a list, each entry with '- ' in front, not a group of keys",
    ),
    "a folder that is a text": (FOLDERS.rstrip("]\n") + ", x]", "1: folders[1]: must be a group of keys"),
    "no outbox": ("folders:\n  - inbox: a\n", "2: folders[0].outbox: is missing: it is required"),
    "empty inbox": ('folders:\n- inbox: ""\n  outbox: b', "2: folders[0].inbox: must name a folder, but is empty"),
    "patterns as a text": (
        'folders:\n- inbox: a\n  outbox: b\n  include: "*.jpg"',
        "4: folders[0].include: must be a list, each entry with '- ' in front, not '*.jpg'",
    ),
    "a pattern that is a number": (
        "folders:\n- inbox: a\n  outbox: b\n  include:\n    - '*.jpg'\n    - 5",
        "6: folders[0].include[1]: must be text in quotes, not 5",
    ),
    "no pattern": (
        "folders:\n- inbox: a\n  outbox: b\n  include: []",
        "4: folders[0].include: would take no file at all: leave the key out for every supported format",
    ),
    "archive without a folder": (
        "folders:\n- inbox: a\n  outbox: b\n  on_success: archive",
        "4: folders[0].on_success: 'archive' needs the key archive as well: the folder to move photos to",
    ),
    "move without a folder": (
        "folders:\n- inbox: a\n  outbox: b\n  on_failure: move",
        "4: folders[0].on_failure: 'move' needs the key failed as well: the folder to move photos to",
    ),
    "unknown field of a name": (
        "folders:\n- inbox: a\n  outbox: b\n  output_name: '{stm}.png'",
        "4: folders[0].output_name: unknown field {stm}; known are {stem} {name} {ext} {profile} {date} {hash8}",
    ),
    "absolute subfolder": (
        "folders:\n- inbox: a\n  outbox: b\n  subfolders: {/x: {}}",
        "4: folders[0].subfolders./x: must be a path below the inbox, without a slash in front",
    ),
    "subfolder above": (
        "folders:\n- inbox: a\n  outbox: b\n  subfolders: {x/../..: {}}",
        "4: folders[0].subfolders.x/../..: must be a path below the inbox, without '..'",
    ),
    "one subfolder twice": (
        "folders:\n- inbox: a\n  outbox: b\n  subfolders:\n    x: {}\n    x/: {}",
        "6: folders[0].subfolders.x/: is there twice, with and without a slash",
    ),
    "subfolders of what is not recursive": (
        "folders:\n- inbox: a\n  outbox: b\n  recursive: false\n  subfolders: {x: {}}",
        "5: folders[0].subfolders: has no effect, as recursive is false: remove one of the two",
    ),
    "one inbox twice": (
        "folders:\n- {inbox: a, outbox: b}\n- {inbox: ./a/, outbox: c}",
        "3: folders[1].inbox: is the inbox of folders[0] already",
    ),
    "outbox is the inbox": (
        "folders:\n- inbox: a\n  outbox: x/../a",
        "3: folders[0].outbox: is the inbox of folders[0]: what is put there would be sent again",
    ),
    "outbox in another inbox": (
        "folders:\n- {inbox: a, outbox: b}\n- inbox: c\n  outbox: a/b/c",
        "4: folders[1].outbox: is inside the inbox of folders[0]: what is put there would be sent again",
    ),
    "archive in an inbox": (
        "folders:\n- inbox: a\n  outbox: b\n  archive: a/old",
        "4: folders[0].archive: is inside the inbox of folders[0]: what is put there would be sent again",
    ),
    "failed in an inbox": (
        "folders:\n- inbox: a\n  outbox: b\n  failed: a/bad",
        "4: folders[0].failed: is inside the inbox of folders[0]: what is put there would be sent again",
    ),
    "inbox in an outbox": (
        "folders:\n- inbox: b/in\n  outbox: b",
        "3: folders[0].outbox: has the inbox of folders[0] inside: a mirrored path could end in it and be sent again",
    ),
    "archive is an outbox": (
        "folders:\n- inbox: a\n  outbox: b\n  archive: b",
        "4: folders[0].archive: is the outbox of folders[0]: photos and cut-outs would mix",
    ),
    "inbox in an inbox": (
        "folders:\n- {inbox: a, outbox: b}\n- {inbox: a/c, outbox: d}",
        f"3: folders[1].inbox: {TWICE}: use subfolders there instead, or recursive: false",
    ),
    "state in an inbox": (
        "state_dir: in/state\n" + FOLDERS,
        "1: state_dir: is inside the inbox of folders[0]: choose a place outside",
    ),
    "no such home": (
        "folders:\n- inbox: ~nobody-of-that-name/in\n  outbox: b",
        "2: folders[0].inbox: there is no home folder for '~nobody-of-that-name'",
    ),
    "control character in a path": (
        'folders:\n- inbox: "a\\eb"\n  outbox: b',
        "2: folders[0].inbox: has a control character in it",
    ),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_is_one_line(tmp_path, name):
    """Each kind of mistake is told in exactly one line of plain words, with the right line number."""
    text, expected = ONE_MISTAKE[name]
    assert problems(tmp_path, text) == [expected]


def test_links_are_resolved_before_folders_are_compared(tmp_path):
    """An outbox that only a link leads into the inbox is found out."""
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "in/deep")
    assert problems(tmp_path, FOLDERS) == [
        "1: folders[0].outbox: is inside the inbox of folders[0]: what is put there would be sent again"
    ]


@pytest.mark.parametrize("other", ["out", "out/inner"])
def test_what_lies_in_a_shared_outbox_is_not_adopted(tmp_path, other):
    """Two folders may deliver to one outbox; then no output in it is taken for a photo's own only by its name."""
    file = tmp_path / "config.yaml"
    file.write_text(
        f"folders:\n- {{inbox: a, outbox: out}}\n- {{inbox: b, outbox: {other}}}\n- {{inbox: c, outbox: o}}"
    )
    config = load_config(file, {"HOME": str(tmp_path)})
    assert [folder.adopt_existing for folder in config.folders] == [False, False, True]
