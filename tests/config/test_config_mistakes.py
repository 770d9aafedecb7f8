"""Every mistake in a config file is told at once, with its line, its key and what may have been meant."""

from __future__ import annotations

import textwrap

import pytest

from rembg_watch.config.load import load_config
from rembg_watch.errors import ConfigError

KEY = "s3cret-Key-0123456789"
ENV = {"REMBG_API_KEY": KEY, "HOME": "/home/somebody"}
TWICE = "is inside the inbox of folders[0], so its photos would be sent twice"
FOLDERS = "folders: [{inbox: in, outbox: out}]\n"


def problems(tmp_path, text, env=None):
    """The problem lines without the file's name."""
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, ENV if env is None else env)
    for line in caught.value.problems:
        assert line.startswith(f"{file}:")
        assert "pydantic" not in line
        assert KEY.lower() not in line.lower()
    return [line.removeprefix(f"{file}:") for line in caught.value.problems]


ONE_MISTAKE = {
    "unknown key": (FOLDERS + "wrokers: 3", "2: wrokers: unknown key (did you mean workers?)"),
    "unknown key in a section": (FOLDERS + "api:\n  ulr: x", "3: api.ulr: unknown key (did you mean url?)"),
    "unknown key, other word": (
        FOLDERS + "profiles:\n  a:\n    width: 5",
        "4: profiles.a.width: unknown key (did you mean w?)",
    ),
    "key of another place": (
        FOLDERS + "reserve: 5",
        "2: reserve: unknown key here (it belongs to credits)",
    ),
    "unknown key in brackets": (FOLDERS + "<: 3", "2: <: unknown key"),
    "wrong type": (FOLDERS + "workers: many", "2: workers: must be a whole number, not 'many'"),
    "truth for a number": (FOLDERS + "workers: yes", "2: workers: must be a number, not true or false"),
    "number for a truth": (
        "folders:\n- inbox: a\n  outbox: b\n  recursive: 7",
        "4: folders[0].recursive: must be true or false, not 7",
    ),
    "number for a text": ("folders:\n- inbox: 12\n  outbox: b", "2: folders[0].inbox: must be text in quotes, not 12"),
    "not finite": (FOLDERS + "shutdown_grace: .inf", "2: shutdown_grace: must be a number, not inf"),
    "too small": (FOLDERS + "workers: 0", "2: workers: must be at least 1, not 0"),
    "too large": (FOLDERS + "workers: 1000", "2: workers: must be at most 256, not 1000"),
    "not above": (FOLDERS + "retry: {base_delay: 0}", "2: retry.base_delay: must be more than 0, not 0"),
    "delays turned round": (
        FOLDERS + "retry:\n  base_delay: 10\n  max_delay: 5",
        "4: retry.max_delay: must not be less than base_delay",
    ),
    "no such choice": (
        "folders:\n- inbox: a\n  outbox: b\n  watch: scn",
        "4: folders[0].watch: must be auto, events or scan, not 'scn' (did you mean scan?)",
    ),
    "no such format": (
        FOLDERS + "profiles: {a: {format: gif}}",
        "2: profiles.a.format: must be webp, png, jpeg or bmp, not 'gif'",
    ),
    "side too large": (FOLDERS + "profiles:\n  a: {w: 10001}", "3: profiles.a.w: must be at most 10000, not 10001"),
    "angle too large": (FOLDERS + "profiles:\n  a: {angle: 500}", "3: profiles.a.angle: must be at most 360, not 500"),
    "mask with bg_color": (
        FOLDERS + "profiles:\n  a: {mask: true, bg_color: red}",
        "3: profiles.a: mask and bg_color can't be used together: choose one or the other",
    ),
    "exact_resize without both": (
        FOLDERS + "profiles:\n  a: {exact_resize: true, w: 5}",
        "3: profiles.a: exact_resize needs both w and h",
    ),
    "half a character": (FOLDERS + 'state_dir: "\\ud800"', "2: state_dir: has something in it that is no text"),
    "escape sequence in a value": (
        FOLDERS + 'profiles: {a: {bg_color: "\\e[31m"}}',
        r"2: profiles.a.bg_color: '\x1b[31m' is no colour: use a CSS name or #RGB, #RGBA, #RRGGBB, #RRGGBBAA",
    ),
    "a folder without anything": (
        "folders:\n- {inbox: a, outbox: b}\n- outbox:\n  inbox: c",
        "3: folders[1].outbox: is missing: it is required",
    ),
    "no such colour": (
        FOLDERS + "profiles:\n  a: {bg_color: reddish-blue}",
        "3: profiles.a.bg_color: 'reddish-blue' is no colour: use a CSS name or #RGB, #RGBA, #RRGGBB, #RRGGBBAA",
    ),
    "unknown profile": (
        "profiles: {market: {}}\nfolders:\n- inbox: a\n  outbox: b\n  profile: markt",
        "5: folders[0].profile: there is no profile 'markt' (did you mean market?)",
    ),
    "unknown profile of a subfolder": (
        "profiles: {market: {}}\nfolders:\n- inbox: a\n  outbox: b\n  subfolders:\n    x: zzz",
        "6: folders[0].subfolders.x: there is no profile 'zzz': there are market",
    ),
    "wrong option in a folder": (
        "folders:\n- inbox: a\n  outbox: b\n  profile:\n    format: png\n    w: -1",
        "6: folders[0].profile.w: must be at least 1, not -1",
    ),
    "profile's name is a path": (
        FOLDERS + "profiles:\n  a/b: {}",
        "3: profiles.a/b: a profile's name has no slash, colon or control character, and no dot in front",
    ),
    "the same key twice": (
        FOLDERS + "workers: 3\nworkers: 4",
        "3: workers: is there twice; the first is in line 2",
    ),
    "open bracket": (
        "folders: [{inbox: a, outbox: b}\nworkers: 3",
        "2: the bracket that line 1 opens is not closed, or a comma is missing",
    ),
    "open quote": ("x: 1\nfolders: 'abc\nd: e\n", "2: a quote that is opened here is never closed"),
    "tab": ("folders:\n\t- inbox: a", "2: a tab can't indent in YAML: use spaces"),
    "colon too many": (
        "folders:\na: b: c",
        "2: a ':' where none can be: the indentation is off, or a text with ': ' in it needs quotes",
    ),
    "no colon": ("folders:\n- inbox: a\nworkers\nretry: {}", "3: a key without a ':' behind it"),
    "two documents": (FOLDERS + "---\n" + FOLDERS, "2: a second document begins: a config file has only one"),
    "control character": (FOLDERS + "# \x01", "2: has a character that YAML does not allow"),
    "unknown anchor": (
        "profiles:\n  a: &white {w: 5}\n  b: *whit\n" + FOLDERS,
        "3: profiles.b: there is no anchor '&whit' above (did you mean white?)",
    ),
    "anchor in itself": (FOLDERS + "profiles: &a\n  b: *a", "3: profiles.b: is an anchor that holds itself"),
    "tag": (
        FOLDERS + "workers: !!python/name:os.system x",
        "2: workers: has a YAML tag ('!...'), which means nothing here",
    ),
    "variable not set": (
        FOLDERS + "workers: ${WORKERS}",
        "2: workers: the environment variable WORKERS is not set",
    ),
    "variable misspelt": (
        FOLDERS + "api:\n  key: ${REMBG_APY_KEY}",
        "3: api.key: the environment variable REMBG_APY_KEY is not set (did you mean REMBG_API_KEY?)",
    ),
    "variable without an end": (
        FOLDERS + "state_dir: /x/${HOME",
        "2: state_dir: a '${' begins a variable, as in ${NAME}: write '$${' for the characters themselves",
    ),
    "empty": ("", "1: is empty: it needs at least 'folders' with an inbox and an outbox"),
    "only comments": ("# nothing\n", "1: is empty: it needs at least 'folders' with an inbox and an outbox"),
    "a list": ("- a\n", "1: must be a group of keys, such as 'folders:', each on a line of its own"),
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
    "plain http": (
        FOLDERS + "api:\n  url: http://api.rembg.com/rmbg",
        "3: api.url: must begin with https:// (http is only for this machine itself): the key would travel openly",
    ),
    "not a web address": (FOLDERS + "api:\n  url: ftp://x/y", "3: api.url: must be a URL that begins with https://"),
    "password in a URL": (
        FOLDERS + f"api:\n  usage_url: https://me:{KEY}@www.rembg.com/",
        "3: api.usage_url: must not hold a user name or password",
    ),
    "api as a text": (FOLDERS + f"api: {KEY}", "2: api: must be a group of keys"),
    "key as a list": (FOLDERS + f"api:\n  key: [{KEY}]", "3: api.key: must be text in quotes"),
    "key in the place of a key": (FOLDERS + f"api:\n  {KEY}: 1", "3: api: has an unknown key"),
    "key where a number belongs": (FOLDERS + "workers: ${REMBG_API_KEY}", "2: workers: must be a whole number"),
    "key where a colour belongs": (
        FOLDERS + "profiles: {a: {bg_color: '${REMBG_API_KEY}'}}",
        "2: profiles.a.bg_color: '***' is no colour: use a CSS name or #RGB, #RGBA, #RRGGBB, #RRGGBBAA",
    ),
    "space in the key": (FOLDERS + "api: {key: 'ab cd'}", "2: api.key: has a space or a line break inside"),
    "other characters in the key": (FOLDERS + "api: {key: abcé}", "2: api.key: has a character that no API key has"),
    "key and key_file": (
        FOLDERS + "api:\n  key: abcd\n  key_file: k",
        "4: api.key_file: is there together with api.key: keep one of the two",
    ),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_is_one_line(tmp_path, name):
    """Each kind of mistake is told in exactly one line of plain words, with the right line number."""
    text, expected = ONE_MISTAKE[name]
    assert problems(tmp_path, text) == [expected]


def test_ten_mistakes_are_ten_lines_in_the_order_of_the_file(tmp_path):
    """Nothing hides behind something else: the second mistake of a group is told together with the first."""
    text = """\
        api:
          key: ${NOT_SET}
          ulr: https://api.rembg.com/rmbg
        wrokers: 3
        retry: {max_attempts: 0}
        profiles:
          market: {format: png, mask: true, bg_color: white, w: 20000}
        folders:
          - inbox: in
            profile: markt
          - inbox: other
            outbox: other/done
            on_success: archive
        """
    assert problems(tmp_path, text) == [
        "2: api.key: the environment variable NOT_SET is not set",
        "3: api.ulr: unknown key (did you mean url?)",
        "4: wrokers: unknown key (did you mean workers?)",
        "5: retry.max_attempts: must be at least 1, not 0",
        "7: profiles.market.w: must be at most 10000, not 20000",
        "7: profiles.market: mask and bg_color can't be used together: choose one or the other",
        "9: folders[0].outbox: is missing: it is required",
        "10: folders[0].profile: there is no profile 'markt' (did you mean market?)",
        "12: folders[1].outbox: is inside the inbox of folders[1]: what is put there would be sent again",
        "13: folders[1].on_success: 'archive' needs the key archive as well: the folder to move photos to",
    ]


def test_links_are_resolved_before_folders_are_compared(tmp_path):
    """An outbox that only a link leads into the inbox is found out."""
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "in/deep")
    assert problems(tmp_path, FOLDERS) == [
        "1: folders[0].outbox: is inside the inbox of folders[0]: what is put there would be sent again"
    ]


def test_an_alias_bomb_is_refused(tmp_path):
    """A few lines that unfold into millions of values are one mistake, told in no time."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert problems(tmp_path, "\n".join(lines)) == ["1: holds far too many values for a config file"]


def test_deep_nesting_is_refused(tmp_path):
    """Thousands of brackets are a mistake, not a crash."""
    assert problems(tmp_path, "a: " + "[" * 5000) == ["1: is nested too deeply"]


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path):
    """A Latin-1 file is recognised, with the line of its first odd character."""
    file = tmp_path / "config.yaml"
    file.write_bytes(b"workers: 3\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r":2: is not UTF-8 text"):
        load_config(file, ENV)


def test_a_file_that_is_not_there_is_a_config_error(tmp_path):
    """A missing or unreadable file ends with exit code 78, like every other mistake."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="can't be read") as caught:
            load_config(path, ENV)
        assert caught.value.exit_code == 78
