"""Every row of the API's error table, word for word, over a real connection."""

from __future__ import annotations

import io

import pytest
import requests
from PIL import Image

from rembg_watch.sandbox import Sandbox


def png(width, height):
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, "PNG")
    return out.getvalue()


OPTIONS = [
    ({"w": "abc"}, "'w' must be an integer, got: 'abc'"),
    ({"w": "10.5"}, "'w' must be an integer, got: '10.5'"),
    ({"h": "abc"}, "'h' must be an integer, got: 'abc'"),
    ({"w": "-5"}, "'w' must be at least 1, got: -5"),
    ({"w": "15000"}, "'w' must be at most 10000, got: 15000"),
    ({"w": "9" * 20}, "'w' must be at most 10000, got: 99999999999999999999"),
    ({"h": "-" + "9" * 20}, "'h' must be at least 1, got: -99999999999999999999"),
    ({"h": "10001"}, "'h' must be at most 10000, got: 10001"),
    ({"angle": "ninety"}, "'angle' must be a number, got: 'ninety'"),
    ({"angle": "nan"}, "'angle' must be a number, got: 'nan'"),
    ({"angle": "500"}, "'angle' must be between -360 and 360 degrees, got: 500.0"),
    ({"angle": "-360.5"}, "'angle' must be between -360 and 360 degrees, got: -360.5"),
    ({"format": "gif"}, "Invalid format 'gif'. Allowed formats: PNG, JPEG, WEBP, BMP"),
    ({"bg_color": "#12345"}, "Invalid color format '#12345'. Use hex format: #RGB, #RGBA, #RRGGBB, or #RRGGBBAA"),
    ({"bg_color": "nocolor"}, "Invalid color format 'nocolor'. Use hex format: #RGB, #RGBA, #RRGGBB, or #RRGGBBAA"),
    (
        {"mask": "true", "bg_color": "#fff"},
        "Cannot use 'mask=true' together with 'bg_color'. Choose one or the other.",
    ),
]


@pytest.mark.parametrize(("fields", "text"), OPTIONS, ids=[str(row[0]) for row in OPTIONS])
def test_each_wrong_option_has_its_text_and_costs_nothing(sandbox, post, fields, text):
    """A wrong option gets 400 with the documented text, and no credit is spent."""
    answer = post(sandbox, **fields)
    assert (answer.status_code, answer.json()) == (400, {"error": text, "status": 400})
    assert sandbox.charged == 0
    assert sandbox.requests[-1].error == text


IMAGES = [
    (b"MZ program", "setup.exe", "File type '.exe' is not supported. Allowed formats: webp, bmp, png, jpg, jpeg"),
    (b"GIF89a", "moving.GIF", "File type '.gif' is not supported. Allowed formats: webp, bmp, png, jpg, jpeg"),
    (b"this is text", "a.png", "File does not appear to be a valid image (invalid file signature)"),
    (b"\x89PNG\r\n\x1a\nand no more", "a.png", "File does not appear to be a valid image (invalid file signature)"),
    (b"\xff\xd8\xff\xe0", "a.jpg", "File does not appear to be a valid image (invalid file signature)"),
    (b"", "a.png", "Uploaded file is empty (0 bytes)."),
    (png(12000, 1), "wide.png", "Image width (12000px) exceeds the maximum allowed width of 10000px."),
    (png(1, 15000), "tall.png", "Image height (15000px) exceeds the maximum allowed height of 10000px."),
]


@pytest.mark.parametrize(("image", "name", "text"), IMAGES, ids=[row[1] + ": " + row[2][:24] for row in IMAGES])
def test_each_wrong_image_has_its_text_and_costs_nothing(sandbox, post, image, name, text):
    """A file that is no usable image gets 400 with the documented text, and no credit is spent."""
    answer = post(sandbox, image=image, name=name)
    assert (answer.status_code, answer.json()) == (400, {"error": text, "status": 400})
    assert sandbox.charged == 0


def test_half_a_picture_is_corrupt(sandbox, post, photo):
    """A picture cut in the middle has its signature, but does not decode."""
    answer = post(sandbox, image=photo[: len(photo) // 2])
    assert answer.json()["error"] == "File does not appear to be a valid image (invalid file signature)"
    assert sandbox.credits_left == 1000


def test_more_than_50_mb_is_counted_to_the_end(sandbox, post, photo):
    """The text names the whole size, though not more than the limit is kept."""
    size = round(55.2 * 1024 * 1024)
    answer = post(sandbox, image=photo + bytes(size - len(photo)))
    assert answer.json()["error"] == "File size (55.2 MB) exceeds the maximum allowed size of 50 MB."
    assert sandbox.requests[-1].size == size


def test_50_mb_exactly_is_taken(sandbox, post, draw):
    """The limit itself is allowed: a whole PNG with zeros behind it."""
    png_bytes = draw(form="PNG")
    answer = post(sandbox, image=png_bytes + bytes(50 * 1024 * 1024 - len(png_bytes)), name="a.png")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"w": "5"}},
        {"data": {"image": "text"}},
        {"data": b"raw bytes", "headers": {"content-type": "image/png"}},
        {"data": b"--x\r\nno form", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"data": b"", "headers": {"content-type": "multipart/form-data"}},
        {"files": {"picture": ("a.png", b"x")}},
    ],
    ids=["urlencoded", "urlencoded image", "raw", "broken form", "no boundary", "other part"],
)
def test_no_image_part(sandbox, body):
    """Whatever is sent in place of a form with an image, the answer says that the image is missing."""
    headers = {"x-api-key": "any", **body.pop("headers", {})}
    answer = requests.post(sandbox.url, headers=headers, timeout=60, **body)
    text = "No image file provided. Please include an 'image' field in your form data."
    assert (answer.status_code, answer.json()) == (400, {"error": text, "status": 400})


def test_empty_file_name(sandbox):
    """A form sent from a browser without a chosen file has an empty file name."""
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--x--\r\n'
    headers = {"x-api-key": "any", "content-type": "multipart/form-data; boundary=x"}
    answer = requests.post(sandbox.url, data=body, headers=headers, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"] == "No file selected. Please choose an image file to upload."


def test_several_mistakes_come_together(sandbox, post):
    """Several validation errors are listed as ``details``, in the order of the table."""
    answer = post(sandbox, w="abc", angle="500")
    assert answer.json() == {
        "error": "Multiple validation errors",
        "status": 400,
        "details": [
            {"field": "w", "message": "'w' must be an integer, got: 'abc'"},
            {"field": "angle", "message": "'angle' must be between -360 and 360 degrees, got: 500.0"},
        ],
    }


def test_several_mistakes_of_image_and_options(sandbox, post):
    """Image and options are judged together."""
    answer = post(sandbox, image=png(12000, 1), name="a.png", w="-1", mask="true", bg_color="#fff")
    assert [one["field"] for one in answer.json()["details"]] == ["image", "w", "mask"]


def test_too_wide_and_too_tall(sandbox):
    """Both sides are named. Such a picture is never decoded."""
    from rembg_watch.sandbox.validate import check_sides  # noqa: PLC0415

    assert len(check_sides(10001, 10001)) == 2
    assert check_sides(10000, 10000) == []


def test_the_array_can_be_called_errors(post):
    """Some answers name the array ``errors``: a switch."""
    with Sandbox(errors_as="errors") as sandbox:
        assert len(post(sandbox, w="abc", h="abc").json()["errors"]) == 2


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({"x-api-key": "invalid"}, 401, "invalid api key"),
        ({"x-api-key": ""}, 401, "invalid api key"),
        ({"x-api-key": "unverified"}, 403, "Email address not verified – please check your inbox"),
        (
            {"x-api-key": "any", "authorization": "Bearer t"},
            400,
            "This is a mistake: Cannot use both API key and user token",
        ),
    ],
)
def test_account_errors_come_before_all_others(sandbox, post, headers, status, text):
    """A request with a wrong key is refused for the key, whatever else is wrong with it."""
    answer = post(sandbox, headers=headers, w="abc")
    assert (answer.status_code, answer.json()) == (status, {"error": text, "status": status})
    assert sandbox.charged == 0


def test_the_one_right_key(post):
    """With a key set, every other is refused, and it can be changed while the sandbox runs."""
    with Sandbox(key="right") as sandbox:
        assert post(sandbox).status_code == 401
        assert post(sandbox, headers={"x-api-key": "right"}).status_code == 200
        sandbox.set_key("new")
        assert post(sandbox, headers={"x-api-key": "right"}).status_code == 401


@pytest.mark.usefixtures("one_day")
def test_anonymous_images_have_a_daily_limit(post):
    """Without a key a few images a day are free; then comes the daily 429."""
    with Sandbox(anonymous_per_day=2) as sandbox:
        assert [post(sandbox, headers={}).status_code for _ in range(3)] == [200, 200, 429]
        text = "You've reached your daily limit. Please sign up for more access."
        assert post(sandbox, headers={}).json() == {"error": text, "status": 429}
        assert sandbox.charged == 0
        assert sandbox.credits_left == 1000


def test_too_fast(post):
    """Above the rate comes the short-term 429, without a Retry-After unless one is asked for."""
    with Sandbox(rate_limit=0.001) as sandbox:
        assert post(sandbox).status_code == 200
        answer = post(sandbox)
        text = "You're making requests too quickly, Please Upgrade or slow down."
        assert (answer.status_code, answer.json()) == (429, {"error": text, "status": 429})
        assert "retry-after" not in answer.headers
        sandbox.set(retry_after="auto")
        assert 900 <= int(post(sandbox).headers["retry-after"]) <= 1000
        sandbox.set(retry_after="date")
        assert post(sandbox).headers["retry-after"].endswith("GMT")
        sandbox.set(retry_after="2s")
        assert post(sandbox).headers["retry-after"] == "2s"
        sandbox.set(retry_after=1.5)
        assert post(sandbox).headers["retry-after"] == "1.5"
        sandbox.set_rate_limit(None)
        assert post(sandbox).status_code == 200


def test_other_methods_and_paths_are_refused(sandbox):
    """Only what the API has is there, and every error is JSON with its text and its status."""
    for method, url, status in (
        ("GET", sandbox.url, 405),
        ("POST", sandbox.usage_url, 405),
        ("GET", sandbox.base_url + "/nothing", 404),
        ("GET", sandbox.base_url + "/_sandbox/nothing", 404),
    ):
        answer = requests.request(method, url, timeout=60)
        assert answer.status_code == answer.json()["status"] == status
        assert answer.json()["error"]
        assert status != 405 or answer.headers["allow"]
