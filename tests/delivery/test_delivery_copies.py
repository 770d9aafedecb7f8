"""Hashes of results, and copies of results that were paid for before."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3
from delivery_outbox import put, tree

from rembg_watch import delivery
from rembg_watch.errors import SourceChanged, SourceError, TargetError


def test_hashes_are_of_all_bytes(tmp_path):
    """Path and open file give the same hash and size, across the buffer's edge."""
    data = os.urandom(256 * 1024 * 2 + 17)
    (tmp_path / "x").write_bytes(data)
    expected = (blake3(data).hexdigest(), len(data))
    assert delivery.hash_file(str(tmp_path / "x")) == expected
    with (tmp_path / "x").open("rb") as file:
        file.seek(100)
        assert delivery.hash_file(file) == expected
    assert delivery.same_content(str(tmp_path / "x"), *expected)
    assert not delivery.same_content(str(tmp_path / "x"), expected[0], 1)
    assert not delivery.same_content(str(tmp_path / "x"), "0" * 64, len(data))
    assert not delivery.same_content(str(tmp_path / "gone"), *expected)


def test_no_fifo_and_no_link_is_read(tmp_path):
    """A FIFO under an output's name does not hang the daemon, and a link is not followed."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("fifo", "link"):
        with pytest.raises(SourceError):
            delivery.hash_file(str(tmp_path / name))
        assert not delivery.same_content(str(tmp_path / name), "0" * 64, 0)
    with pytest.raises(SourceChanged):
        delivery.hash_file(str(tmp_path / "gone"))


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_an_earlier_result_is_copied_and_verified(tmp_path, tmpfs, size):
    """On one filesystem and across two, the copy has the very bytes."""
    data = os.urandom(size)
    put(tmp_path, "a.webp", data)
    for root in (tmp_path, tmpfs()):
        with delivery.copy_result(
            str(tmp_path / "a.webp"), str(root), "b/c.webp", "t2", blake3(data).hexdigest()
        ) as temp:
            delivery.commit(temp, "b/c.webp", replace=False)
        assert (root / "b/c.webp").read_bytes() == data


def test_an_earlier_result_that_was_edited_is_not_used(tmp_path):
    """Its hash tells; no temporary file stays."""
    put(tmp_path, "a.webp", b"edited")
    with pytest.raises(SourceChanged):
        delivery.copy_result(str(tmp_path / "a.webp"), str(tmp_path), "b.webp", "t2", blake3(b"picture").hexdigest())
    with pytest.raises(SourceChanged):
        delivery.copy_result(str(tmp_path / "gone.webp"), str(tmp_path), "b.webp", "t2", "0" * 64)
    assert tree(tmp_path) == ["a.webp"]


def test_a_copy_that_does_not_fit_is_a_hold(tmp_path, tmpfs):
    """Disk full while copying is the outbox's matter, not the earlier result's."""
    root = tmpfs(256)
    data = os.urandom(500_000)
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(TargetError) as caught:
        delivery.copy_result(str(tmp_path / "a.webp"), str(root), "b.webp", "t2", blake3(data).hexdigest())
    assert caught.value.code == "full"
    assert tree(root) == []
