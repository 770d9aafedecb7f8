"""The client against every fault of the sandbox: its verdict, and what it may have cost."""

from __future__ import annotations

import io

import pytest
from api_raw_server import picture, until

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.verdict import Charge
from rembg_watch.errors import AccountRefused, ApiError, OptionsRejected
from rembg_watch.imagefile import Kind
from rembg_watch.sandbox import FAULTS

JPEG = picture("JPEG", (80, 60), "white")

CODE_OF = {
    "500": "server-error", "500-charged": "server-error", "502-html": "proxy-page", "503": "unavailable",
    "504": "proxy-page", "504-charged": "proxy-page", "429": "too-fast", "429-monthly": "monthly",
    "429-daily": "daily", "402": "credits", "408": "timeout", "413": "too-big", "413-early": "too-big", "401": "key",
    "403": "email", "html": "proxy-page", "json200": None, "redirect": "redirect", "reset-before": "reset",
    "reset-after": "reset", "stall": "timeout", "stall-charged": "timeout", "truncate": "cut-short",
    "short": "cut-short", "garbage": "not-a-picture", "empty": "not-a-picture", "stall-body": "timeout",
    "endless": "too-much", "wrong-length": "cut-short", "gzip-bomb": "encoding", "wrong-format": "wrong-format",
    "wrong-size": "wrong-size", "shrunk": "shrunk",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "mib"),
    [(kind, 0) for kind in FAULTS if kind != "slow"]
    + [(kind, 20) for kind in ("413-early", "reset-before", "401", "redirect", "reset-after")],
)
def test_every_fault_has_its_verdict(sandbox, kind, mib):
    """Each fault is told apart, and where the server took a credit, the verdict never says that it did not."""
    photo = picture("JPEG", (1200, 900), "white") + bytes(mib * 1024 * 1024)
    before = sandbox.charged
    sandbox.next(kind)
    with RembgClient(
        "k",
        url=sandbox.url,
        usage_url=sandbox.usage_url,
        read_timeout=2 if "stall" in kind else 60,
        max_answer=2_000_000,
    ) as client:
        with pytest.raises(ApiError) as caught:
            client.remove(photo)
        verdict = caught.value.verdict
        assert kind in CODE_OF
        assert CODE_OF[kind] in (None, verdict.code)
        if sandbox.charged > before:
            assert verdict.charge is Charge.POSSIBLY
        assert sandbox.elsewhere == []
        assert [r.fault for r in sandbox.requests].count(kind) <= 1
        if kind != "wrong-length":  # what it sent too much may come at any time, and break the next request
            client._read_timeout = 60
            sandbox.clear_faults()
            until(lambda: sandbox.in_flight == 0)
            sandbox.clear_faults()  # a slow one saw its client go first, and kept the fault for the next request
            client.remove(JPEG).cleanup()


def test_slow_answer_is_fine(client, sandbox):
    """A picture in drips is a picture, while it stays within its time."""
    sandbox.next("slow")
    client.remove(JPEG).cleanup()


def test_option_that_only_the_server_refuses(client, sandbox):
    """Options that pass here and not there are told apart from the photo's faults."""
    bad = Options.model_construct(**{**Options().model_dump(), "w": -5, "angle": 999.0})
    with pytest.raises(OptionsRejected) as caught:
        client.send(io.BytesIO(JPEG), len(JPEG), Kind.JPEG, bad, io.BytesIO())
    assert {f.field for f in caught.value.verdict.fields} == {"w", "angle"}


@pytest.mark.parametrize(("key", "code"), [("invalid", "key"), ("unverified", "email")])
def test_refused_keys(sandbox, key, code):
    """A refused key is about the account, for pictures and for the usage."""
    with RembgClient(key, url=sandbox.url, usage_url=sandbox.usage_url) as client:
        for call in (lambda: client.remove(JPEG), client.membership_usage):
            with pytest.raises(AccountRefused) as caught:
                call()
            assert (caught.value.verdict.code, caught.value.exit_code) == (code, 77)
