"""The API client that a config asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_watch.api.client import RembgClient

if TYPE_CHECKING:
    from rembg_watch.config.written import ApiConfig


def client_for(api: ApiConfig, key: str, *, pool_size: int = 1, longest_read: float = float("inf")) -> RembgClient:
    """Build the client for ``api`` and a key; ``longest_read`` bounds its read timeout, in seconds.

    Raises:
        AccountRefused: the key is empty or has characters that no key has.
    """
    return RembgClient(
        key,
        url=api.url,
        usage_url=api.usage_url,
        connect_timeout=api.connect_timeout,
        read_timeout=min(api.read_timeout, longest_read),
        pool_size=pool_size,
    )
