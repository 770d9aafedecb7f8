"""How ``remove`` gets its key, its address and its options: from a config, the environment and what was typed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from rembg_watch.api.options import Options
from rembg_watch.config.client import client_for
from rembg_watch.config.key import VARIABLE
from rembg_watch.config.load import find_config, load_config
from rembg_watch.config.problems import in_words, value_shown
from rembg_watch.config.written import ApiConfig
from rembg_watch.errors import ConfigError
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_watch.api.client import RembgClient
    from rembg_watch.config.model import Config
    from rembg_watch.imagefile import Kind


@dataclass(frozen=True)
class Access:
    """How the API is reached."""

    key: str
    api: ApiConfig

    def client(self) -> RembgClient:
        return client_for(self.api, self.key)


def config_for(named: str | None, *, needed: bool, env: Mapping[str, str]) -> Config | None:
    """Load the config that was named, or one in the usual places; without any, the environment has to do."""
    if named is not None or needed or env.get("REMBG_WATCH_CONFIG"):
        return load_config(find_config(named, env), env)
    try:
        path = find_config(None, env)
    except ConfigError:
        return None
    # The daemon's config in /etc is rightly closed to others, who have a key of their own.
    if env.get(VARIABLE) and not os.access(path, os.R_OK):
        return None
    return load_config(path, env)


def access_to(config: Config | None, url: str | None, env: Mapping[str, str]) -> Access:
    api = config.api if config else ApiConfig()
    if url is not None:
        try:
            api = ApiConfig.model_validate({**api.model_dump(exclude={"key"}), "url": url})
        except ValidationError as error:
            raise click.UsageError(f"--url {_said(error)}") from error
    if config is not None:
        return Access(config.require_key(), api)
    key = env.get(VARIABLE, "").strip()
    if not key:
        raise ConfigError([f"there is no API key: set {VARIABLE}, or name a config with -c"])
    return Access(key, api)


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    return in_words(first, value_shown(first["input"]))


def _text(name: str, value: Any) -> Any:
    """Refuse what was typed in bytes that are no text, which no option takes."""
    if isinstance(value, str) and value.encode("utf-8", "replace").decode() != value:
        raise click.UsageError(f"--{name.replace('_', '-')}: '{printable(value)}' is no text")
    return value


def options_of(config: Config | None, profile: str | None, flags: Mapping[str, Any], kind: Kind | None) -> Options:
    """Give the profile's options, with what was typed on top; OUT's ending decides a format that nothing else does."""
    values: dict[str, Any] = {}
    if profile is not None:
        assert config is not None
        if profile not in config.profiles:
            known = ", ".join(sorted(config.profiles)) or "none"
            raise click.UsageError(f"there is no profile '{printable(profile)}' in {config.path}; there are: {known}")
        values = config.profiles[profile].options.model_dump(exclude_unset=True)
    values |= {name: _text(name, value) for name, value in flags.items() if value is not None}
    if kind is not None:
        values.setdefault("format", kind)
    try:
        options = Options.model_validate(values)
    except ValidationError as error:
        where = ", ".join("--" + str(part).replace("_", "-") for part in error.errors()[0]["loc"][:1])
        raise click.UsageError(f"{where}: {_said(error)}" if where else _said(error)) from error
    if kind is not None and options.format is not kind:
        raise click.UsageError(f"OUT has the ending of {kind.value}, but the format is {options.format.value}")
    return options
