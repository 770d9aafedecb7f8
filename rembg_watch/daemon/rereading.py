"""Reading the config anew while the daemon runs: taken over whole, or refused whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rembg_watch.config.load import load_config
from rembg_watch.errors import ConfigError

if TYPE_CHECKING:
    from rembg_watch.config.model import Config

log = structlog.get_logger()


def read_anew(running: Config) -> Config | str:
    """Give the config as its file is now, or why it can't be taken over; that is logged with every mistake."""
    try:
        config = load_config(running.path)
        config.require_key()
        if config.state_dir != running.state_dir:
            raise ConfigError([f"{config.path}: state_dir: can't change while running; restart for that"])
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.mistake", problem=problem)
        log.error("config.refused", hint="The config before goes on. Correct the file and reload again.")
        return error.problems[0]
    except OSError as error:
        log.error("config.refused", reason=str(error), hint="The config before goes on.")
        return str(error)
    return config
