"""``rembg-watch credits``: what the account has and has used, and what was spent from here."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rembg_watch.cli import options

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only from click 8.3 on

_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in Unix seconds: later times have no date."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Month(_ParamType):
    """A calendar month, written YYYY-MM."""

    name = "YYYY-MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{4})-(\d{2})", str(value))
        if match is None or not (int(match[1]) >= 1 and 1 <= int(match[2]) <= 12):
            self.fail(f"'{value!s}' is no month: write it as 2026-03.", param, ctx)
        return int(match[1]), int(match[2])


class Since(_ParamType):
    """A UTC date, or a time span back from now."""

    name = "YYYY-MM-DD|7d|24h"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        written = str(value)
        if match := re.fullmatch(r"(\d{1,6})([smhdw])", written):
            return max(0.0, time.time() - int(match[1]) * _UNITS[match[2]])
        try:
            return datetime.strptime(written, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        except ValueError:
            self.fail(f"'{written}' is no date such as 2026-03-31, and no time span such as 7d or 24h.", param, ctx)


@click.group("credits", invoke_without_command=True)
@options.config_option
@click.option("--cycles", is_flag=True, help="List the billing cycles, the newest first.")
@click.option("--month", type=Month(), help="The use of a UTC calendar month.")
@click.option(
    "--period",
    type=click.IntRange(0, _LAST_SECOND),
    metavar="UNIX",
    help="The use of the billing cycle that began then.",
)
@options.json_option
@click.pass_context
def command(
    ctx: click.Context,
    config_path: str | None,
    month: tuple[int, int] | None,
    period: int | None,
    *,
    cycles: bool,
    as_json: bool,
) -> None:
    """Ask what the account has left and has used. This costs nothing."""
    asked = sum((cycles, month is not None, period is not None))
    if ctx.invoked_subcommand is not None:
        if asked:
            raise click.UsageError("--cycles, --month and --period don't go with 'report'.")
        ctx.meta["rembg_watch.json"] = as_json
        return
    if asked > 1:
        raise click.UsageError("--cycles, --month and --period exclude each other.")
    config = options.load(config_path)
    from rembg_watch.cli import credits_page, show  # noqa: PLC0415
    from rembg_watch.config.client import client_for  # noqa: PLC0415 - requests takes its time

    with client_for(config.api, config.require_key()) as client:
        if cycles:
            found = client.billing_cycles()
            if as_json:
                show.emit({"billing_cycles": [_bare(asdict(cycle)) for cycle in found]})
            else:
                show.show(credits_page.cycles_page(found))
            return
        year, number = month or (None, None)
        usage = client.membership_usage(year=year, month=number, period_start=period, billing_cycle=month is None)
    if as_json:
        cycle = usage.billing_cycle
        show.emit(
            {
                "membership": usage.membership,
                # Of a past month or cycle nothing can be left.
                "available": usage.available if not asked else None,
                "credits": usage.credits,
                "prepaid_credits": usage.prepaid_credits,
                "api_usage": usage.month_api_usage,
                "app_usage": usage.month_app_usage,
                "billing_cycle": None if cycle is None else asdict(cycle),
            }
        )
    else:
        show.show(credits_page.usage_page(usage, time.time(), month=month, period=period))


@command.command("report")
@options.config_option
@click.option("--by", type=click.Choice(["folder", "profile", "day"]), default="folder", show_default=True)
@click.option(
    "--since",
    type=Since(),
    metavar="DATE|SPAN",
    help="A UTC date such as 2026-03-31, or so long ago: 7d, 24h. [default: everything]",
)
@options.json_option
@click.pass_context
def report(ctx: click.Context, config_path: str | None, by: Any, since: float | None, *, as_json: bool) -> None:
    """Sum up what was spent from here, by the ledger: charged, possibly charged, and saved by not sending."""
    config = options.load(config_path)
    from rembg_watch.cli import credits_page, show  # noqa: PLC0415
    from rembg_watch.jobs.ledger import Ledger, reconcile  # noqa: PLC0415

    rows, checks = [], []
    with options.reading(config) as database:
        if database is not None:
            ledger = Ledger(database)
            rows, checks = ledger.report(by, since or 0.0), ledger.usage_checks(since or 0.0)
    beside = reconcile(checks)
    if as_json or ctx.meta.get("rembg_watch.json"):
        total = {key: sum(getattr(row, key) for row in rows) for key in ("charged", "possibly", "saved")}
        show.emit(
            {"by": by, "since": since, "rows": list(map(asdict, rows)), "total": total, "account": asdict(beside)}
        )
    else:
        show.show(credits_page.report_page(rows, by, beside))


def _bare(cycle: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the list of cycles does not tell."""
    return {key: cycle[key] for key in ("period_start", "period_end", "app_usage", "api_usage")}
