"""Options: the API's names and ranges, refused here before they cost a request, and the sizes that they imply."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor
from pydantic import ValidationError

from rembg_watch import Options
from rembg_watch.api.options import Fit, color_to_hex

sides = st.integers(1, 10_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"w": 0},
        {"w": -5},
        {"h": 10_001},
        {"w": "abc"},
        {"w": True},
        {"angle": 360.5},
        {"angle": -361},
        {"angle": "ninety"},
        {"angle": math.nan},
        {"angle": math.inf},
        {"format": "gif"},
        {"bg_color": "#12345"},
        {"bg_color": "nocolour"},
        {"bg_color": "transparent"},
        {"mask": True, "bg_color": "white"},
        {"exact_resize": True, "w": 100},
        {"width": 100},
    ],
    ids=str,
)
def test_what_the_api_would_refuse_cant_be_built(wrong):
    """A 400 that can be foreseen is an error here, without a request."""
    with pytest.raises(ValidationError):
        Options.model_validate(wrong)


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {"format": "webp"}),
        ({"format": "PNG"}, {"format": "png"}),
        ({"format": "jpg"}, {"format": "jpeg"}),
        ({"w": 800, "h": 600}, {"format": "webp", "w": "800", "h": "600"}),
        ({"bg_color": "White"}, {"format": "webp", "bg_color": "#ffffff"}),
        ({"bg_color": "#F00A"}, {"format": "webp", "bg_color": "#f00a"}),
        ({"mask": True}, {"format": "webp", "mask": "true"}),
        ({"angle": -90, "expand": False}, {"format": "webp", "angle": "-90", "expand": "false"}),
        ({"angle": 12.3456789}, {"format": "webp", "angle": "12.3456789"}),
        ({"w": 10, "h": 20, "exact_resize": True}, {"format": "webp", "w": "10", "h": "20", "exact_resize": "true"}),
    ],
)
def test_the_form_has_the_apis_names_and_only_what_was_set(options, fields):
    """The format always goes along; what has the API's own default does not."""
    assert Options.model_validate(options).fields() == fields


def test_equal_requests_share_a_fingerprint_and_others_do_not():
    """By it a paid result is found again: however the options were written, and only for the same ones."""
    same = [Options(bg_color="white"), Options(bg_color="#FFFFFF"), Options(format="WEBP", bg_color=" #ffffff ")]
    assert len({options.fingerprint for options in same}) == 1
    others = [Options(), Options(mask=True), Options(w=100), Options(h=100), Options(angle=1), Options(format="png")]
    assert len({options.fingerprint for options in (*others, same[0])}) == len(others) + 1


@given(st.sampled_from(sorted(ImageColor.colormap)))
def test_every_css_name_becomes_the_hex_of_its_colour(name):
    """The server's own text names hex forms only, so names never travel."""
    assert ImageColor.getrgb(color_to_hex(name)) == ImageColor.getrgb(name)


@pytest.mark.parametrize(
    ("options", "source", "answer", "fit"),
    [
        ({}, (800, 600), (800, 600), Fit.RIGHT),
        ({}, (800, 600), (600, 800), Fit.RIGHT),  # turned by the camera's orientation flag
        ({"w": 400}, (800, 600), (400, 300), Fit.RIGHT),
        ({"h": 300}, (800, 601), (399, 300), Fit.RIGHT),
        ({"w": 2000, "h": 2000}, (4000, 3000), (2000, 1500), Fit.RIGHT),
        ({"w": 2000, "h": 2000}, (4000, 3000), (460, 345), Fit.SHRUNK),
        ({}, (4000, 3000), (460, 345), Fit.SHRUNK),
        ({"angle": 45}, (1200, 900), (570, 571), Fit.SHRUNK),  # shrunk, then turned
        ({"angle": 45}, (1200, 900), (460, 460), Fit.SHRUNK),  # turned, then shrunk
        ({"angle": 30, "w": 800}, (1200, 900), (572, 529), Fit.SHRUNK),
        ({"angle": 45}, (1200, 900), (742, 742), Fit.WRONG),
        ({}, (4000, 3000), (2000, 1500), Fit.WRONG),
        ({}, (400, 300), (400, 300), Fit.RIGHT),
        ({"w": 100, "h": 50, "exact_resize": True}, (800, 600), (100, 50), Fit.RIGHT),
        ({"w": 100, "h": 50, "exact_resize": True}, (800, 600), (67, 50), Fit.WRONG),
        ({"angle": 90}, (800, 600), (600, 800), Fit.RIGHT),
        ({"angle": 45}, (100, 100), (141, 141), Fit.RIGHT),
        ({"angle": 45, "expand": False}, (300, 200), (300, 200), Fit.RIGHT),
        ({"angle": 45, "w": 200}, (1000, 1000), (283, 283), Fit.RIGHT),  # resized, then turned
        ({"angle": 45, "w": 200}, (1000, 1000), (200, 200), Fit.RIGHT),  # turned, then resized
    ],
)
def test_the_size_that_the_options_imply(options, source, answer, fit):
    """Rounding, the orientation flag and either order of resizing and turning are all right; much smaller is not."""
    assert Options.model_validate(options).fit(source, answer) is fit


@given(
    st.tuples(st.integers(20, 400), st.integers(20, 400)),
    st.one_of(st.none(), st.integers(1, 500)),
    st.one_of(st.none(), st.integers(1, 500)),
    st.floats(-360, 360),
    st.booleans(),
)
def test_what_pillow_makes_of_the_options_always_fits(source, w, h, angle, expand):
    """An honest server that resizes and turns, as a real image library does it, is never called wrong."""
    options = Options(w=w, h=h, angle=angle, expand=expand)
    scale = min([limit / side for limit, side in ((w, source[0]), (h, source[1])) if limit] or [1.0])
    size = tuple(max(1, round(side * scale)) for side in source)
    turned = Image.new("L", size).rotate(options.angle, expand=options.expand)
    assert options.fit(source, turned.size) is Fit.RIGHT
