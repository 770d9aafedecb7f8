"""The verdict on every answer: what it is about, and whether it may have cost a credit."""

from __future__ import annotations

import json
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.verdict import (
    CODES,
    About,
    Charge,
    Fault,
    FieldError,
    Stage,
    Verdict,
    error_for,
    judge,
)
from rembg_watch.errors import (
    AccountRefused,
    AnswerLost,
    ApiError,
    BadAnswer,
    ImageRejected,
    OptionsRejected,
    OutOfCredits,
    ServiceDown,
    TooFast,
)

NOW = 1_800_000_000.0
UNSENT = (Stage.CONNECTING, Stage.SENDING)


def said(
    status: int, body: object, *, stage: Stage = Stage.RECEIVING, headers: dict[str, str] | None = None
) -> Verdict:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(status, headers or {}, raw, None, stage, NOW)


DOCUMENTED = [
    (400, "No image file provided. Please include an 'image' field in your form data.", "image", "no-image"),
    (400, "No file selected. Please choose an image file to upload.", "image", "no-name"),
    (400, "File type '.exe' is not supported. Allowed formats: webp, bmp, png, jpg, jpeg", "image", "type"),
    (400, "File does not appear to be a valid image (invalid file signature)", "image", "corrupt"),
    (400, "Uploaded file is empty (0 bytes).", "image", "empty"),
    (400, "File size (55.2 MB) exceeds the maximum allowed size of 50 MB.", "image", "too-big"),
    (400, "Image width (12000px) exceeds the maximum allowed width of 10000px.", "image", "too-wide"),
    (400, "Image height (15000px) exceeds the maximum allowed height of 10000px.", "image", "too-tall"),
    (400, "'w' must be an integer, got: 'abc'", "profile", "options"),
    (400, "'w' must be at least 1, got: -5", "profile", "options"),
    (400, "'w' must be at most 10000, got: 15000", "profile", "options"),
    (400, "'angle' must be a number, got: 'ninety'", "profile", "options"),
    (400, "'angle' must be between -360 and 360 degrees, got: 500.0", "profile", "options"),
    (400, "Invalid format 'gif'. Allowed formats: PNG, JPEG, WEBP, BMP", "profile", "options"),
    (400, "Invalid color format '#12345'. Use hex format: #RGB, #RGBA, #RRGGBB, or #RRGGBBAA", "profile", "options"),
    (400, "Cannot use 'mask=true' together with 'bg_color'. Choose one or the other.", "profile", "conflict"),
    (403, "Email address not verified – please check your inbox", "account", "email"),
    (401, "invalid api key", "account", "key"),
    (400, "This is a mistake: Cannot use both API key and user token", "account", "key-and-token"),
    (429, "You're making requests too quickly, Please Upgrade or slow down.", "pace", "too-fast"),
    (429, "You've reached your daily limit. Please sign up for more access.", "credits", "daily"),
    (429, "You've reached your monthly limit. Consider purchasing more credits.", "credits", "monthly"),
]


@pytest.mark.parametrize(("status", "text", "about", "code"), DOCUMENTED, ids=[row[1][:30] for row in DOCUMENTED])
def test_documented_errors(status, text, about, code):
    """Each row of the documented error table has its own verdict, costs nothing, and keeps the server's words."""
    verdict = said(status, {"error": text, "status": status})
    assert (verdict.about, verdict.code, verdict.charge) == (about, code, Charge.NOT_CHARGED)
    assert verdict.message == text
    assert verdict.hint
    assert verdict.status == status


@pytest.mark.parametrize("name", ["details", "errors"])
def test_several_validation_errors(name):
    """`details` and `errors` are read alike, and every field is named."""
    verdict = said(
        400,
        {
            "error": "Multiple validation errors",
            "status": 400,
            name: [
                {"field": "w", "message": "'w' must be an integer, got: 'abc'"},
                {"field": "angle", "message": "'angle' must be between -360 and 360 degrees, got: 500.0"},
            ],
        },
    )
    assert (verdict.about, verdict.code) == (About.PROFILE, "options")
    assert [f.field for f in verdict.fields] == ["w", "angle"]
    assert "'abc'" in verdict.message
    assert "500.0" in verdict.message


def test_image_and_option_wrong_together():
    """Where both are wrong the profile is held: every photo of it would be refused, and the image's fault comes back."""
    fields = [{"field": "image", "message": "Uploaded file is empty (0 bytes)."}, {"field": "w", "message": "bad"}]
    verdict = said(400, {"error": "Multiple validation errors", "details": fields})
    assert verdict.about is About.PROFILE
    assert [f.field for f in verdict.fields] == ["image", "w"]
    assert said(400, {"error": "Multiple", "details": fields[:1]}).code == "empty"


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({"detail": [{"loc": ["body", "w"], "msg": "value is not a valid integer"}]}, About.PROFILE),
        ({"errors": {"bg_color": ["no such colour"]}}, About.PROFILE),
        ({"errors": ["The picture can't be read"]}, About.IMAGE),
        ({"error": {"message": "invalid api key"}}, About.ACCOUNT),
        ({"message": "not enough credits"}, About.CREDITS),
        ({"error": "teapot"}, About.UNKNOWN),
        (["no", "object"], About.UNKNOWN),
        ("just text", About.UNKNOWN),
        ({}, About.UNKNOWN),
    ],
)
def test_unknown_shapes(body, about):
    """Errors in other shapes are judged by the fields and words in them, else they stay unknown; all cost nothing."""
    assert said(422, body).about is about


@pytest.mark.parametrize(
    ("status", "about", "code", "charge"),
    [
        (402, About.CREDITS, "credits", Charge.NOT_CHARGED),
        (404, About.SERVICE, "proxy-page", Charge.POSSIBLY),
        (403, About.SERVICE, "proxy-page", Charge.POSSIBLY),
        (407, About.SERVICE, "proxy", Charge.NOT_CHARGED),
        (408, About.SERVICE, "timeout", Charge.NOT_CHARGED),
        (413, About.IMAGE, "too-big", Charge.NOT_CHARGED),
        (429, About.PACE, "too-fast", Charge.NOT_CHARGED),
        (500, About.SERVICE, "proxy-page", Charge.POSSIBLY),
        (502, About.SERVICE, "proxy-page", Charge.POSSIBLY),
        (503, About.SERVICE, "unavailable", Charge.NOT_CHARGED),
        (504, About.SERVICE, "proxy-page", Charge.POSSIBLY),
        (200, About.SERVICE, "proxy-page", Charge.POSSIBLY),
    ],
)
def test_web_pages(status, about, code, charge):
    """A web page with any status is somebody between us and the API, unless its status means the same from anybody."""
    verdict = said(status, b"<!DOCTYPE html><html><head><title>Oh no</title></head></html>")
    assert (verdict.about, verdict.code, verdict.charge) == (about, code, charge)


@pytest.mark.parametrize("status", [500, 501, 502, 504, 520, 599])
def test_server_errors(status):
    """A 5xx after the body was sent may have been paid for; before that it was not."""
    body = {"error": "boom", "status": status}
    after, before = said(status, body), said(status, body, stage=Stage.SENDING)
    assert (after.about, after.code, after.charge) == (About.SERVICE, "server-error", Charge.POSSIBLY)
    assert before.charge is Charge.NOT_CHARGED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status):
    """A redirect names the host that it points to, and that the key was not sent there."""
    verdict = said(status, b"", headers={"Location": "https://evil.example/x?y"})
    assert (verdict.about, verdict.code) == (About.SERVICE, "redirect")
    assert "evil.example" in verdict.message
    assert "api.url" in verdict.hint
    assert said(status, b"", headers={"location": "/elsewhere"}).message.endswith("the path /elsewhere")
    assert said(status, b"", headers={"location": "http://[bad"}).code == "redirect"
    # 302 and 303 are what a server may answer with once the work is done, to say where the result is.
    paid = Charge.POSSIBLY if status in (302, 303) else Charge.NOT_CHARGED
    assert verdict.charge is paid
    assert said(status, b"", stage=Stage.SENDING, headers={"location": "/x"}).charge is Charge.NOT_CHARGED


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        (TimeoutError("slow"), "timeout"),
        (ConnectionResetError(104, "reset"), "reset"),
        (BrokenPipeError(32, "pipe"), "reset"),
        (ConnectionRefusedError(111, "no"), "refused"),
        (socket.gaierror(-2, "Name or service not known"), "dns"),
        (ssl.SSLCertVerificationError("expired"), "tls"),
        (OSError(101, "Network is unreachable"), "unreachable"),
        (Fault("cut-short", "3 of 4"), "cut-short"),
        (Fault("no such code", "?"), "unknown"),
        (RuntimeError("what"), "unknown"),
    ],
)
@pytest.mark.parametrize("stage", list(Stage))
def test_broken_connections(exception, code, stage):
    """Nothing is paid before the last byte is out; from then on it may be."""
    verdict = judge(None, {}, b"", exception, stage, NOW)
    assert verdict.code == code
    assert verdict.charge is (Charge.NOT_CHARGED if stage in UNSENT else Charge.POSSIBLY)


def test_200_without_a_picture():
    """A 200 that brings no picture may have been paid; an error in it is still understood."""
    for body in (b"", b"garbage", b"\x00\x01\x02" * 50):
        assert (said(200, body).code, said(200, body).charge) == ("not-a-picture", Charge.POSSIBLY)
    verdict = said(
        200, {"error": "You've reached your monthly limit. Consider purchasing more credits.", "status": 429}
    )
    assert (verdict.about, verdict.code, verdict.charge) == (About.CREDITS, "monthly", Charge.POSSIBLY)
    assert said(200, b"\x89PNG\r\n\x1a\n....").charge is Charge.CHARGED


def test_broken_error_page_keeps_its_status():
    """An error whose body breaks off is still judged by its status; a broken picture is not judged by its 200."""
    assert judge(429, {}, b"", Fault("reset", ""), Stage.RECEIVING, NOW).code == "too-fast"
    broken = judge(200, {}, b"", Fault("cut-short", ""), Stage.RECEIVING, NOW)
    assert (broken.code, broken.charge) == ("cut-short", Charge.POSSIBLY)


def test_nothing_of_a_strangers_text_reaches_the_terminal_raw():
    """Escape sequences, newlines and floods in a server's text do not get into a message."""
    verdict = said(400, {"error": "\x1b[2Jbad\nimage\u202e" + "x" * 5000, "details": ["\x07bell"] * 500})
    assert verdict.message.isprintable()
    assert len(verdict.message) <= 600
    assert all(f.message.isprintable() for f in verdict.fields)


@pytest.mark.parametrize(
    ("verdict", "cls", "exit_code"),
    [
        (said(400, {"error": "Uploaded file is empty (0 bytes)."}), ImageRejected, 1),
        (said(400, {"error": "'w' must be at least 1, got: -5"}), OptionsRejected, 1),
        (said(401, {"error": "invalid api key"}), AccountRefused, 77),
        (said(402, {}), OutOfCredits, 1),
        (said(429, {}), TooFast, 69),
        (said(503, {}), ServiceDown, 69),
        (said(500, {}), ServiceDown, 69),
        (judge(None, {}, b"", TimeoutError(), Stage.CONNECTING, NOW), ServiceDown, 69),
        (judge(None, {}, b"", TimeoutError(), Stage.WAITING, NOW), AnswerLost, 69),
        (said(200, b"?"), BadAnswer, 69),
        (said(418, {}), BadAnswer, 69),
    ],
)
def test_errors_by_verdict(verdict, cls, exit_code):
    """Each verdict is raised as the error of its kind, with its message, hint and exit code."""
    error = error_for(verdict)
    assert type(error) is cls
    assert isinstance(error, ApiError)
    assert (error.verdict, error.message, error.hint, error.exit_code) == (
        verdict, verdict.message, verdict.hint, exit_code,
    )  # fmt: skip


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["error", "details", "errors", "detail", "field", "message", "loc", "status"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
bodies = st.binary(max_size=200) | json_like.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 60_000)
faults = st.none() | st.sampled_from([TimeoutError(), OSError(), OSError(5, "x"), KeyboardInterrupt(), Fault("", "")])


@given(
    status=st.none() | st.integers(-5, 1200),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "retry-after", "Content-Type", "Location", "Date"]) | st.text(max_size=8),
        st.text(max_size=40),
        max_size=4,
    ),
    body=bodies,
    exception=faults,
    stage=st.sampled_from(list(Stage)),
    now=st.floats(),
)
def test_judge_never_raises(status, headers, body, exception, stage, now):
    """Whatever comes in, a verdict comes out: with a known code, a hint, a safe message and a sane wait."""
    verdict = judge(status, headers, body, exception, stage, now)
    assert verdict.code in CODES
    assert verdict.message.isprintable()
    assert verdict.message
    assert verdict.hint or verdict.code == "picture"
    assert verdict.retry_after is None or 0 <= verdict.retry_after <= 86_400
    if stage in UNSENT and status != 200:
        assert verdict.charge is Charge.NOT_CHARGED
    assert isinstance(error_for(verdict), ApiError)


def test_fields_are_values():
    """A verdict can be compared and kept."""
    assert FieldError("w", "bad") == FieldError("w", "bad")
    assert hash(said(400, {"error": "x"})) == hash(said(400, {"error": "x"}))
