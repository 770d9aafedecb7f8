"""The cut-out itself: the backdrop goes, the subject stays."""

from __future__ import annotations

import io
import math
import time

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

from rembg_watch.sandbox.cutout import Unreadable, alpha_mask, open_picture, render
from rembg_watch.sandbox.validate import Wish


def scene(size, backdrop, *, noise=0, ring=False):
    """A dark bottle with a label of the backdrop's own colour; and its true mask."""
    width, height = size
    picture, truth = Image.new("RGB", size, backdrop), Image.new("L", size, 0)
    body = (width * 3 // 10, height // 5, width * 7 // 10, height * 9 // 10)
    for canvas, color in ((picture, (40, 60, 90)), (truth, 255)):
        ImageDraw.Draw(canvas).rounded_rectangle(body, min(size) // 12, fill=color)
    label = (width * 2 // 5, height * 9 // 20, width * 3 // 5, height * 13 // 20)
    ImageDraw.Draw(picture).rectangle(label, fill=backdrop)
    if noise:
        grain = Image.merge("RGB", [Image.effect_noise(size, noise) for _ in range(3)])
        picture = ImageChops.add(picture, grain, 1, -128)
    return picture, truth


def overlap(alpha, truth):
    """Intersection over union of two masks at half their height."""
    a, b = (mask.point(lambda value: 255 if value >= 128 else 0) for mask in (alpha, truth))
    both, either = (ImageStat.Stat(combine(a, b)).sum[0] for combine in (ImageChops.darker, ImageChops.lighter))
    return both / either


@pytest.mark.parametrize("backdrop", [(255, 255, 255), (0, 0, 0), (235, 230, 220), (30, 160, 70)], ids=str)
@pytest.mark.parametrize("size", [(400, 300), (1500, 2000), (61, 47)], ids=str)
def test_plain_backdrops_come_off(backdrop, size):
    """At least 98 % overlap with the truth, for any plain colour; the label of the same colour inside stays."""
    picture, truth = scene(size, backdrop)
    alpha = alpha_mask(picture)
    assert overlap(alpha, truth) > (0.98 if min(size) > 100 else 0.93)
    assert alpha.getpixel((size[0] // 2, size[1] * 11 // 20)) == 255
    assert alpha.getpixel((0, 0)) == 0


def test_a_noisy_backdrop_and_jpeg_dirt_come_off():
    picture, truth = scene((800, 600), (228, 226, 224), noise=6)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=70)
    assert overlap(alpha_mask(Image.open(out).convert("RGB")), truth) > 0.97


def test_a_gradient_comes_off():
    """A studio sweep from light to grey is a backdrop too."""
    picture, truth = scene((600, 600), (255, 255, 255))
    sweep = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 250 - value // 5)
    dressed = Image.merge("RGB", [sweep] * 3)
    dressed.paste(picture, mask=truth)
    assert overlap(alpha_mask(dressed), truth) > 0.95


def test_edges_are_soft():
    """There is something between transparent and opaque, but only along the edge."""
    picture, _ = scene((400, 300), (255, 255, 255))
    between = alpha_mask(picture.filter(ImageFilter.GaussianBlur(1))).histogram()[16:240]
    assert 0 < sum(between) < 0.03 * 400 * 300


def test_nothing_but_backdrop_becomes_nothing():
    assert alpha_mask(Image.new("RGB", (50, 40), "white")).getextrema() == (0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)], ids=str)
def test_tiny_pictures_are_no_trouble(size):
    assert alpha_mask(Image.new("RGB", size, "white")).size == size


def test_alpha_that_was_there_is_kept():
    """What was transparent in the photo is never opaque in the result."""
    picture, _ = scene((200, 200), (255, 255, 255))
    picture = picture.convert("RGBA")
    picture.paste((0, 0, 0, 0), (80, 80, 120, 120))
    out = io.BytesIO()
    picture.save(out, "PNG")
    result = Image.open(io.BytesIO(render(open_picture(out), Wish("PNG"))))
    assert result.getpixel((100, 100))[3] == 0
    assert result.getpixel((70, 150))[3] == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_pixel_mode(mode):
    """Whatever a PNG may hold comes out as a picture."""
    picture = (
        Image.new("I;16", (40, 30), 20000) if mode == "I;16" else scene((40, 30), (255, 255, 255))[0].convert(mode)
    )
    out = io.BytesIO()
    picture.save(out, "PNG")
    assert Image.open(io.BytesIO(render(open_picture(out), Wish("PNG")))).size == (40, 30)


def test_cmyk_photos():
    out = io.BytesIO()
    scene((200, 200), (255, 255, 255))[0].convert("CMYK").save(out, "JPEG")
    result = Image.open(io.BytesIO(render(open_picture(out), Wish("PNG"))))
    assert (result.getpixel((2, 2))[3], result.getpixel((70, 100))[3]) == (0, 255)


def test_damaged_pictures_are_unreadable():
    out = io.BytesIO()
    scene((200, 200), (255, 255, 255))[0].save(out, "PNG")
    with pytest.raises(Unreadable):
        render(open_picture(io.BytesIO(out.getvalue()[:200])), Wish())
    with pytest.raises(Unreadable):
        open_picture(io.BytesIO(b"\xff\xd8\xff"))


def test_a_megapixel_is_quick():
    """A 1000 x 1000 JPEG is cut out with less CPU than it takes to save it as a PNG, mask or no mask."""
    out = io.BytesIO()
    scene((1000, 1000), (240, 240, 240), noise=3)[0].save(out, "JPEG", quality=90)

    def cut():
        render(open_picture(io.BytesIO(out.getvalue())), Wish())

    def save():
        Image.open(io.BytesIO(out.getvalue())).save(io.BytesIO(), "PNG")

    def spent(work):
        start = time.thread_time()
        work()
        return time.thread_time() - start

    cutting = saving = math.inf
    for turn in range(12):  # by turns, as a machine may be slow for a while
        cutting, saving = min(cutting, spent(cut)), min(saving, spent(save))
        if turn >= 2 and cutting < saving:
            break
    assert cutting < saving
