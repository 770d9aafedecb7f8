"""One picture of everything: the queue, what runs, the credits, what is held and why.

It is drawn from the database alone, so that it is the same from any process, with a daemon or without one.
"""

from rembg_watch.status.drawing import snapshot
from rembg_watch.status.picture import Snapshot

__all__ = ["Snapshot", "snapshot"]
