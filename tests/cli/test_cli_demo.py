"""The demo as people run it: the real daemon, the real sandbox, real files."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_environment import ROOT, environment
from PIL import Image

from rembg_watch.cli.samples import SAMPLES
from rembg_watch.cli.sheet import Card, contact_sheet
from rembg_watch.cli.stage import MARKER, Way, own_props, sample_props, set_up
from rembg_watch.errors import FileError
from rembg_watch.jobs.lock import running_pid

pytestmark = pytest.mark.timeout(300)

PATIENT = """
import sys
from rembg_watch.cli import demo, main, understudy
demo.DEADLINE, understudy.STOP_SECONDS = 200.0, 60.0
"""
"""The demo gives up after a minute; a machine that is busy with tests may take longer."""

EXPECTED = {
    "travel mug.webp": "WEBP",
    "shoes/running shoe (red).webp": "WEBP",
    "furniture/living room/fauteuil doré.webp": "WEBP",
    "marketplace/olive oil.png": "PNG",
    "marketplace/bags/backpack.png": "PNG",
    "marketplace/lamp.png": "PNG",
    "masks/Armbanduhr für Söhne.png": "PNG",
    "masks/headphones.png": "PNG",
    "banner/pot plant.jpg": "JPEG",
    "banner/summer sale/camera.jpg": "JPEG",
}


def demo(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{PATIENT}main()", "demo", *map(str, arguments)],
        cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def picture(path: Path, colour: str, size: tuple[int, int] = (300, 240), **how) -> None:
    image = Image.new("RGB", size, "#f4f4f4")
    image.paste(colour, (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


def test_the_demo_delivers_every_sample_by_its_own_profile(tmp_path):
    """One command without any set-up: every photo in its mirrored place and format, a table, a sheet, exit 0."""
    # Proxies that lead nowhere: whatever does not stay on loopback would fail.
    done = demo(cwd=tmp_path, HTTP_PROXY="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    root = tmp_path / "rembg-watch-demo"
    assert files_below(root / "outbox") == set(EXPECTED)
    for name, kind in EXPECTED.items():
        with Image.open(root / "outbox" / name) as output:
            assert output.format == kind
            output.load()
            if name == "travel mug.webp":
                assert output.getchannel("A").getextrema() == (0, 255)
            if name.startswith("marketplace"):
                assert max(output.size) == 1000
                assert output.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert files_below(root / "inbox") == {sample.path for sample in SAMPLES}
    with Image.open(root / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    for sample in SAMPLES:
        assert sample.path in done.stdout
    assert "10 sandbox credits charged" in done.stdout
    assert "Nothing leaves this machine" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert running_pid(root / "state") is None
    assert not (root / ".wings").exists()
    assert (root / "config.yaml").stat().st_mode & 0o077 == 0


def test_photos_of_ones_own_go_through(tmp_path):
    """``--images`` takes copies; what is no photo, damaged or ignored is said and skipped; sources are not touched."""
    mine = tmp_path / "mine"
    picture(mine / "a.jpg", "red")
    picture(mine / "a.png", "green")
    picture(mine / "deep/er/ünï code.WEBP", "blue", lossless=True)
    picture(mine / "banner/b.bmp", "purple")
    (mine / "text.jpg").write_text("no picture")
    (mine / "empty.png").touch()
    (mine / "notes.txt").write_text("not even called a picture")
    picture(mine / "~lock.jpg", "red")
    whole = (mine / "a.jpg").read_bytes()
    (mine / "half.jpg").write_bytes(whole[: len(whole) // 2])
    before = {name: hashlib.sha256((mine / name).read_bytes()).digest() for name in files_below(mine)}
    done = demo("--images", "mine", "--dir", "shown", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outbox = files_below(tmp_path / "shown/outbox")
    assert {"deep/er/ünï code.webp", "banner/b.jpg"} <= outbox
    assert len([name for name in outbox if "/" not in name]) == 2  # a.jpg and a.png have one stem
    assert len([name for name in outbox if name.startswith(("marketplace", "masks", "banner"))]) == 10
    for name in ("text.jpg", "empty.png", "~lock.jpg", "half.jpg"):
        assert f"skipped {name}" in done.stderr
    assert {name: hashlib.sha256((mine / name).read_bytes()).digest() for name in files_below(mine)} == before


def test_a_folder_without_photos_is_refused(tmp_path):
    """Nothing to show is an error, and nothing is made for it."""
    (tmp_path / "mine").mkdir()
    done = demo("--images", "mine", cwd=tmp_path)
    assert done.returncode == 73
    assert "there is no photo" in done.stderr
    assert not (tmp_path / "rembg-watch-demo").exists()


def test_a_folder_of_somebody_elses_is_refused(tmp_path):
    """The demo never touches a folder that has anything in it and is not an earlier demo: exit 73."""
    theirs = tmp_path / "rembg-watch-demo"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    done = demo(cwd=tmp_path)
    assert done.returncode == 73
    assert "--dir" in done.stderr
    assert files_below(tmp_path) == {"rembg-watch-demo/thesis.txt"}


def test_an_earlier_demo_stays_and_a_fresh_one_is_made_beside_it(tmp_path):
    """Somebody may have put photos into an earlier demo: it is kept whole."""
    first = set_up(tmp_path / "demo")
    (first.inbox / "mine.jpg").write_bytes(b"precious")
    second = set_up(tmp_path / "demo")
    (tmp_path / "demo-3").mkdir()
    (tmp_path / "demo-3/else.txt").touch()
    assert second.root == tmp_path / "demo-2"
    assert set_up(tmp_path / "demo").root == tmp_path / "demo-4"
    assert (first.inbox / "mine.jpg").read_bytes() == b"precious"


def test_an_empty_folder_is_taken(tmp_path):
    """A folder that somebody made for the demo is used."""
    (tmp_path / "demo").mkdir()
    assert set_up(tmp_path / "demo").root == tmp_path / "demo"
    assert (tmp_path / "demo" / MARKER).exists()


def test_a_file_in_the_way_is_an_error(tmp_path):
    """Where a file has the name, it says so."""
    (tmp_path / "demo").touch()
    with pytest.raises(FileError):
        set_up(tmp_path / "demo")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_and_its_daemon(tmp_path, number):
    """Ctrl-C before all is through: no traceback, no daemon left behind, exit 130."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{PATIENT}demo.Audience.look = lambda _: False\nmain()", "demo"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        state = tmp_path / "rembg-watch-demo/state"
        until(lambda: running_pid(state) or process.poll() is not None)
        daemon = running_pid(state)
        process.send_signal(number)
        _, told = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert "Stopped." in told
    assert "Traceback" not in told
    assert daemon
    assert not Path(f"/proc/{daemon}").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path):
    """On a server that only has the daemon, the demo names the line that adds the sandbox."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('gone', name='uvicorn')\n")
    done = demo(cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert "pip install 'rembg-watch[sandbox]'" in done.stderr
    assert not (tmp_path / "rembg-watch-demo").exists()


def test_a_daemon_that_dies_is_reported_with_its_log(tmp_path):
    """When not every photo gets through, the exit code is 1 and the end of the daemon's log is shown."""
    # The daemon alone has the demo's folder as its config's; this breaks nothing but its start.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'run' in sys.orig_argv:\n    sys.stderr.write('out of \\x1b[31morder\\n')\n    raise SystemExit(3)\n"
    )
    done = demo(cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert r"out of \x1b[31morder" in done.stderr
    assert "exit code" in done.stderr


def test_the_sample_photos_are_the_same_every_time(tmp_path):
    """Two drawings of one sample have the same bytes, and each is what its name says."""
    for sample in SAMPLES[:3]:
        one, other = (tmp_path / f"{n}.{sample.path.rpartition('.')[2]}" for n in "ab")
        sample.save(one)
        sample.save(other)
        assert one.read_bytes() == other.read_bytes()


def test_the_samples_go_every_way_and_carry_every_ending():
    """The demo shows what it promises: all ways into an inbox, all formats, nested and unicode names."""
    assert {prop.way for prop in sample_props()} == set(Way)
    assert {path.rpartition(".")[2] for path in (sample.path for sample in SAMPLES)} == {
        "jpg", "JPG", "jpeg", "png", "webp", "bmp",
    }  # fmt: skip


def test_the_demo_never_takes_photos_of_a_demo(tmp_path):
    """With ``--images .`` an earlier demo beneath it is left out, and so is the folder the new one goes to."""
    picture(tmp_path / "a.jpg", "red")
    stage = set_up(tmp_path / "demo")
    picture(stage.inbox / "b.jpg", "red")
    picture(tmp_path / "new/c.jpg", "red")
    props, _ = own_props(tmp_path, tmp_path / "new")
    assert {prop.path for prop in props} == {"a.jpg", "marketplace/a.jpg", "masks/a.jpg", "banner/a.jpg"}


def test_a_sheet_shows_what_it_can(tmp_path):
    """A hostile name, a missing picture and more cards than fit: the sheet is drawn all the same."""
    picture(tmp_path / "a.png", "red", (900, 30))
    card = Card(tmp_path / "a.png", tmp_path / "gone.png", "line\nbreak \x1b[31m " + "x" * 300, "caption")
    assert contact_sheet([card] * 45, "heading", "note").height > 1000
