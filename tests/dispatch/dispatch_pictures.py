"""Pictures, and looks at what is held that come quickly."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

from rembg_watch.dispatch.holds import Timings

QUICK = Timings(
    check=0.3,
    profile_check=0.3,
    outbox_check=0.1,
    usage_check=0.3,
    usage_retry=0.3,
    first_pause=0.2,
    longest_pause=0.4,
    tidy=0.2,
    late=0.5,
)


def picture(color="red", size=(80, 60), form="JPEG", noise=False):
    """Return a picture of a disc on white; with ``noise`` its size in bytes is near that of its pixels."""
    image = Image.effect_noise(size, 100).convert("RGB") if noise else Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), color)
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()
