"""Each option means what the documentation says, seen in the picture that comes back."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.sandbox.cutout import _target
from rembg_watch.sandbox.validate import FORMATS, Wish, parse_wish


@pytest.mark.parametrize("name", ["webp", "WEBP", "png", "PNG", "Jpeg", "bmp"])
def test_formats_in_any_letter_case(sandbox, post, picture_of, name):
    answer = post(sandbox, format=name)
    assert picture_of(answer).format == name.upper()
    assert answer.headers["content-type"] == f"image/{name.lower()}"
    assert "flood fill" in answer.headers["x-sandbox"]


def test_webp_is_the_default_and_the_size_is_the_sources(sandbox, post, picture_of):
    picture = picture_of(post(sandbox))
    assert (picture.format, picture.size, picture.mode) == ("WEBP", (240, 180), "RGBA")
    assert picture.getpixel((2, 2))[3] == 0
    assert picture.getpixel((120, 90))[3] == 255


@pytest.mark.parametrize("name", ["jpeg", "bmp"])
def test_formats_without_alpha_get_white(sandbox, post, picture_of, draw, name):
    """On a green backdrop, so that the white is not the photo's own."""
    picture = picture_of(post(sandbox, draw(backdrop=(20, 160, 60)), format=name))
    assert min(picture.convert("RGB").getpixel((3, 3))) > 245


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (240, 180)),
        ({"w": "0", "h": "0"}, (240, 180)),
        ({"w": "120"}, (120, 90)),
        ({"h": "90", "w": "0"}, (120, 90)),
        ({"w": "120", "h": "120"}, (120, 90)),
        ({"w": "480", "h": "999"}, (480, 360)),
        ({"w": "100", "h": "200", "exact_resize": "true"}, (100, 200)),
        ({"w": "100", "exact_resize": "TRUE"}, (100, 75)),
        ({"w": "1"}, (1, 1)),
    ],
    ids=str,
)
def test_sizes(sandbox, post, picture_of, fields, size):
    """0 is unset; the aspect ratio is kept unless exact_resize; small pictures grow when asked to."""
    assert picture_of(post(sandbox, **fields)).size == size


@given(
    st.tuples(st.integers(1, 10000), st.integers(1, 10000)),
    st.integers(0, 10000),
    st.integers(0, 10000),
)
def test_the_result_is_the_largest_that_fits(source, w, h):
    """Neither side is above its limit, one touches it (where the API's own limit allows), the ratio holds."""
    width, height = _target(source, Wish(w=w, h=h), 10_000, 1.0)
    assert 1 <= width <= 10_000
    assert 1 <= height <= 10_000
    assert not w or width <= w
    assert not h or height <= h
    if w or h:
        assert width == w or height == h or 10_000 in (width, height)
    else:
        assert (width, height) == source


def test_mask_is_the_alpha_as_a_picture(sandbox, post, picture_of):
    picture = picture_of(post(sandbox, mask="true", format="png"))
    assert picture.mode == "L"
    assert (picture.getpixel((2, 2)), picture.getpixel((120, 90))) == (0, 255)


@pytest.mark.parametrize(
    ("color", "corner"),
    [
        ("#f00", (255, 0, 0, 255)),
        ("#0F08", (0, 255, 0, 136)),
        ("#1a2B3c", (26, 43, 60, 255)),
        ("#1a2b3c80", (26, 43, 60, 128)),
        ("red", (255, 0, 0, 255)),
        ("Blue", (0, 0, 255, 255)),
        ("rebeccapurple", (102, 51, 153, 255)),
    ],
)
def test_backgrounds(sandbox, post, picture_of, color, corner):
    """Every hex form, and names as the vendor's client documents them."""
    picture = picture_of(post(sandbox, bg_color=color, format="png")).convert("RGBA")
    assert picture.getpixel((2, 2)) == corner
    assert picture.getpixel((120, 90))[3] == 255
    assert picture.getpixel((120, 90))[0] > 150


def test_angle_turns_and_expand_makes_room(sandbox, post, picture_of):
    """A quarter turn swaps the sides; without expand the size stays and the corners are cut."""
    assert picture_of(post(sandbox, angle="90")).size == (180, 240)
    assert picture_of(post(sandbox, angle="90", expand="false")).size == (240, 180)
    width, height = picture_of(post(sandbox, angle="-45")).size
    assert abs(width - 297) <= 2
    assert abs(height - 297) <= 2
    assert picture_of(post(sandbox, angle="360")).size == (240, 180)


def test_angle_turns_against_the_clock(sandbox, post, picture_of):
    """A blot at the top left of the photo is at the bottom left after 90 degrees."""
    photo = Image.new("RGB", (200, 100), "white")
    photo.paste((200, 0, 0), (20, 15, 50, 40))
    out = io.BytesIO()
    photo.save(out, "PNG")
    picture = picture_of(post(sandbox, out.getvalue(), "a.png", angle="90", format="png"))
    assert picture.getpixel((27, 165))[3] == 255


def test_rotated_corners_get_the_background(sandbox, post, picture_of):
    picture = picture_of(post(sandbox, angle="30", bg_color="#00ff00", format="png"))
    assert picture.getpixel((0, 0))[:3] == (0, 255, 0)


def test_exif_orientation_is_honoured(sandbox, post, picture_of, draw):
    """A photo that the camera marked as turned comes back upright, and without the mark."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = picture_of(post(sandbox, draw((240, 180), exif=exif)))
    assert picture.size == (180, 240)
    assert picture.getexif().get(0x0112, 1) == 1


def test_return_base64_still_gives_raw_bytes(sandbox, post, picture_of):
    """The vendor's client sends it and encodes the raw answer itself."""
    assert picture_of(post(sandbox, return_base64="true")).format == "WEBP"


def test_the_name_need_not_fit_the_bytes(sandbox, post, picture_of):
    """The vendor's client calls every buffer image.png."""
    assert picture_of(post(sandbox, name="image.png")).format == "WEBP"


@given(
    w=st.integers(0, 10000),
    h=st.integers(0, 10000),
    angle=st.floats(-360, 360),
    name=st.sampled_from(FORMATS),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_every_right_form_is_understood(w, h, angle, name, flags):
    """What is in range is taken as it is, in any letter case."""
    exact, mask, expand = flags
    fields = {"w": str(w), "h": str(h), "angle": repr(angle), "format": name.lower(), "exact_resize": str(exact),
              "mask": str(mask).upper(), "expand": str(expand).lower()}  # fmt: skip
    assert parse_wish(fields) == Wish(name, w, h, exact, mask, None, angle, expand)


@given(st.dictionaries(st.sampled_from(["w", "h", "angle", "format", "mask", "expand", "bg_color", "x"]), st.text()))
def test_any_text_gives_a_wish_or_refusals(fields):
    """Nothing that can be typed into a form makes the sandbox fall over."""
    result = parse_wish(fields)
    assert isinstance(result, Wish) or all(refusal.status == 400 for refusal in result)
