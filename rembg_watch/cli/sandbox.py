"""``rembg-watch sandbox``: the RemBG.com API on loopback, for dry runs."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import click

from rembg_watch.errors import RembgWatchError, StateError

if TYPE_CHECKING:
    from rembg_watch.sandbox import Received, Sandbox

_EXTRA = {"starlette", "uvicorn", "python_multipart", "anyio", "h11"}


def sandbox_class() -> type[Sandbox]:
    """Import the sandbox, or say what to install.

    Raises:
        RembgWatchError: the extra ``sandbox`` is not installed.
    """
    try:
        from rembg_watch.sandbox import Sandbox  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise RembgWatchError(
            f"the sandbox needs {error.name}, which is not installed", "pip install 'rembg-watch[sandbox]'"
        ) from error
    return Sandbox


def _odds(values: tuple[str, ...]) -> dict[str, float]:
    odds: dict[str, float] = {}
    for value in values:
        kind, _, chance = value.rpartition(":")
        if not kind:
            raise click.BadParameter(f"'{value}' is not KIND:P, such as 500:0.1", param_hint="--fault")
        try:
            odds[kind] = float(chance)
        except ValueError as error:
            raise click.BadParameter(f"'{chance}' is no number from 0 to 1", param_hint="--fault") from error
    return odds


def line(received: Received, credits_left: int) -> str:
    """One request as one line for people, with nothing in it that a terminal would obey."""
    name = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in received.filename) or "-"
    words = [
        time.strftime("%H:%M:%S", time.localtime(received.at)),
        str(received.status or "---"),
        name,
        f"{received.size / 1024:.0f} KB",
        f"{received.seconds:.2f} s",
        "charged" if received.charged else "free",
        f"{credits_left} left",
    ]
    options = " ".join(f"{key}={value!r}" for key, value in sorted(received.fields.items()) if key != "image")
    said = ascii(received.error) if received.error else ""
    return "  ".join(
        [*words, *(part for part in (options, received.fault and f"fault: {received.fault}", said) if part)]
    )


@click.command("sandbox", short_help="the RemBG.com API on loopback, for dry runs")
@click.option("--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 takes a free one.")
@click.option("--latency", type=click.FloatRange(0, 3600), default=0.0, show_default=True, help="Seconds per image.")
@click.option(
    "--credits", "credits_", type=click.IntRange(0), default=1000, show_default=True, help="Included credits."
)
@click.option("--prepaid", type=click.IntRange(0), default=0, show_default=True, help="Prepaid credits.")
@click.option("--rate-limit", type=click.FloatRange(0, min_open=True), help="Requests a second; above it comes a 429.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND:P",
    help="Let this go wrong with probability P (0..1), such as 500:0.1; as often as there are kinds.",
)
@click.option("--key", help="The only right key. Default: any but 'invalid' (401) and 'unverified' (403).")
@click.option("--seed", type=int, help="The same faults in each run.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses, and each request, as JSON.")
def command(
    port: int,
    latency: float,
    credits_: int,
    prepaid: int,
    rate_limit: float | None,
    faults: tuple[str, ...],
    key: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Serve the RemBG.com API on 127.0.0.1, with credits that go down and faults on request.

    It cuts out with a border-colour flood fill, which is good enough for a product on a plain backdrop. Nothing leaves
    this machine. /_sandbox/ shows what it has seen.

    Kinds of faults; "-charged" takes the credit all the same:

    \b
      500 500-charged 502-html 503 504 504-charged 401 402 403 408
      413 413-early 429 429-monthly 429-daily html json200 redirect
      reset-before reset-after stall stall-charged stall-body slow
      truncate short garbage empty endless wrong-length gzip-bomb
      wrong-format wrong-size shrunk
    """  # noqa: D301 - click takes the character itself for "as it stands"

    def on_request(received: Received) -> None:
        left = sandbox.credits_left
        if as_json:
            noted = {name: getattr(received, name) for name in ("at", "status", "fault", "charged", "filename", "size")}
            click.echo(json.dumps({**noted, "fields": dict(received.fields), "credits_left": left}), err=True)
        else:
            click.echo(line(received, left), err=True)

    try:
        sandbox = sandbox_class()(
            credits=credits_,
            prepaid=prepaid,
            latency=latency,
            rate_limit=rate_limit,
            faults=_odds(faults),
            key=key,
            port=port,
            seed=seed,
            on_request=on_request,
        )
    except ValueError as error:
        about = next((name for name in ("latency", "rate_limit") if str(error).startswith(f"'{name}'")), "fault")
        raise click.BadParameter(str(error), param_hint="--" + about.replace("_", "-")) from error
    _serve(sandbox, as_json=as_json)


def _serve(sandbox: Sandbox, *, as_json: bool) -> None:
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _started(sandbox):
            _announce(sandbox, as_json=as_json)
            stopped.wait()
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _started(sandbox: Sandbox) -> Sandbox:
    try:
        return sandbox.start()
    except OSError as error:
        raise StateError(
            f"port {sandbox.port} can't be used: {error.strerror}", "Choose another with --port; 0 takes a free one."
        ) from error


def _announce(sandbox: Sandbox, *, as_json: bool) -> None:
    key = "any" if sandbox.snapshot()["key"] == "any" else "${REMBG_API_KEY}"
    config = {"key": key, "url": sandbox.url, "usage_url": sandbox.usage_url}
    if as_json:
        click.echo(
            json.dumps({"url": sandbox.url, "usage_url": sandbox.usage_url, "port": sandbox.port, "api": config})
        )
        return
    click.echo(f"remove a background:  POST {sandbox.url}")
    click.echo(f"read the usage:       GET  {sandbox.usage_url}")
    click.echo("\nFor config.yaml:\n\napi:")
    for name, value in config.items():
        click.echo(f"  {name}: {value}")
    click.echo("\nCtrl+C ends it.")
