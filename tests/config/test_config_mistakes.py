"""Every mistake in a config file is told at once, with its line, its key and what may have been meant."""

from __future__ import annotations

import pytest
from config_mistakes import FOLDERS, KEY, problems

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
    "escape sequence in a value": (
        FOLDERS + 'profiles: {a: {bg_color: "\\e[31m"}}',
        r"2: profiles.a.bg_color: '\x1b[31m' is no colour: use a CSS name or #RGB, #RGBA, #RRGGBB, #RRGGBBAA",
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
