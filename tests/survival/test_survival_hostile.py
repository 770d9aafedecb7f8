"""Input that means harm, or looks like it: names, things that are no files, bombs, and answers without end."""

from __future__ import annotations

import os
import socket
import stat
import struct
import zlib
from pathlib import Path

import pytest
from survival_world import cut_out, picture, until

from rembg_watch.sandbox import app
from rembg_watch.sandbox.answers import Good

MEGABYTE = 1 << 20


def peak(process):
    """Give the most memory that a living process ever had, in bytes."""
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def blank(width, height):
    """Give a grey PNG of that size in a few KiB, whatever the size is, without ever having its pixels in memory."""
    packer = zlib.compressobj(9)
    row = b"\0" + bytes([0x80]) * width
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def claimed(width, height):
    """Give a small PNG that says to be that large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


NAMES = [
    "new\nline.png",
    "a..png.png",
    "$(touch owned).png",
    "; rm -rf .png",
    "-o --help.png",
    "'quotes\".png",
    "\x1b[31mred\x1b]0;owned\x07.png",
    "back\\slash.png",
    "tab\tand\rreturn.png",
    "%s%n{stem}.png",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.png",
    "n" * 251 + ".png",
    os.fsdecode(b"invalid \xff\xfe bytes.png"),
    " leading and trailing .png",
]


def test_names(world):
    """Any name that a file can have is delivered under its own; none reaches a shell, a terminal or a log as it is."""
    world.write_config(workers=3)
    for name in NAMES:
        world.put(name, picture(repr(name)))
    daemon = world.start()
    until(lambda: world.states()["done"] == len(NAMES), what=world.tail)
    assert world.stop(daemon) == 0
    world.check_sources()
    for name in NAMES:
        assert Path(world.job(name).output).read_bytes() == cut_out(world.sources[name])
    assert len(list(world.outbox.iterdir())) == len(NAMES)
    assert not list(world.root.rglob("owned"))
    log = world.log.read_bytes()
    assert not [byte for byte in set(log) if (byte < 0x20 and byte != 0x0A) or byte == 0x7F]
    assert world.sandbox.charged == len(NAMES)


def test_what_is_no_file(world):
    """Links, FIFOs, devices, sockets and folders with a photo's name are left alone, and hold up nobody."""
    secret = world.root / "secret.png"
    secret.write_bytes(picture("secret"))
    (world.inbox / "link.png").symlink_to(secret)
    (world.inbox / "dangling.png").symlink_to(world.root / "nowhere.png")
    (world.inbox / "loop.png").symlink_to("loop.png")
    (world.inbox / "outside").symlink_to(world.root)
    (world.inbox / "folder.png").mkdir()
    os.mkfifo(world.inbox / "fifo.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(world.inbox / "socket.png"))
    if os.geteuid() == 0:
        os.mknod(world.inbox / "device.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: bytes without end
    world.put("z.png")
    daemon = world.start()
    until(lambda: world.states()["done"] == 1, what=world.tail)
    world.put("folder.png/inside.png")
    until(lambda: world.states()["done"] == 2, what=world.tail)
    assert world.stop(daemon) == 0
    server.close()
    assert {job.path for job in world.jobs()} == {"z.png", "folder.png/inside.png"}
    assert world.sandbox.charged == 2
    assert secret.read_bytes() == picture("secret")
    assert (world.inbox / "link.png").is_symlink()


@pytest.mark.parametrize("moment", ["read", "answered", "place-synced"])
def test_a_photo_becomes_a_link(world, moment):
    """A photo that is swapped for a link on its way gives nothing away: what the link leads to is neither sent nor moved."""
    world.write_config(folder={"on_success": "archive", "archive": str(world.archive)})
    secret = world.root / "secret.png"
    secret.write_bytes(picture("secret"))
    data = world.put("a.png")
    stop = world.root / "stop"
    daemon = world.start(stops=[(moment, str(stop))])
    until(stop.exists, what=world.tail)
    (world.inbox / "a.png").unlink()
    (world.inbox / "a.png").symlink_to(secret)
    stop.unlink()
    until(lambda: world.jobs() and not world.states().keys() & {"queued", "running", "waiting"}, what=world.tail)
    assert world.stop(daemon) == 0
    assert secret.read_bytes() == picture("secret")
    assert (world.inbox / "a.png").is_symlink()
    for output in world.outbox.rglob("*.png"):
        assert output.read_bytes() == cut_out(data)
    assert not list(world.archive.rglob("*.png"))


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_001, 10), (2**31 - 1, 1)])
def test_bombs_are_not_sent(world, width, height):
    """A picture that says to be larger than the API takes is refused from its head alone; it is never unpacked."""
    world.put("bomb.png", claimed(width, height))
    world.put("a.png")
    daemon = world.start()
    until(lambda: world.states() == {"done": 1, "failed": 1}, what=world.tail)
    assert peak(daemon) < 150 * MEGABYTE
    assert world.stop(daemon) == 0
    assert "px" in world.job("bomb.png").message
    assert len(world.sandbox.requests) == 1


def test_the_largest_picture(world, monkeypatch):
    """A picture of 10000 x 10000 px goes through with three workers, and memory stays bounded."""
    world.write_config(workers=3)
    large = blank(10_000, 10_000)
    monkeypatch.setattr(app, "_make", lambda *_args, **_more: Good(large, "image/png"))
    monkeypatch.setattr(app, "_check_pixels", lambda _form: [])
    for number in range(3):
        world.put(f"{number}.png", large + bytes([number]))
    daemon = world.start()
    until(lambda: world.states()["done"] == 3, 60, what=world.tail)
    most = peak(daemon)
    assert world.stop(daemon) == 0
    for number in range(3):
        assert world.output(f"{number}.png").read_bytes() == large
    assert most < 600 * MEGABYTE, f"{most / MEGABYTE:.0f} MB"


@pytest.mark.parametrize("bomb", ["huge", "liar"])
def test_an_answer_that_is_a_bomb(world, monkeypatch, bomb):
    """An answer that says to be far larger than asked for is no result; it is never unpacked, and the job ends."""
    answer = claimed(60_000, 60_000) if bomb == "huge" else claimed(64, 48)
    monkeypatch.setattr(app, "_make", lambda *_args, **_more: Good(answer, "image/png"))
    world.write_config(retry={"base_delay": 0.05, "max_delay": 0.1, "max_attempts": 3})
    world.put("a.png")
    daemon = world.start(hurry=0.2)
    until(lambda: world.states()["failed"] == 1, what=world.tail)
    assert peak(daemon) < 150 * MEGABYTE
    assert world.stop(daemon) == 0
    assert not list(world.outbox.rglob("*"))
    world.check_ledger()


@pytest.mark.parametrize("fault", ["endless", "gzip-bomb", "slow", "stall-body", "wrong-length", "redirect"])
def test_answers_that_mean_harm(world, fault):
    """Endless, packed, dripping, lying and leading answers: bounded in memory, bytes and time; the photo is delivered."""
    world.write_config(api={"read_timeout": 4 if fault == "stall-body" else 60})  # short only where nothing comes
    world.sandbox.set(slow_seconds=0.4)
    world.sandbox.next(fault, fault)
    for number in range(3):
        world.put(f"{number}.png")
    daemon = world.start(hurry=0.3)
    until(lambda: world.states()["done"] == 3, what=world.tail)
    assert peak(daemon) < 250 * MEGABYTE
    assert world.stop(daemon) == 0
    world.check_outputs()
    assert not world.debris()
    assert not world.sandbox.elsewhere, "the key went elsewhere"
    world.check_ledger()


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_a_state_directory_that_others_can_write(world, mode):
    """A state directory that others can write is refused, with what to do; nothing is sent."""
    world.state.mkdir()
    world.state.chmod(mode)
    world.put("a.png")
    assert world.end(world.start()) == 73
    assert "chmod" in world.events("refused")[0]["hint"]
    assert not world.sandbox.requests
