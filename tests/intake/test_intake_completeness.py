"""One look at a real file: what it is, whether anybody writes it, whether its end is there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from rembg_watch.imagefile import Ending, Kind
from rembg_watch.intake import completeness
from rembg_watch.intake.completeness import Gone, Identity, NotAFile, decode, look
from rembg_watch.intake.preflight import MAX_BYTES
from rembg_watch.intake.readiness import Writer


def facts_of(path):
    return look(str(path), 1.0).facts


@pytest.mark.parametrize("kind", list(Kind))
def test_whole_pictures_are_seen_as_whole(inbox, pic, kind):
    """A closed, whole picture of every format shows its kind, its end, and nobody writing."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic(kind.name))
    seen = look(str(path), 1.0)
    assert seen.identity == Identity.of(path.stat())
    assert (seen.facts.kind, seen.facts.ending, seen.facts.writer) == (kind, Ending.COMPLETE, Writer.NOBODY)
    assert seen.facts.refusal is None
    assert decode(str(path), seen.identity) is None


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("part", [0.05, 0.5, 0.98])
def test_cut_pictures_are_never_whole(inbox, pic, kind, part):
    """A picture that is cut anywhere is not complete by its end, or else does not decode."""
    data = pic(kind.name)
    path = inbox / "photo"
    path.write_bytes(data[: int(len(data) * part)])
    seen = look(str(path), 1.0)
    assert seen.facts.ending is not Ending.COMPLETE
    assert decode(str(path), seen.identity) is not None


def test_bytes_behind_the_end_are_no_damage(inbox, pic):
    """Trailing bytes send a picture the slow way, and there it is found whole."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic() + b"appended by a camera" * 10)
    seen = look(str(path), 1.0)
    assert seen.facts.ending is Ending.UNKNOWN
    assert decode(str(path), seen.identity) is None


def test_an_open_writer_is_seen(inbox, pic):
    """As long as any process has the file open for writing the lease is refused; afterwards it is granted."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic())
    with path.open("ab"):
        assert facts_of(path).writer is Writer.SOMEBODY
    assert facts_of(path).writer is Writer.NOBODY


def test_no_lease_means_no_answer(open_inbox, pic):
    """Where the lease may not be asked for (somebody else's file), the answer is that nobody can tell."""
    path = open_inbox / "photo.jpg"
    path.write_bytes(pic())
    program = (
        "import os\n"
        "from rembg_watch.intake.completeness import who_writes\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"print(who_writes(os.open({str(path)!r}, os.O_RDONLY)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unknown"


def test_a_broken_lease_does_not_kill(inbox, pic):
    """A writer that breaks our lease sends a signal that ends no process, even where SIGIO has its default action."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic())
    program = (
        "import fcntl, os, signal, sys, time\n"
        "from rembg_watch.intake import completeness\n"
        "signal.signal(signal.SIGIO, signal.SIG_DFL)\n"
        "real = completeness.fcntl.fcntl\n"
        "def slow(fd, command, value):\n"
        "    real(fd, command, value)\n"
        "    if command == fcntl.F_SETLEASE and value == fcntl.F_RDLCK:\n"
        "        print('held', flush=True); sys.stdin.readline()\n"
        "completeness.fcntl.fcntl = slow\n"
        f"print(completeness.who_writes(os.open({str(path)!r}, os.O_RDONLY)))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError):
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    out, _ = child.communicate("go\n", timeout=60)
    assert child.returncode == 0
    assert out.strip() in ("nobody", "somebody")


def test_others_are_not_opened(inbox, elsewhere, pic):
    """Links, pipes, sockets, devices and folders are told apart at once, without waiting and without following."""
    (elsewhere / "secret.jpg").write_bytes(pic())
    (inbox / "link.jpg").symlink_to(elsewhere / "secret.jpg")
    (inbox / "folder.jpg").mkdir()
    os.mkfifo(inbox / "pipe.jpg")
    (inbox / "linked").symlink_to(elsewhere)
    names = ["link.jpg", "folder.jpg", "pipe.jpg", "linked/secret.jpg"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inbox / "socket.jpg"))
        if os.getuid() == 0:
            os.mknod(inbox / "null.jpg", 0o020666, os.makedev(1, 3))
            names.append("null.jpg")
        for name in [*names, "socket.jpg"]:
            with pytest.raises(NotAFile):
                look(str(inbox / name), 1.0)
    with pytest.raises(Gone):
        look(str(inbox / "nothing.jpg"), 1.0)


def test_links_say_where_they_lead(inbox, elsewhere):
    """The reason tells a link inside the inbox from one that leads out of it."""
    (inbox / "photo.jpg").write_bytes(b"x")
    (inbox / "a.jpg").symlink_to("photo.jpg")
    (inbox / "b.jpg").symlink_to(elsewhere / "x.jpg")
    assert "own name" in completeness.describe_link(str(inbox / "a.jpg"), str(inbox))
    assert "out of the inbox" in completeness.describe_link(str(inbox / "b.jpg"), str(inbox))


def test_what_the_api_would_refuse_is_named(inbox, pic):
    """Empty, another kind, over 50 MB, over 10000 px, damaged: each look says so with the number."""
    path = inbox / "photo.jpg"
    path.touch()
    assert facts_of(path).refusal.code == "empty"
    path.write_bytes(b"GIF89a" + bytes(range(100)))
    assert "GIF" in facts_of(path).refusal.message
    path.write_bytes(pic("PNG", side=8)[:16] + (12000).to_bytes(4) + pic("PNG", side=8)[20:])
    assert facts_of(path).refusal.code in ("damaged", "dimensions")
    path.write_bytes(pic())
    os.truncate(path, MAX_BYTES + 1)
    refusal = facts_of(path).refusal
    assert refusal.code == "size"
    assert str(MAX_BYTES + 1) in refusal.message
    os.truncate(path, MAX_BYTES)
    assert facts_of(path).refusal is None
    path.write_bytes(b"\xff\xd8\xff" + b"nonsense" * 20 + b"\xff\xd9")
    assert facts_of(path).refusal.code == "damaged"


def test_reserved_space_is_not_refused(inbox):
    """A file of zeros is one whose bytes are still to come."""
    path = inbox / "photo.jpg"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 100_000)
    assert facts_of(path).blank


def test_a_decode_of_another_version_is_no_answer(inbox, pic):
    """If the file changed since the decode was ordered, there is no answer instead of a wrong one."""
    path = inbox / "photo.jpg"
    path.write_bytes(pic())
    identity = look(str(path), 1.0).identity
    path.write_bytes(pic(seed=1) + b"longer")
    with pytest.raises(Gone):
        decode(str(path), identity)
