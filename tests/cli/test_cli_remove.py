"""``remove`` as people type it, against the sandbox."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_environment import environment
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a-key-that-nobody-shows"


@pytest.fixture
def remove(sandbox, tmp_path):
    """Run the command in ``tmp_path``, with the key in the environment and the sandbox's address."""

    def run(*arguments: str, key: str | None = KEY, url: bool = True, stdin: bytes | None = None):
        env = environment(HOME=str(tmp_path), **({} if key is None else {"REMBG_API_KEY": key}))
        done = subprocess.run(
            [sys.executable, "-m", "rembg_watch", "remove", *arguments, *(["--url", sandbox.url] if url else [])],
            cwd=tmp_path, env=env, capture_output=True, timeout=60, check=False, input=stdin,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        assert KEY.encode() not in done.stdout + done.stderr
        return done

    return run


def draw(path: Path, size: tuple[int, int] = (240, 180), **how) -> Path:
    image = Image.new("RGB", size, "#f2f2f2")
    image.paste("crimson", (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)
    return path


def test_a_picture_lands_beside_its_source(remove, sandbox, tmp_path):
    """The shortest command: photo.jpg makes photo.webp, transparent, one line, one credit."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("photo.jpg -> photo.webp  (240 x 180 px, webp,")
    assert done.stderr == b""
    with Image.open(tmp_path / "photo.webp") as result:
        assert (result.format, result.mode) == ("WEBP", "RGBA")
    assert sandbox.charged == 1
    assert sorted(os.listdir(tmp_path)) == ["photo.jpg", "photo.webp"]


def test_a_source_is_never_overwritten(remove, tmp_path):
    """photo.webp makes photo-cutout.webp, even with --force; naming a source as OUT is wrong usage."""
    source = draw(tmp_path / "photo.webp", lossless=True)
    draw(tmp_path / "other.png")
    before = source.read_bytes()
    assert remove("photo.webp", "--force").returncode == 0
    assert (tmp_path / "photo-cutout.webp").exists()
    assert remove("other.png", "photo.webp", "-o", ".", "--force").returncode == 0
    assert remove("photo.webp", "-o", "photo.webp", "--force").returncode == 2
    assert source.read_bytes() == before


def test_an_existing_file_is_kept_and_costs_nothing(remove, sandbox, tmp_path):
    """What is there already is refused with 73 before anything is sent; --force replaces it."""
    draw(tmp_path / "photo.jpg")
    (tmp_path / "photo.webp").write_bytes(b"mine")
    done = remove("photo.jpg")
    assert done.returncode == 73
    assert b"--force" in done.stderr
    assert (tmp_path / "photo.webp").read_bytes() == b"mine"
    assert sandbox.requests == []
    assert remove("photo.jpg", "--force").returncode == 0
    assert (tmp_path / "photo.webp").read_bytes() != b"mine"


def test_every_option_reaches_the_api(remove, sandbox, tmp_path):
    """Each flag is sent by the API's own name, colours as hex."""
    draw(tmp_path / "photo.jpg")
    done = remove(
        "photo.jpg", "-f", "PNG", "--w", "100", "--h", "90", "--exact-resize", "--bg-color", "Red", "--angle", "12.5",
        "--no-expand", "-o", "out.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {k: v for k, v in sandbox.requests[0].fields.items() if k != "image"} == {
        "format": "png", "w": "100", "h": "90", "exact_resize": "true", "bg_color": "#ff0000", "angle": "12.5",
        "expand": "false",
    }  # fmt: skip
    assert remove("photo.jpg", "--mask", "-o", "mask.bmp").returncode == 0
    assert sandbox.requests[1].fields["mask"] == "true"
    with Image.open(tmp_path / "mask.bmp") as mask:
        assert mask.format == "BMP"


def test_several_go_into_a_folder_under_names_of_their_own(remove, tmp_path):
    """With -o a folder is made; two sources with one stem or one name do not overwrite each other."""
    sources = [draw(tmp_path / name).relative_to(tmp_path).as_posix() for name in ("a/x.jpg", "a/x.png", "b/x.jpg")]
    done = remove(*sources, "-o", "cut/outs")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "cut/outs").iterdir())) == 3
    assert len(done.stdout.splitlines()) == 3


def test_several_do_not_go_into_one_picture(remove, sandbox, tmp_path):
    """Two photos and one file for -o is a slip: no folder of that name is made, and nothing is sent."""
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    done = remove("a.jpg", "b.jpg", "-o", "both.png")
    assert done.returncode == 2
    assert b"both.png is one picture" in done.stderr
    assert not (tmp_path / "both.png").exists()
    assert sandbox.charged == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--w", "20000"), b"--w: must be at most 10000, not 20000"),
        (("--angle", "400"), b"--angle: must be at most 360, not 400"),
        (("-f", "pngg"), b"--format: must be webp, png, jpeg or bmp, not 'pngg' (did you mean png?)"),
    ],
)
def test_wrong_options_are_told_in_words(remove, tmp_path, typed, said):
    """What is wrong with an option is said as for the config: the bound, the value, and what was probably meant."""
    draw(tmp_path / "a.jpg")
    done = remove("a.jpg", *typed)
    assert done.returncode == 2
    assert said in done.stderr


def test_what_the_api_would_refuse_is_not_sent(remove, sandbox, tmp_path):
    """Text, an empty file and a picture that is too wide fail here, with the reason, and the others go on."""
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    draw(tmp_path / "wide.png", (10_001, 2))
    draw(tmp_path / "fine.png")
    done = remove("text.jpg", "empty.png", "wide.png", "gone.png", "fine.png", "--json")
    assert done.returncode == 1
    notes = json.loads(done.stdout)
    assert [note["ok"] for note in notes] == [False, False, False, False, True]
    assert {note["error"]["charge"] for note in notes[:4]} == {"not charged"}
    assert len(sandbox.requests) == sandbox.charged == 1
    assert notes[4]["output"] == str(tmp_path / "fine.webp")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--w", "0"),
        ("--angle", "400"),
        ("--bg-color", "reddish"),
        ("--mask", "--bg-color", "red"),
        ("--exact-resize", "--w", "9"),
        ("-f", "gif"),
        ("-f", "png", "-o", "out.jpg"),
        ("--base64", "-o", "out.png"),
        ("-o", "-", "--json"),
        ("-o", "-", "other.jpg"),
    ],
)
def test_wrong_options_are_wrong_usage(remove, sandbox, tmp_path, arguments):
    """Options that can't be meant end with 2 before anything is sent."""
    draw(tmp_path / "photo.jpg")
    assert remove("photo.jpg", *arguments).returncode == 2
    assert sandbox.requests == []


def test_from_stdin_to_stdout(remove, tmp_path):
    """``-`` reads a picture from stdin and writes the result, and nothing else, to stdout."""
    source = draw(tmp_path / "photo.jpg").read_bytes()
    done = remove("-", "-f", "png", stdin=source)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as result:
        assert result.format == "PNG"
        result.load()
    assert remove("-", "-o", "named.jpg", stdin=source).returncode == 0
    assert (tmp_path / "named.jpg").exists()
    assert remove("photo.jpg", "-o", "-").stdout[:4] == b"RIFF"


def test_base64_goes_to_stdout(remove, tmp_path):
    """--base64 prints a data: URL on a line for each picture, and writes no file."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "--base64")
    head, _, data = done.stdout.decode().strip().partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(data)[8:12] == b"WEBP"
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_refused_key_stops_everything(remove, sandbox, tmp_path):
    """The first 401 ends the command with 77; the other pictures are not tried."""
    sandbox.set_key("another")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        draw(tmp_path / name)
    done = remove("a.jpg", "b.jpg", "c.jpg")
    assert done.returncode == 77
    assert b"2 more not tried" in done.stderr
    assert len(sandbox.requests) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]


def test_an_api_that_is_not_there_is_69(remove, sandbox, tmp_path):
    """Nobody listens: exit 69, and nothing is left behind."""
    draw(tmp_path / "photo.jpg")
    sandbox.stop()
    assert remove("photo.jpg").returncode == 69
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_no_credits_is_one_clear_line(remove, sandbox, tmp_path):
    """Without credits the command ends with 1 and says so."""
    sandbox.set_credits(0)
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg")
    assert done.returncode == 1
    assert b"monthly limit" in done.stderr


def test_too_fast_is_waited_out(remove, sandbox, tmp_path):
    """A short-term 429 costs nothing, so it is tried again."""
    sandbox.set(retry_after=0.1)
    sandbox.next("429", "429")
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg")
    assert done.returncode == 0, done.stderr
    assert sandbox.charged == 1


def test_what_may_have_been_paid_is_said(remove, sandbox, tmp_path):
    """An answer that is cut off was possibly charged, and the command says so."""
    sandbox.next("truncate")
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg")
    assert done.returncode == 69
    assert b"possibly charged" in done.stderr
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_profile_gives_the_options_and_the_config_the_way(remove, sandbox, tmp_path):
    """--profile takes the options, the key and the address from the config; flags go on top of it."""
    (tmp_path / "my.yaml").write_text(
        f"api: {{key: from-the-config, url: '{sandbox.url}', usage_url: '{sandbox.usage_url}'}}\n"
        "state_dir: state\n"
        "profiles: {shop: {format: png, bg_color: white, w: 99, mask: false}}\n"
        "folders: [{inbox: in, outbox: out, profile: shop}]\n"
    )
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "--profile", "shop", "-c", "my.yaml", "--w", "50", key=None, url=False)
    assert done.returncode == 0, done.stderr
    assert sandbox.requests[0].fields["w"] == "50"
    assert sandbox.requests[0].fields["bg_color"] == "#ffffff"
    done = remove("photo.jpg", "--profile", "shpo", "-c", "my.yaml")
    assert done.returncode == 2
    assert b"shop" in done.stderr


def test_without_a_key_it_says_where_one_comes_from(remove, tmp_path):
    """No config and no variable: exit 78, with the name of the variable."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", key=None)
    assert done.returncode == 78
    assert b"REMBG_API_KEY" in done.stderr


def test_the_key_goes_nowhere_in_the_open(remove, sandbox, tmp_path):
    """An http address that is not this machine is refused before anything is sent."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "--url", "http://example.com/rmbg", url=False)
    assert done.returncode == 2
    assert b"https" in done.stderr


def test_names_are_printed_safely(remove, tmp_path):
    """A name with a newline and an escape sequence drives no terminal; JSON has it as it is."""
    name = "a\nb\x1b[31m.jpg"
    draw(tmp_path / "plain.jpg").rename(tmp_path / name)
    done = remove(name, "--json")
    assert json.loads(done.stdout)[0]["source"] == name
    done = remove(name, "--force")
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stdout.count(b"\n") == 1


def test_a_terminal_sees_bars(sandbox, tmp_path):
    """On a terminal the progress is drawn on stderr, and stdout stays plain."""
    draw(tmp_path / "photo.jpg", (1200, 900))
    sandbox.latency = 0.5
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rembg_watch", "remove", "photo.jpg", "--url", sandbox.url],
        cwd=tmp_path, env=environment(REMBG_API_KEY=KEY, TERM="xterm"),
        stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # how a terminal says that nobody is at its other end
        pass
    os.close(ours)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"cutting out" in seen
    assert told.startswith(b"photo.jpg -> photo.webp")


def test_only_files_are_replaced(remove, sandbox, tmp_path):
    """--force does not put a picture into the place of a pipe or a device; nothing is sent."""
    draw(tmp_path / "photo.jpg")
    os.mkfifo(tmp_path / "pipe.webp")
    (tmp_path / "link.webp").symlink_to("pipe.webp")
    for out in ("pipe.webp", "link.webp"):
        done = remove("photo.jpg", "-o", out, "--force")
        assert done.returncode == 73
        assert b"is no file that could be replaced" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "pipe.webp").lstat().st_mode)
    assert (tmp_path / "link.webp").is_symlink()
    assert sandbox.charged == 0


def test_a_photo_that_is_named_twice_is_paid_once(remove, sandbox, tmp_path):
    """However its path is written."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "./photo.jpg", str(tmp_path / "photo.jpg"))
    assert done.returncode == 0, done.stderr
    assert sandbox.charged == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--bg-color", b"re\xff\x1b[31m"), rb"--bg-color: 're\xff\x1b[31m' is no text"),
        (("-o", ""), b"-o names nothing"),
        (("--profile", b"\xff", "-c", "config.yaml"), rb"there is no profile '\xff'"),
    ],
)
def test_odd_words_are_wrong_usage(remove, sandbox, tmp_path, typed, said):
    """Bytes that are no text, and an empty variable of a script, are no crash and no guess."""
    draw(tmp_path / "photo.jpg")
    (tmp_path / "config.yaml").write_text("folders: [{inbox: i, outbox: o}]")
    done = remove("photo.jpg", *typed)
    assert done.returncode == 2
    assert said in done.stderr
    assert sandbox.charged == 0


def test_a_target_that_can_not_be_looked_at_is_told_in_words(remove, sandbox, tmp_path):
    """A name that no file can have is not sent for."""
    draw(tmp_path / "photo.jpg")
    done = remove("photo.jpg", "-o", f"{'x' * 300}/out.webp")
    assert done.returncode == 73
    assert b"Nothing was sent" in done.stderr
    assert sandbox.charged == 0


def test_a_result_has_a_line_to_itself(sandbox, tmp_path):
    """On one terminal for everything, the line of the progress is gone before the result is told."""
    draw(tmp_path / "photo.jpg")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rembg_watch", "remove", "photo.jpg", "--url", sandbox.url],
        cwd=tmp_path, env=environment(REMBG_API_KEY=KEY, TERM="xterm"), stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:
        pass
    os.close(ours)
    assert process.wait(60) == 0
    before = seen[: seen.index(b"photo.jpg -> ")]
    assert before.endswith(b"\x1b[2K")


def test_a_result_that_finds_no_room_is_told_as_paid(remove, sandbox, tmp_path, mount_at):
    """What it cost is said, also in JSON, and no further picture is paid for to be lost as well."""
    draw(tmp_path / "a.jpg")
    draw(tmp_path / "b.jpg")
    tiny = tmp_path / "tiny"
    mount_at(tiny, "-t", "tmpfs", "-o", "size=4k", "none")
    (tiny / "fill").write_bytes(b"x" * 4096)
    done = remove("a.jpg", "b.jpg", "-o", "tiny/", "--json")
    assert done.returncode == 73
    assert b"the disk is full\n  The picture was charged, and is lost." in done.stderr
    assert [note["error"]["charge"] for note in json.loads(done.stdout)] == ["charged"]
    assert sandbox.charged == 1


def test_a_folder_that_can_not_be_written_is_told_before_anything_is_sent(remove, sandbox, tmp_path, mount_at):
    """What hinders is said for someone who typed a command: no daemon goes on by itself."""
    draw(tmp_path / "photo.jpg")
    mount_at(tmp_path / "closed", "-t", "tmpfs", "-o", "ro", "none")
    done = remove("photo.jpg", "-o", "closed/")
    assert done.returncode == 73
    assert b"Nothing was sent. Mount it writable" in done.stderr
    assert sandbox.charged == 0


def test_a_folder_that_is_gone_is_no_place_to_begin(sandbox, tmp_path):
    """Nothing is sent from a folder that was removed under the shell."""
    photo = draw(tmp_path / "photo.jpg")
    (tmp_path / "gone").mkdir()
    words = [sys.executable, "-m", "rembg_watch", "remove", str(photo), "--url", sandbox.url]
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone; exec "$@"', "sh", *words],
        cwd=tmp_path / "gone", env=environment(REMBG_API_KEY=KEY), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 73
    assert b"the current folder is gone" in done.stderr
    assert sandbox.charged == 0
