"""The one place where everything is put together: start and stop order, signals, reload."""

from __future__ import annotations

from rembg_watch.daemon.life import Daemon

__all__ = ["Daemon"]
