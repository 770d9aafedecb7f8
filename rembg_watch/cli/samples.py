"""The sample photos of ``demo``: what lies in its inbox, in every format and with names as people give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_watch.cli import accessories, furnishings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL import Image

_SAVED_AS: dict[str, tuple[str, dict[str, int]]] = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 1}),
    ".webp": ("WEBP", {"quality": 90, "method": 0}),
    ".bmp": ("BMP", {}),
}


@dataclass(frozen=True)
class Sample:
    """One photo: its path below the inbox and who draws it."""

    path: str
    draw: Callable[[], Image.Image]

    def save(self, to: Path) -> None:
        """Draw the photo and write it to ``to``, in the format of the sample's ending.

        Raises:
            OSError: it can't be written.
        """
        kind, how = _SAVED_AS["." + self.path.rpartition(".")[2].lower()]
        self.draw().save(to, kind, **how)


SAMPLES = (
    Sample("travel mug.jpg", furnishings.mug),
    Sample("shoes/running shoe (red).JPG", accessories.sneaker),
    Sample("marketplace/olive oil.png", furnishings.bottle),
    Sample("furniture/living room/fauteuil doré.webp", furnishings.armchair),
    Sample("marketplace/bags/backpack.bmp", accessories.backpack),
    Sample("marketplace/lamp.jpg", furnishings.lamp),
    Sample("masks/Armbanduhr für Söhne.png", accessories.watch),
    Sample("banner/pot plant.webp", furnishings.plant),
    Sample("masks/headphones.jpeg", accessories.headphones),
    Sample("banner/summer sale/camera.JPG", accessories.camera),
)
