"""MemoryDenyWriteExecute, on each Python that the tests run on: by the kernel's own switch, without systemd."""

from __future__ import annotations

import subprocess
import sys

import pytest

_UNDER_IT = """
import ctypes, io, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("the switch has no effect")
import rembg_watch.daemon, rembg_watch.cli.run
from PIL import Image
for kind in ("PNG", "JPEG", "WEBP", "BMP"):
    file = io.BytesIO()
    Image.new("RGB", (640, 480), "red").save(file, kind)
    with Image.open(file) as image:
        image.load()
        image.resize((64, 48)).convert("L").rotate(10)
import ssl, sqlite3, tempfile
ssl.create_default_context()
sqlite3.connect(":memory:").execute("PRAGMA user_version")
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
with tempfile.TemporaryDirectory() as folder:
    observer = Observer()
    observer.schedule(FileSystemEventHandler(), folder)
    observer.start()
    observer.stop()
    observer.join()
print("all of it works")
"""


def test_systemd_memory_deny_write_execute() -> None:
    """The daemon's modules, Pillow's codecs, TLS, SQLite and the watcher work without memory to write and run."""
    run = subprocess.run([sys.executable, "-c", _UNDER_IT], check=False, capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip("this kernel is older than 6.3 and has no PR_SET_MDWE")
    assert (run.returncode, run.stdout) == (0, "all of it works\n"), run.stderr
