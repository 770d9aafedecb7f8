"""How long things may take at most: what takes longer is not slow, but stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rembg_watch.config.model import Config

TURN_SECONDS = 60.0
"""What a turn of the dispatcher may take at most, besides a usage call."""


def longest_turn(config: Config) -> float:
    """Return the seconds after which a turn counts as hung: twice a usage call to a host of several addresses.

    The response may take three read timeouts, which are 30 s at most.
    """
    return TURN_SECONDS + 2 * (4 * config.api.connect_timeout + 2 * min(config.api.read_timeout, 30.0))


def lease_seconds(config: Config) -> float:
    """Return more seconds than any request can take, so that no living worker ever loses its claim.

    An upload takes two read timeouts, 53 minutes for 50 MB and one connect timeout for its last block; the response
    takes three read timeouts.
    """
    return 2 * config.api.connect_timeout + 5 * config.api.read_timeout + 3600
