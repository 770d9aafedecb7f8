"""Runs in the service's own sandbox, with its user, and says in JSON what it could do there."""

from __future__ import annotations

import ctypes
import io
import json
import mmap
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

INBOX, OUTBOX = Path("/srv/photos/inbox"), Path("/srv/photos/outbox")


def can(act) -> bool:
    try:
        act()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def rename_across() -> None:
    """Archive a photo and put it back: no EXDEV, as both folders lie below one writable path."""
    one, other = INBOX / ".probe", OUTBOX / ".probe"
    one.write_text("x")
    one.rename(other)
    os.link(other, one)
    one.unlink()
    other.unlink()


def decode_everything() -> None:
    from PIL import Image  # noqa: PLC0415

    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        bytes_ = io.BytesIO()
        Image.new("RGB", (640, 480), "red").save(bytes_, kind)
        with Image.open(bytes_) as image:
            image.load()
            image.resize((64, 48)).convert("L").rotate(10)
    ssl.create_default_context()


def make_setgid_folder() -> None:
    folder = OUTBOX / ".probe-folder"
    folder.mkdir()
    try:
        if not folder.stat().st_mode & 0o2000:
            raise OSError("not inherited")
    finally:
        folder.rmdir()


def mount() -> None:
    if ctypes.CDLL(None, use_errno=True).mount(b"none", b"/srv", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")


def run_from(folder: str) -> None:
    file = Path(folder, "probe-run")
    try:
        file.write_text("#!/bin/sh\ntrue\n")
        file.chmod(0o755)
        subprocess.run([file], check=True)
    finally:
        file.unlink(missing_ok=True)


def set_setuid() -> None:
    file = OUTBOX / ".probe-suid"
    file.write_text("x")
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


os.umask(0o007)
answers = {
    "write /etc": can(lambda: Path("/etc/probe").write_text("x")),
    "write /usr": can(lambda: Path("/usr/probe").write_text("x")),
    "write its own program": can(lambda: Path(sys.prefix, "probe").write_text("x")),
    "run a dropped program": can(lambda: subprocess.run([INBOX / "evil"], check=True)),
    "run a program from its state": can(lambda: run_from(os.environ["STATE_DIRECTORY"])),
    "run a program from /tmp": can(lambda: run_from("/tmp")),
    "load a dropped library": can(lambda: ctypes.CDLL(str(INBOX / "evil.so"))),
    "see home folders": can(lambda: os.listdir("/home")),
    "see other processes": os.path.exists("/proc/1"),
    "map memory to write and run": can(
        lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    ),
    "open a raw socket": can(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
    "mount": can(mount),
    "set a setuid bit": can(set_setuid),
    "read the key's file": can(lambda: Path("/etc/rembg-watch/key").read_text()),
    "move and link between inbox and outbox": can(rename_across),
    "decode pictures and load TLS": can(decode_everything),
    "make folders that the group shares": can(make_setgid_folder),
    "resolve a name": can(lambda: socket.getaddrinfo("localhost", 80)),
}
Path("/srv/photos/probe.json").write_text(json.dumps(answers))
