"""The usage call over the wire: every mode, every fault."""

from __future__ import annotations

import json

import pytest
from api_raw_server import RawServer, picture

from rembg_watch.api.client import RembgClient
from rembg_watch.api.verdict import Charge
from rembg_watch.errors import ApiError, Refused
from rembg_watch.sandbox import USAGE_FAULTS

JPEG = picture("JPEG", (80, 60), "white")


def test_usage_modes(client, sandbox):
    """Every mode of the usage call gives typed numbers."""
    plain = client.membership_usage()
    assert plain.billing_cycle is None
    assert plain.period_end is None
    full = client.membership_usage(billing_cycle=True)
    assert full.enforced is full.billing_cycle
    assert full.available == sandbox.credits_left
    used = full.api_usage
    client.remove(JPEG).cleanup()
    after = client.membership_usage(billing_cycle=True)
    assert (after.api_usage, after.available) == (used + 1, full.available - 1)
    cycles = client.billing_cycles()
    assert cycles[0].period_start == full.period_start
    assert [c.period_start for c in cycles] == sorted((c.period_start for c in cycles), reverse=True)
    assert client.membership_usage(period_start=cycles[0].period_start).month_api_usage >= used
    assert client.membership_usage(year=2024, month=2).month_api_usage == 0
    assert [dict(c.query) for c in sandbox.usage_calls][-1] == {"year": "2024", "month": "2"}


@pytest.mark.parametrize(
    "asked",
    [
        {"year": 0},
        {"month": 13},
        {"year": 2024, "period_start": 1},
        {"month": 1, "period_start": 1},
        {"period_start": -1},
    ],
)
def test_usage_that_the_api_would_refuse(client, sandbox, asked):
    """Impossible periods are not asked for."""
    with pytest.raises(Refused):
        client.membership_usage(**asked)
    assert sandbox.usage_calls == []


@pytest.mark.parametrize("kind", [kind for kind in USAGE_FAULTS if kind not in ("slow", "unsynced")])
def test_usage_faults(sandbox, kind):
    """Whatever goes wrong with the usage call ends in an error that says it cost nothing, and soon."""
    sandbox.next_usage(kind)
    timeout = 2 if "stall" in kind else 60
    with RembgClient("k", url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=timeout) as client:
        with pytest.raises(ApiError) as caught:
            client.membership_usage(billing_cycle=True)
        assert caught.value.verdict.charge is Charge.NOT_CHARGED
        assert kind != "html" or caught.value.verdict.code == "proxy-page"
        client._read_timeout = 60
        assert client.membership_usage(billing_cycle=True).available == sandbox.credits_left


USAGE = {"membership": "P", "credits": 5, "prepaidCredits": 2, "app_usage": 0, "api_usage": 1}


@pytest.mark.parametrize("extra", [{"message": "Your plan renews soon"}, {"title": "x"}, {"error": None}])
def test_usage_with_more_than_is_documented(extra):
    """What the answer says beside its numbers does not make an error of it."""
    with RawServer(answering({**USAGE, **extra})) as server, RembgClient("k", usage_url=server.url) as client:
        assert client.membership_usage().available == 6


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": "invalid api key", "status": 401}, "key"),
        ({**USAGE, "error": "the billing data could not be read"}, "not-a-picture"),
        ({"message": "Unauthorized"}, "forbidden"),
        ({**USAGE, "credits": None}, "nonsense"),
    ],
)
def test_usage_that_is_an_error(body, code):
    """An error with status 200 is judged by its words; numbers beside it are not believed."""
    with RawServer(answering(body)) as server, RembgClient("k", usage_url=server.url) as client:
        with pytest.raises(ApiError) as caught:
            client.membership_usage()
        assert (caught.value.verdict.code, caught.value.verdict.charge) == (code, Charge.NOT_CHARGED)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "{sandbox.base_url}/nothing-here"])
def test_a_wrong_address_for_usage_is_told_by_its_own_name(sandbox, address):
    """Photos may go through all the same: it is not their address that is to be corrected."""
    with RembgClient("k", url=sandbox.url, usage_url=address.format(sandbox=sandbox)) as client:
        with pytest.raises(ApiError) as caught:
            client.membership_usage()
        assert "api.usage_url" in caught.value.hint
        assert "api.url" not in caught.value.hint
        client.remove(JPEG).cleanup()


def answering(body):
    def script(connection, number):
        connection.read_request()
        connection.answer(json.dumps(body).encode())

    return script


def test_unsynced_billing_falls_back(client, sandbox):
    """An unsynced block is not believed: the calendar month's fields count."""
    sandbox.next_usage("unsynced")
    usage = client.membership_usage(billing_cycle=True)
    assert usage.enforced is None
    left = max(0, usage.credits - usage.month_app_usage - usage.month_api_usage)
    assert usage.available == left + usage.prepaid_credits
    assert usage.api_usage == usage.month_api_usage
