"""Watches folders, removes the background of every new photo with RemBG.com, and mirrors the cut-outs into an outbox.

The client is usable by itself::

    from rembg_watch import Options, RembgClient

    with RembgClient("key") as client:
        client.remove("shoe.jpg", Options(format="png", bg_color="white"), to="shoe.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rembg_watch.api.client import RembgClient
    from rembg_watch.api.options import Options

__all__ = ["Options", "RembgClient"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported when asked for: a command that sends nothing must not wait for requests.
    if name == "RembgClient":
        from rembg_watch.api.client import RembgClient  # noqa: PLC0415

        return RembgClient
    if name == "Options":
        from rembg_watch.api.options import Options  # noqa: PLC0415

        return Options
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
