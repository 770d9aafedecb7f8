"""The client against the sandbox: every way in, every way out, every fault, and what each may have cost."""

from __future__ import annotations

import base64
import io
import os
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from api_raw_server import RawServer, picture
from PIL import Image

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.source import Base64
from rembg_watch.api.verdict import About, Charge
from rembg_watch.errors import (
    AccountRefused,
    ApiError,
    OptionsRejected,
    Refused,
    ServiceDown,
    SourceError,
    TargetError,
)
from rembg_watch.imagefile import Kind
from rembg_watch.sandbox import FAULTS, USAGE_FAULTS, Sandbox

JPEG = picture("JPEG", (80, 60), "white")


@pytest.fixture(scope="module")
def running():
    with Sandbox(credits=100_000) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.clear_faults()
    running.forget()
    return running


@pytest.fixture
def client(sandbox):
    with RembgClient("test-key-0123", url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=1.0) as one:
        yield one


# -- ways in ----------------------------------------------------------------------------------------------------------


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wrapped(data: bytes) -> str:
    line = text(data)
    return "\n".join(line[at : at + 76] for at in range(0, len(line), 76))


@pytest.mark.parametrize(
    "given",
    [
        bytes,
        bytearray,
        memoryview,
        io.BytesIO,
        text,
        wrapped,
        lambda data: "data:image/jpeg;base64," + text(data),
        lambda data: Base64(text(data).rstrip("=").replace("+", "-").replace("/", "_")),
    ],
)
def test_what_can_be_given(client, sandbox, given):
    """Bytes, open files and base64 in all its forms arrive as the same bytes, named by what they are."""
    image = given(JPEG)
    if isinstance(image, io.BytesIO):
        image.seek(7)
    with client.remove(image) as removal:
        assert (removal.kind, removal.width, removal.height) == (Kind.WEBP, 80, 60)
    received = sandbox.requests[-1]
    assert (received.size, received.filename, received.fields["format"]) == (len(JPEG), "image.jpg", "webp")


@pytest.mark.parametrize("as_text", [True, False])
def test_paths_and_pipes(client, sandbox, tmp_path, as_text):
    """A path is taken as text or as a Path; a pipe, which has no length, is gathered first."""
    path = tmp_path / "shoe photo ü.jpg"
    path.write_bytes(JPEG)
    with client.remove(str(path) if as_text else path):
        assert sandbox.requests[-1].size == len(JPEG)
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb") as feeder:
        feeder.write(JPEG)
        feeder.close()
        with client.remove(pipe):
            assert sandbox.requests[-1].size == len(JPEG)


def test_existing_path_wins_over_base64(client, sandbox, tmp_path, monkeypatch):
    """A text that names a file is that file, even where it would be base64 as well."""
    monkeypatch.chdir(tmp_path)
    other = picture("BMP", (9, 9))
    name = text(JPEG)[:40].replace("/", "_")
    Path(name).write_bytes(other)
    with client.remove(name):
        assert sandbox.requests[-1].size == len(other)


@pytest.mark.parametrize("image", ["no-such-file.jpg", "", "nul\0byte", "x" * 5000, Path("/proc/self/mem")])
def test_what_can_not_be_read(client, sandbox, image):
    """A missing or unreadable file is an error of the file; nothing is sent."""
    with pytest.raises((SourceError, Refused)):
        client.remove(image)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(50), "type"),
        (JPEG[:20], "damaged"),
        (JPEG + bytes(50 * 1024 * 1024), "size"),
        (picture("PNG", (10_001, 1)), "dimensions"),
        (Base64("not base64!"), "base64"),
        ("data:image/png;base64,", "empty"),
    ],
)
def test_what_the_api_would_refuse_is_not_sent(client, sandbox, image, code):
    """Refused here, where it costs neither time nor money, with one word for the reason."""
    with pytest.raises(Refused) as caught:
        client.remove(image)
    assert caught.value.code == code
    assert sandbox.requests == []


# -- ways out ---------------------------------------------------------------------------------------------------------


def test_temporary_file_and_its_cleanup(client):
    """Without a target the result is a temporary file, which stays until it is cleaned up."""
    removal = client.remove(JPEG, Options(format="png"))
    assert removal.path.suffix == ".png"
    assert removal.bytes == removal.path.read_bytes()
    assert Image.open(io.BytesIO(removal.bytes)).size == (80, 60)
    removal.cleanup()
    removal.cleanup()
    assert not removal.path.exists()


def test_named_file_is_whole_or_absent(client, sandbox, tmp_path):
    """A named target is replaced in one step; a failure leaves the old one, and no temporary file."""
    target = tmp_path / "out.png"
    target.write_bytes(b"old")
    sandbox.next("truncate", "garbage", "wrong-format")
    for _ in range(3):
        with pytest.raises(ApiError):
            client.remove(JPEG, Options(format="png"), to=target)
        assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
        assert target.read_bytes() == b"old"
    with client.remove(JPEG, Options(format="png"), to=str(target)) as removal:
        assert removal.path == target
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes().startswith(b"\x89PNG")
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask


def test_open_file_and_base64(client):
    """An open file gets the verified bytes; base64 is a data: URL with the true type, and leaves no file."""
    out = io.BytesIO()
    removal = client.remove(JPEG, to=out)
    assert removal.path is None
    assert out.getvalue()[8:12] == b"WEBP"
    with pytest.raises(ValueError, match="open file"):
        _ = removal.bytes
    removal = client.remove(JPEG, Options(format="png"), as_base64=True)
    assert removal.path is None
    assert removal.base64.startswith("data:image/png;base64,")
    assert removal.bytes.startswith(b"\x89PNG")


def test_target_that_can_not_be_written_costs_nothing(client, sandbox, tmp_path):
    """A target that can't be written is found before the photo is sent."""
    for target, code in ((tmp_path / "none" / "x.png", "missing"), (tmp_path, "other")):
        with pytest.raises(TargetError) as caught:
            client.remove(JPEG, to=target)
        assert caught.value.code == code
    assert sandbox.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_while_receiving(client, monkeypatch, tmp_path):
    """A disk that fills up under the answer is an error of the target, and leaves no file."""
    opened = os.open

    def full(path, flags, *mode, **options):
        return opened("/dev/full" if str(path).endswith(".part") else path, flags & ~os.O_EXCL, *mode, **options)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(TargetError) as caught:
        client.remove(picture("JPEG", (600, 400)), Options(format="bmp"), to=tmp_path / "x.bmp")
    assert caught.value.code == "full"
    assert list(tmp_path.iterdir()) == []


def test_progress_is_reported_repeatedly(client):
    """Both callbacks are called again and again, from the start to the end, with loaded, total and fraction."""
    noise = io.BytesIO()
    Image.frombytes("RGB", (400, 300), os.urandom(360_000)).save(noise, "PNG")
    up, down = [], []
    with client.remove(noise, Options(format="bmp"), on_upload=up.append, on_download=down.append) as removal:
        assert down[-1].loaded == removal.size
    for steps in (up, down):
        assert len(steps) >= 3
        assert [s.loaded for s in steps] == sorted(s.loaded for s in steps)
        assert steps[-1].fraction == 1.0
    assert up[-1].total == len(noise.getvalue())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(format="PNG"), (80, 60)),
        (Options(format="jpg", bg_color="red"), (80, 60)),
        (Options(format="bmp", w=40), (40, 30)),
        (Options(h=30), (40, 30)),
        (Options(w=50, h=50, exact_resize=True), (50, 50)),
        (Options(mask=True), (80, 60)),
        (Options(angle=90), (60, 80)),
        (Options(angle=90, expand=False), (80, 60)),
        (Options(angle=-45.5), None),
    ],
)
def test_every_option(client, sandbox, options, size):
    """Every option is sent under the API's own name and passes the look at the answer."""
    with client.remove(JPEG, options) as removal:
        assert removal.kind is options.format
        assert size is None or (removal.width, removal.height) == size
    assert sandbox.requests[-1].fields == options.fields()


# -- faults -----------------------------------------------------------------------------------------------------------

CODE_OF = {
    "500": "server-error", "500-charged": "server-error", "502-html": "proxy-page", "503": "unavailable",
    "504": "proxy-page", "504-charged": "proxy-page", "429": "too-fast", "429-monthly": "monthly",
    "429-daily": "daily", "402": "credits", "408": "timeout", "413": "too-big", "413-early": "too-big", "401": "key",
    "403": "email", "html": "proxy-page", "json200": None, "redirect": "redirect", "reset-before": "reset",
    "reset-after": "reset", "stall": "timeout", "stall-charged": "timeout", "truncate": "cut-short",
    "short": "cut-short", "garbage": "not-a-picture", "empty": "not-a-picture", "stall-body": "timeout",
    "endless": "too-much", "wrong-length": "cut-short", "gzip-bomb": "encoding", "wrong-format": "wrong-format",
    "wrong-size": "wrong-size", "shrunk": "shrunk",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "mib"),
    [(kind, 0) for kind in FAULTS if kind != "slow"]
    + [(kind, 20) for kind in ("413-early", "reset-before", "401", "redirect", "reset-after")],
)
def test_every_fault_has_its_verdict(sandbox, kind, mib):
    """Each fault is told apart, and where the server took a credit, the verdict never says that it did not."""
    photo = picture("JPEG", (1200, 900), "white") + bytes(mib * 1024 * 1024)
    before = sandbox.charged
    sandbox.next(kind)
    with RembgClient(
        "k",
        url=sandbox.url,
        usage_url=sandbox.usage_url,
        read_timeout=0.5 if "stall" in kind else 10,
        max_answer=2_000_000,
    ) as client:
        with pytest.raises(ApiError) as caught:
            client.remove(photo)
        verdict = caught.value.verdict
        assert kind in CODE_OF
        assert CODE_OF[kind] in (None, verdict.code)
        if sandbox.charged > before:
            assert verdict.charge is Charge.POSSIBLY
        assert sandbox.elsewhere == []
        assert [r.fault for r in sandbox.requests].count(kind) <= 1
        if kind != "wrong-length":  # what it sent too much may come at any time, and break the next request
            client.remove(photo[: 1024 * 1024]).cleanup()


def test_slow_answer_is_fine(client, sandbox):
    """A picture in drips is a picture, while it stays within its time."""
    sandbox.next("slow")
    client.remove(JPEG).cleanup()


def test_option_that_only_the_server_refuses(client, sandbox):
    """Options that pass here and not there are told apart from the photo's faults."""
    bad = Options.model_construct(**{**Options().model_dump(), "w": -5, "angle": 999.0})
    with pytest.raises(OptionsRejected) as caught:
        client.send(io.BytesIO(JPEG), len(JPEG), Kind.JPEG, bad, io.BytesIO())
    assert {f.field for f in caught.value.verdict.fields} == {"w", "angle"}


@pytest.mark.parametrize(("key", "code"), [("invalid", "key"), ("unverified", "email")])
def test_refused_keys(sandbox, key, code):
    """A refused key is about the account, for pictures and for the usage."""
    with RembgClient(key, url=sandbox.url, usage_url=sandbox.usage_url) as client:
        for call in (lambda: client.remove(JPEG), client.membership_usage):
            with pytest.raises(AccountRefused) as caught:
                call()
            assert (caught.value.verdict.code, caught.value.exit_code) == (code, 77)


# -- usage ------------------------------------------------------------------------------------------------------------


def test_usage_modes(client, sandbox):
    """Every mode of the usage call gives typed numbers."""
    plain = client.membership_usage()
    assert plain.billing_cycle is None
    assert plain.period_end is None
    full = client.membership_usage(billing_cycle=True)
    assert full.enforced is full.billing_cycle
    assert full.available == sandbox.credits_left
    used = full.api_usage
    client.remove(JPEG).cleanup()
    after = client.membership_usage(billing_cycle=True)
    assert (after.api_usage, after.available) == (used + 1, full.available - 1)
    cycles = client.billing_cycles()
    assert cycles[0].period_start == full.period_start
    assert [c.period_start for c in cycles] == sorted((c.period_start for c in cycles), reverse=True)
    assert client.membership_usage(period_start=cycles[0].period_start).month_api_usage >= used
    assert client.membership_usage(year=2024, month=2).month_api_usage == 0
    assert [dict(c.query) for c in sandbox.usage_calls][-1] == {"year": "2024", "month": "2"}


@pytest.mark.parametrize(
    "asked",
    [
        {"year": 0},
        {"month": 13},
        {"year": 2024, "period_start": 1},
        {"month": 1, "period_start": 1},
        {"period_start": -1},
    ],
)
def test_usage_that_the_api_would_refuse(client, sandbox, asked):
    """Impossible periods are not asked for."""
    with pytest.raises(Refused):
        client.membership_usage(**asked)
    assert sandbox.usage_calls == []


@pytest.mark.parametrize("kind", [kind for kind in USAGE_FAULTS if kind not in ("slow", "unsynced")])
def test_usage_faults(sandbox, kind):
    """Whatever goes wrong with the usage call ends in an error that says it cost nothing, and soon."""
    sandbox.next_usage(kind)
    with RembgClient("k", url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=0.5) as client:
        with pytest.raises(ApiError) as caught:
            client.membership_usage(billing_cycle=True)
        assert caught.value.verdict.charge is Charge.NOT_CHARGED
        assert kind != "html" or caught.value.verdict.code == "proxy-page"
        assert client.membership_usage(billing_cycle=True).available == sandbox.credits_left


def test_unsynced_billing_falls_back(client, sandbox):
    """An unsynced block is not believed: the calendar month's fields count."""
    sandbox.next_usage("unsynced")
    usage = client.membership_usage(billing_cycle=True)
    assert usage.enforced is None
    left = max(0, usage.credits - usage.month_app_usage - usage.month_api_usage)
    assert usage.available == left + usage.prepaid_credits
    assert usage.api_usage == usage.month_api_usage


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    png = picture("PNG", (80, 60))

    def script(connection, number):
        with context.wrap_socket(connection.socket, server_side=True) as secure:
            connection.socket = secure
            connection._file = secure.makefile("rb")
            while True:
                connection.read_request()
                connection.answer(png)

    with RawServer(script) as server:
        server.url = server.url.replace("http:", "https:")
        yield server


def test_untrusted_tls(tls_server):
    """A certificate that nobody vouches for ends the request before the key is sent; it costs nothing."""
    with RembgClient("k", url=tls_server.url, usage_url=tls_server.url) as client, pytest.raises(ServiceDown) as caught:
        client.remove(JPEG)
    verdict = caught.value.verdict
    assert (verdict.about, verdict.code, verdict.charge) == (About.SERVICE, "tls", Charge.NOT_CHARGED)
    assert tls_server.requests == []


def test_tls_with_the_bundle_of_the_environment(tls_server, certificate, monkeypatch):
    """The CA bundle that the environment names is read once, when the client is made; large photos go through TLS."""
    bundle = certificate / "bundle.pem"
    bundle.write_bytes((certificate / "cert.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with RembgClient("k", url=tls_server.url, usage_url=tls_server.url) as client:
        bundle.unlink()
        for extra in (0, 3_000_000):
            client.remove(JPEG + bytes(extra), Options(format="png")).cleanup()
        assert tls_server.connections == 1
        threads = [
            threading.Thread(target=lambda: client.remove(JPEG, Options(format="png")).cleanup()) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(tls_server.requests) == 6
    with pytest.raises(ServiceDown, match="CA bundle"):
        RembgClient("k", url=tls_server.url, usage_url=tls_server.url)
