"""The config file as it is written: its keys, their defaults and ranges, and what each of them means.

``config.example.yaml`` and ``schema.json`` are made of these models, so a description here is what a user reads.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path  # noqa: TC003  # pydantic needs it at run time
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    field_validator,
    model_validator,
)

from rembg_watch.api.options import Options
from rembg_watch.delivery.naming import validate_template

DEFAULT_INCLUDE = ("*.jpg", "*.jpeg", "*.png", "*.webp", "*.bmp")
DEFAULT_URL = "https://api.rembg.com/rmbg"
DEFAULT_USAGE_URL = "https://www.rembg.com/api/membership-usage"


def _without_empty(value: object) -> object:
    """Let a key without a value mean its default, as when everything beneath it is commented out."""
    if value is None:
        return {}
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _path_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must name a folder, but is empty")
    if not value.isprintable():
        raise ValueError("has a control character in it")
    return value


def _pattern_text(value: str) -> str:
    if not value.strip("/. "):
        raise ValueError('must be a pattern such as "*.jpg"')
    return value


Whole = Annotated[int, BeforeValidator(_no_bool)]
Number = Annotated[float, BeforeValidator(_no_bool)]
FolderPath = Annotated[str, AfterValidator(_path_text)]
Pattern = Annotated[str, AfterValidator(_pattern_text)]
ProfileOptions = Annotated[Options, BeforeValidator(_without_empty)]


def _name_or_options(value: object) -> str:
    return "<options>" if isinstance(value, dict | Options) else "<name>"


NameOrOptions = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[ProfileOptions, Tag("<options>")], Discriminator(_name_or_options)
]
"""A profile's name, or the options themselves."""


def is_loopback(host: str) -> bool:
    """Say whether a URL's host is this machine, without asking any name server."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _api_url(value: str) -> str:
    # The URL itself is never part of a message: it may hold a password.
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("is not a valid URL: it has a space or another character that does not belong there")
    if url.username is not None or url.password is not None:
        raise ValueError("must not hold a user name or password")
    if url.scheme not in {"http", "https"} or not host:
        raise ValueError("must be a URL that begins with https://")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https:// (http is only for this machine itself): the key would travel openly")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, value: Any) -> Any:
        return _without_empty(value)


class ApiConfig(_Section):
    """How RemBG.com is reached. Times in seconds."""

    key: SecretStr | None = Field(
        default=None,
        description="The API key. Without it and key_file: the systemd credential rembg-api-key, else $REMBG_API_KEY.",
        examples=["${REMBG_API_KEY}"],
    )
    key_file: Path | None = Field(
        default=None,
        description="A file whose first line is the key, instead of key.",
        examples=["/etc/rembg-watch/key"],
    )
    url: str = Field(default=DEFAULT_URL, description="Where photos are sent; https, or http on this machine itself.")
    usage_url: str = Field(default=DEFAULT_USAGE_URL, description="Where credits are asked for; likewise.")
    connect_timeout: Number = Field(
        default=10, gt=0, le=300, description="Seconds to wait for a connection, and for a block of a photo to be sent."
    )
    read_timeout: Number = Field(default=180, gt=0, le=3600, description="Seconds to wait for the next bytes.")
    max_per_second: Number | None = Field(
        default=None, gt=0, le=1000, description="An upper bound of requests; below it the pace is found by itself."
    )

    _urls = field_validator("url", "usage_url")(_api_url)


class CreditsConfig(_Section):
    """How many images may be sent. Counts are images, which is credits."""

    batch_size: Whole = Field(default=25, ge=1, le=10_000, description="Images sent per credit check.")
    reserve: Whole = Field(default=0, ge=0, description="Never go below this balance.")
    warn_below: Whole = Field(default=100, ge=0, description="Warn when the balance falls below this.")
    daily_limit: Whole | None = Field(default=None, ge=1, description="Images per UTC day; null: no limit.")
    monthly_limit: Whole | None = Field(default=None, ge=1, description="Images per UTC month; null: no limit.")
    max_staleness: Number = Field(
        default=600,
        ge=0,
        le=86_400,
        description="Seconds that the last good reading, less what was spent since, may be used when the check fails.",
    )


class RetryConfig(_Section):
    """When a job is tried again. Times in seconds."""

    max_attempts: Whole = Field(
        default=6,
        ge=1,
        le=100,
        description="Per job, for faults of its own and of the service; pace and account answers are not counted.",
    )
    base_delay: Number = Field(default=2, gt=0, le=3600, description="Seconds before the second attempt; then doubled.")
    max_delay: Number = Field(default=600, gt=0, le=86_400, description="Seconds between two attempts at most.")


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZES = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SIZES |= {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_DURATION = rf"(\d{{1,9}}(?:\.\d+)?) ?([{''.join(_UNITS)}])"
_SIZE = rf"(\d{{1,9}}(?:\.\d+)?) ?({'|'.join(_SIZES)})"
LEAST_KEPT = 3600.0
LEAST_STORED = 1000**2


def parse_duration(text: str) -> float:
    """Return the seconds of a text such as "90d".

    Raises:
        ValueError: it is no such text.
    """
    match = re.fullmatch(_DURATION, text.strip(), re.ASCII)
    if match is None:
        raise ValueError('must be a time such as "90d" or "12h" (s, m, h, d, w)')
    return float(match[1]) * _UNITS[match[2]]


def parse_size(text: str) -> int:
    """Return the bytes of a text such as "20GB".

    Raises:
        ValueError: it is no such text.
    """
    match = re.fullmatch(_SIZE, text.strip(), re.ASCII)
    if match is None:
        raise ValueError('must be a size such as "20GB" or "500MB"')
    return int(float(match[1]) * _SIZES[match[2]])


def _duration(value: object) -> object:
    """Parse a text; a plain number is seconds."""
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: object) -> object:
    """Parse a text; a plain number is bytes."""
    return parse_size(value) if isinstance(value, str) else value


def _long_enough(value: float) -> float:
    if value < LEAST_KEPT:
        raise ValueError('must be at least "1h" (a plain number is seconds)')
    return value


def _large_enough(value: int) -> int:
    if value < LEAST_STORED:
        raise ValueError('must be at least "1MB" (a plain number is bytes)')
    return value


Duration = Annotated[
    float,
    BeforeValidator(_duration, json_schema_input_type=float | Annotated[str, Field(pattern=f"^{_DURATION}$")]),
    BeforeValidator(_no_bool, json_schema_input_type=float | Annotated[str, Field(pattern=f"^{_DURATION}$")]),
]
Size = Annotated[
    int,
    BeforeValidator(_size, json_schema_input_type=int | Annotated[str, Field(pattern=f"^{_SIZE}$")]),
    BeforeValidator(_no_bool, json_schema_input_type=int | Annotated[str, Field(pattern=f"^{_SIZE}$")]),
]


class ResultsConfig(_Section):
    """How long paid results are kept after their delivery."""

    keep: Annotated[Duration, AfterValidator(_long_enough)] = Field(
        default=90 * 86_400.0,
        description="How long after their last use: a number with s, m, h, d or w; 1h or more.",
        examples=["90d"],
    )
    max: Annotated[Size, AfterValidator(_large_enough)] = Field(
        default=20 * 1000**3,
        description="How much in all: a number with MB, GB or TB. A tenth of the disk is always left free.",
        examples=["20GB"],
    )


def _off(value: object) -> object:
    """Read ``off``, which YAML reads as false, as none."""
    return None if value is False or value == "off" else value


def _off_or_keys(value: object) -> object:
    value = _off(value)
    if value is not None and not isinstance(value, dict | ResultsConfig):
        raise ValueError("must be off, or keys such as {keep: 90d, max: 20GB}")
    return value


Off = Literal["off", False]


class FolderConfig(_Section):
    """One watched inbox, as written."""

    inbox: FolderPath = Field(description="Required. Photos are dropped here.", examples=["/srv/photos/inbox"])
    outbox: FolderPath = Field(
        description="Required. Cut-outs appear here, in the same subfolders.", examples=["/srv/photos/outbox"]
    )
    profile: NameOrOptions | None = Field(
        default=None,
        description='A profile\'s name, or the options themselves; else the profile "default".',
        examples=["transparent"],
    )
    subfolders: dict[str, NameOrOptions] = Field(
        default_factory=dict,
        description="Profiles of subfolders of the inbox; the longest matching path wins.",
        examples=[{"amazon": "marketplace", "masks/": {"format": "png", "mask": True}}],
    )
    include: tuple[Pattern, ...] = Field(
        default=DEFAULT_INCLUDE,
        description="Which files are taken, in upper or lower case; a pattern with a slash is for the whole path.",
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), description='Which of them are not; "drafts/" is everything in the inbox\'s folder drafts.'
    )
    recursive: bool = Field(default=True, description="Watch the subfolders, too.")
    priority: Whole = Field(default=0, ge=-1000, le=1000, description="Higher first.")
    daily_limit: Whole | None = Field(
        default=None, ge=1, description="Images per UTC day from this folder; null: no limit of its own."
    )
    hold_above: Annotated[
        Annotated[Whole, Field(ge=1)] | None, BeforeValidator(_off, json_schema_input_type=int | Off | None)
    ] = Field(
        default=2000,
        description=(
            "If more new photos than this come within 10 minutes, none of them is sent before "
            "'rembg-watch resume --folder F'; off: no such hold (1 or more)."
        ),
    )
    settle: Number = Field(
        default=0.5, ge=0, le=3600, description="Seconds without a change before a file counts as finished."
    )
    watch: Literal["auto", "events", "scan"] = Field(
        default="auto", description="auto, events or scan; auto scans where a filesystem gives no events."
    )
    rescan: Number = Field(
        default=60,
        ge=0.1,
        le=86_400,
        description="Seconds between two looks at the whole folder, for what events missed.",
    )
    on_success: Literal["keep", "archive", "delete"] = Field(
        default="keep", description="What happens to the photo: keep, archive or delete."
    )
    archive: FolderPath | None = Field(
        default=None,
        description="For on_success: archive. In the same subfolders, too.",
        examples=["/srv/photos/originals"],
    )
    on_failure: Literal["keep", "move"] = Field(
        default="keep", description="What happens to a photo that can't be used: keep or move."
    )
    failed: FolderPath | None = Field(
        default=None,
        description="For on_failure: move. NAME.error.json beside it says why.",
        examples=["/srv/photos/failed"],
    )
    output_name: str = Field(
        default="{stem}.{ext}",
        description=(
            "What a cut-out is called, of {stem} (the photo's name without its ending), {name} (with it), {ext} (the "
            "result's), {profile}, {date} (UTC) and {hash8} (of the picture)."
        ),
    )
    reuse_results: bool = Field(default=True, description="The same bytes and options are never paid for twice.")
    adopt_existing: bool = Field(
        default=True,
        description=(
            "An output already in place, newer than its source, counts as done; not in an outbox that folders share."
        ),
    )

    @field_validator("output_name")
    @classmethod
    def _template(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("has a control character in it")
        if (mistake := validate_template(value)) is not None:
            raise ValueError(mistake)
        return value

    @field_validator("include")
    @classmethod
    def _something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("would take no file at all: leave the key out for every supported format")
        return value


class WrittenConfig(_Section):
    """The whole config file of rembg-watch."""

    api: ApiConfig = Field(default_factory=ApiConfig, description="How RemBG.com is reached.")
    state_dir: FolderPath | None = Field(
        default=None,
        description=(
            "Where jobs.db, the paid results and the lock are. Default: $STATE_DIRECTORY, else "
            "~/.local/state/rembg-watch."
        ),
        examples=["/var/lib/rembg-watch"],
    )
    workers: Whole = Field(default=8, ge=1, le=256, description="Requests in flight at most.")
    shutdown_grace: Number = Field(
        default=60, ge=0, le=3600, description="Seconds that photos in flight get to finish when the daemon is stopped."
    )
    credits: CreditsConfig = Field(default_factory=CreditsConfig, description="How many images may be sent.")
    retry: RetryConfig = Field(default_factory=RetryConfig, description="When a job is tried again.")
    results: Annotated[
        ResultsConfig | None, BeforeValidator(_off_or_keys, json_schema_input_type=ResultsConfig | Off | None)
    ] = Field(
        default_factory=ResultsConfig,
        description=(
            "Paid results are kept in the state directory, so that the same picture is not paid for again. "
            "results: off keeps them only until they are delivered."
        ),
    )
    profiles: dict[str, ProfileOptions] = Field(
        default_factory=dict,
        description="Named sets of options, by RemBG.com's own names.",
        examples=[
            {
                "marketplace": {"format": "png", "bg_color": "white", "w": 2000, "h": 2000},
                "transparent": {"format": "webp"},
                "mask": {"format": "png", "mask": True},
            }
        ],
    )
    folders: tuple[FolderConfig, ...] = Field(
        min_length=1, description="Required: the watched folders, one or more, each with an inbox and an outbox."
    )
