"""``remove`` as people type it, against the sandbox."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess

import pytest
from cli_environment import environment
from cli_removing import KEY, draw
from cli_terminal import on_terminal
from PIL import Image


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
    sandbox.latency = 3600
    code, seen, told = on_terminal(
        *("remove", "photo.jpg", "--url", sandbox.url), stdout=subprocess.PIPE,
        at=b"cutting out", then=lambda: sandbox.set(latency=0), cwd=tmp_path, env=environment(REMBG_API_KEY=KEY, TERM="xterm"),
    )  # fmt: skip
    assert code == 0
    assert b"cutting out" in seen
    assert told.startswith(b"photo.jpg -> photo.webp")


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


def test_a_result_has_a_line_to_itself(sandbox, tmp_path):
    """On one terminal for everything, the line of the progress is gone before the result is told."""
    draw(tmp_path / "photo.jpg")
    code, seen, _ = on_terminal(
        "remove", "photo.jpg", "--url", sandbox.url, cwd=tmp_path, env=environment(REMBG_API_KEY=KEY, TERM="xterm")
    )
    assert code == 0
    before = seen[: seen.index(b"photo.jpg -> ")]
    assert before.endswith(b"\x1b[2K")
