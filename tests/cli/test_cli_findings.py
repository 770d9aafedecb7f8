"""The judgements behind the lines of ``check``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.cli import findings
from rembg_watch.cli.findings import Finding, Level


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 51, 3), "ok"), ((3, 52, 0), "ok"), ((4, 0, 0), "ok"), ((3, 50, 7), "ok"), ((3, 44, 6), "ok"),
        ((3, 51, 2), "warn"), ((3, 50, 6), "warn"), ((3, 44, 5), "warn"), ((3, 45, 9), "warn"), ((3, 40, 1), "warn"),
        ((3, 49, 9), "warn"),
    ],
)  # fmt: skip
def test_sqlite_versions_with_the_wal_bug_are_warned_of(version, level):
    """Fixed in 3.51.3, and in 3.50.7 and 3.44.6 of their own series."""
    assert findings.sqlite_version(version).level == level


@pytest.mark.parametrize(
    ("folders", "limit", "level"), [(10, 100, "ok"), (81, 100, "warn"), (200, 100, "warn"), (200, None, "ok")]
)
def test_too_many_folders_name_the_sysctl(folders, limit, level):
    """From four fifths of the kernel's limit on, with the line to type."""
    found = findings.watches(folders, limit)
    assert found.level == level
    assert (level == "ok") is ("fs.inotify.max_user_watches" not in found.hint)


def test_no_inotify_instance_names_the_other_sysctl():
    """When all instances are taken."""
    assert findings.instances(free=True, limit=128) is None
    found = findings.instances(free=False, limit=128)
    assert found is not None
    assert "fs.inotify.max_user_instances=512" in found.hint


def test_disk_space_is_judged():
    """Enough says nothing; little warns; next to nothing fails with 73."""
    assert findings.space("outbox", "/out", 10 * 1024**3) is None
    little = findings.space("outbox", "/out", 500 * 1024**2)
    none = findings.space("outbox", "/out", 1024**2)
    assert little is not None
    assert little.level is Level.WARN
    assert none is not None
    assert (none.level, none.code) == (Level.FAIL, 73)


@given(st.floats(-1e9, 1e9))
def test_a_clock_is_wrong_from_five_minutes_on(skew):
    """In either direction, and it says which."""
    found = findings.clock(skew)
    assert (found.level is Level.OK) is (abs(skew) <= 300)
    if found.level is not Level.OK:
        assert ("ahead" in found.message) is (skew > 0)


@given(st.lists(st.tuples(st.sampled_from(list(Level)), st.sampled_from([69, 73, 77, 78]))))
def test_the_exit_code_is_the_first_kind_that_fails(rows):
    """Config before key before API before what can't be written; warnings never count."""
    code = findings.exit_code(Finding(level, "x", "y", "", number) for level, number in rows)
    failing = [number for level, number in rows if level is Level.FAIL]
    assert code == (min(failing, key=[78, 77, 69, 73].index) if failing else 0)
