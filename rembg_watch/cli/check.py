"""``rembg-watch check``: is everything in order? Sends no image."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from rembg_watch.api.http import Http
from rembg_watch.api.retry_after import parse_http_date
from rembg_watch.api.verdict import Fault, judge
from rembg_watch.cli import findings, localchecks
from rembg_watch.cli.findings import Finding, Level, fail, ok, warn
from rembg_watch.cli.options import config_option, json_option
from rembg_watch.cli.show import emit, text
from rembg_watch.config.client import client_for
from rembg_watch.config.load import find_config, load_config
from rembg_watch.errors import EXIT_CONFIG, ApiError, ConfigError
from rembg_watch.logs import coloured
from rembg_watch.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_watch.config.model import Config

LONGEST_READ = 30.0
"""Seconds that ``check`` waits for an answer at most, whatever the config allows for pictures."""

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def _config(path: str | None) -> tuple[Config | None, list[Finding]]:
    try:
        config = load_config(find_config(path))
    except ConfigError as error:
        return None, [fail("config", problem, "", EXIT_CONFIG) for problem in error.problems]
    count, profiles = len(config.folders), len(config.profiles)
    shown = (
        f"{printable(str(config.path))}: {count} folder{'s' * (count != 1)}, {profiles} profile{'s' * (profiles != 1)}"
    )
    return config, [ok("config", shown), *(warn("config", line) for line in config.warnings)]


def _key_and_credits(config: Config) -> Iterator[Finding]:
    if config.key is None:
        try:
            config.require_key()
        except ConfigError as error:
            yield from (fail("key", problem, "", error.exit_code) for problem in error.problems)
        return
    api = config.api
    try:
        with client_for(api, config.key, longest_read=LONGEST_READ) as client:
            usage = client.membership_usage(billing_cycle=True)
    except ApiError as error:
        about = error.verdict.about.value
        subject = "key" if about == "account" else "credits" if about == "credits" else "usage"
        host = printable(urlsplit(api.usage_url).netloc)
        yield fail(subject, f"{host}: {error.message}", error.hint, error.exit_code)
        return
    plan = f", plan {printable(usage.membership)}" if usage.membership else ""
    yield ok("key", f"accepted{plan}")
    yield findings.credit(usage.available, config.credits.reserve, config.credits.warn_below)
    if usage.billing_cycle is not None and not usage.billing_cycle.synced:
        yield warn("credits", "RemBG.com counts this account by the calendar month for now, which may be less exact")


def _api(config: Config) -> Iterator[Finding]:
    """Ask the address of pictures for its headers, without the key and without a picture."""
    url = config.api.url
    host = printable(urlsplit(url).netloc)
    try:
        http = Http(url, {"User-Agent": "rembg-watch-check"}, connect_timeout=config.api.connect_timeout, pool_size=0)
        with http.send("HEAD", read_timeout=min(config.api.read_timeout, LONGEST_READ)) as reply:
            status, date = reply.status, reply.headers.get("date", "")
    except Fault as fault:
        verdict = judge(None, {}, b"", fault, fault.stage, time.time())
        yield fail("api", f"{host}: {verdict.message}", verdict.hint, ApiError.exit_code)
        return
    if status == 404 or 300 <= status < 400:
        yield warn("api", f"{host} answers, but with status {status} at this address", "Check api.url.")
    elif status >= 500:
        yield warn("api", f"{host} answers with status {status}", "The service has a problem; photos would wait.")
    else:
        yield ok("api", f"{host} can be reached")
    if (theirs := parse_http_date(date)) is not None:
        yield findings.clock(time.time() - theirs)


def _all(config_path: str | None, *, offline: bool) -> Iterator[Finding]:
    config, found = _config(config_path)
    yield from found
    if config is not None:
        state = list(localchecks.state(config))
        yield from state
        if not any(finding.level is Level.FAIL for finding in state):
            yield from localchecks.results(config)
        yield from localchecks.folders(config, os.environ)
        if offline:
            yield ok("api", "not asked (--offline)")
        else:
            yield from _key_and_credits(config)
            yield from _api(config)
    yield from localchecks.parts()


def _line(finding: Finding) -> str:
    said = f"{finding.message.rstrip('.')}. {finding.hint}" if finding.hint else finding.message
    level = f"{finding.level.value:<4}"
    if coloured(sys.stdout):
        level = click.style(level, fg=_COLOURS[finding.level])
    return f"{level}  {finding.subject:<9}  {text(said)}"


@click.command("check", short_help="test config, folders, key, API and credits; sends no image")
@config_option
@click.option("--offline", is_flag=True, help="Do not ask the API; look at this machine only.")
@json_option
def command(config_path: str | None, offline: bool, as_json: bool) -> None:
    """Look at everything that a start needs: one line each, with what to do. Sends no image and costs nothing.

    Run it as the user that the daemon runs as. Warnings end with exit code 0; else it is 78 for the config, 77 for the
    key, 69 for the API and 73 for what can't be read or written, whichever comes first in this order.
    """
    found: list[Finding] = []
    for finding in _all(config_path, offline=offline):
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))
    code = findings.exit_code(found)
    if as_json:
        rows = [
            {"level": f.level.value.lower(), "subject": f.subject, "message": f.message, "hint": f.hint} for f in found
        ]
        emit({"ok": code == 0, "exit_code": code, "findings": rows})
    sys.exit(code)
