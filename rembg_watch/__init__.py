"""Watches folders, removes the background of every new photo with RemBG.com, and mirrors the cut-outs into an outbox.

The client is usable by itself::

    from rembg_watch import Options, RembgClient

    with RembgClient("key") as client:
        client.remove("shoe.jpg", Options(format="png", bg_color="white"), to="shoe.png")
"""

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options

__all__ = ["Options", "RembgClient"]
__version__ = "0.1.0"
