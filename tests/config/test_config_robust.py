"""No config, however wrong, makes the loader fail in any other way than by telling its mistakes."""

from __future__ import annotations

import copy
import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.config.example import render
from rembg_watch.config.load import load_config
from rembg_watch.config.problems import did_you_mean, dotted
from rembg_watch.config.yamltree import read_tree
from rembg_watch.errors import ConfigError

ENV = {"REMBG_API_KEY": "s3cret-Key-0123456789", "HOME": "/home/somebody"}

keys = st.sampled_from(
    [
        "api",
        "key",
        "url",
        "workers",
        "profiles",
        "folders",
        "inbox",
        "outbox",
        "profile",
        "subfolders",
        "include",
        "w",
        "credits",
    ]
) | st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def loads_or_tells(file, value):
    """Check that a file with this value loads, or has problems, each in one printable line."""
    file.write_text(json.dumps(value), encoding="utf-8")
    try:
        load_config(file, ENV)
    except ConfigError as error:
        lines = error.problems
    else:
        return
    assert lines
    assert all(line.isprintable() for line in lines)


@given(values)
def test_no_value_makes_the_loader_crash(tmp_path_factory, value):
    """Whatever a file holds, it is a config or a list of problems, each in one printable line."""
    loads_or_tells(tmp_path_factory.getbasetemp() / "any.yaml", value)


def places(value, path=()):
    """Every path of a value, the deep ones as well."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deep for key, entry in entries for deep in places(entry, (*path, key)))]


EXAMPLE = yaml.safe_load(render())
PLACES = [path for path in places(EXAMPLE) if path]


@given(st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=4))
def test_no_wrong_value_in_a_good_config_makes_the_loader_crash(tmp_path_factory, changes):
    """Some values of the example are replaced by anything: it loads, or has a problem for each at most."""
    changed = copy.deepcopy(EXAMPLE)
    for path, value in changes:
        parent = changed
        for part in path[:-1]:
            parent = parent[part] if isinstance(parent, dict | list) and part in places_of(parent) else None
        if isinstance(parent, dict | list) and path[-1] in places_of(parent):
            parent[path[-1]] = value
    loads_or_tells(tmp_path_factory.getbasetemp() / "changed.yaml", changed)


def places_of(value):
    """The keys or positions of a value."""
    return list(value) if isinstance(value, dict) else range(len(value))


@given(st.text(alphabet=st.sampled_from("ab:- \n[]{}'\"#&*!|>%@`$,?<é\t\x07"), max_size=40))
def test_no_text_makes_the_reader_crash(text):
    """Any text is read, or its problems are told."""
    tree = read_tree(text, {})
    assert all(problem.line >= 1 for problem in tree.problems)


@given(st.text(), st.lists(st.text(), max_size=5))
def test_did_you_mean_never_crashes(word, known):
    """It gives a hint with one of the known words, or nothing."""
    hint = did_you_mean(word, known)
    assert not hint or any(name in hint for name in known)


@given(st.lists(st.text() | st.integers(0, 99), max_size=5))
def test_a_path_is_always_one_printable_line(path):
    """A key of the file can't forge a line or drive a terminal."""
    assert dotted(tuple(path)).isprintable()
