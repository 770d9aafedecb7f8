"""The usage call: every mode, and numbers that agree with each other."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
import requests

from rembg_watch.sandbox import Sandbox
from rembg_watch.sandbox.account import CYCLE_SECONDS, Account
from rembg_watch.sandbox.texts import Refusal
from rembg_watch.sandbox.usage import month_window, usage_answer

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC).timestamp()
"""In the middle of a month, and of the cycle that began on the first of March."""


@pytest.fixture
def account():
    """20 credits used by programs and 5 in the editor this month, 7 by programs in February."""
    made = Account(100, 50, int(datetime(2025, 3, 31, tzinfo=UTC).timestamp()), "Premium-100")
    made.spend(20, NOW, "api")
    made.spend(5, NOW, "app")
    made.spend(7, datetime(2025, 2, 20, tzinfo=UTC).timestamp(), "api")
    return made


def ask(sandbox, query="", key="any"):
    return requests.get(sandbox.usage_url + query, headers={"x-api-key": key} if key else {}, timeout=60)


def test_the_default_is_this_calendar_month(account):
    assert usage_answer(account, {}, NOW) == {
        "membership": "Premium-100",
        "credits": 100,
        "prepaidCredits": 50,
        "app_usage": 5,
        "api_usage": 20,
    }


def test_another_month(account):
    answer = usage_answer(account, {"year": "2025", "month": "2"}, NOW)
    assert (answer["app_usage"], answer["api_usage"]) == (0, 7)
    assert usage_answer(account, {"month": "2"}, NOW) == answer
    assert usage_answer(account, {"year": "2024"}, NOW)["api_usage"] == 0


@pytest.mark.parametrize("query", [{"expand": "billing_cycle"}, {"expand": "x,billing_cycle"}, {"includeBillingCycle": "1"},
                                   {"includeBillingCycle": "true"}])  # fmt: skip
def test_the_billing_cycle_is_added_when_asked_for(account, query):
    """Used is app + api; left is included less used; the end is the second before the renewal."""
    assert usage_answer(account, query, NOW)["billingCycle"] == {
        "periodStartUnix": account.renewal - CYCLE_SECONDS,
        "periodEndUnix": account.renewal - 1,
        "appUsage": 5,
        "apiUsage": 20,
        "includedCredits": 100,
        "prepaidCredits": 50,
        "usedIncludedCredits": 25,
        "remainingIncludedCredits": 75,
        "stripeBillingSynced": True,
    }


def test_an_unsynced_billing_block_is_the_calendar_month(account):
    account.synced = False
    block = usage_answer(account, {"expand": "billing_cycle"}, NOW)["billingCycle"]
    assert (block["periodStartUnix"], block["periodEndUnix"]) == month_window(2025, 3)
    assert block["stripeBillingSynced"] is False


def test_a_period_by_its_start(account):
    """The top-level numbers and the block are those of the asked window."""
    start = account.renewal - 2 * CYCLE_SECONDS
    answer = usage_answer(account, {"periodStartUnix": str(start), "expand": "billing_cycle"}, NOW)
    assert (answer["app_usage"], answer["api_usage"]) == (0, 7)
    assert (answer["billingCycle"]["periodStartUnix"], answer["billingCycle"]["apiUsage"]) == (start, 7)


@pytest.mark.parametrize(
    "query",
    [
        {"periodStartUnix": "1", "year": "2025"},
        {"periodStartUnix": "1", "month": "2"},
        {"periodStartUnix": "soon"},
        {"year": "0"},
        {"year": "10000"},
        {"month": "13"},
        {"month": "May"},
    ],
    ids=str,
)
def test_wrong_queries_get_400(account, query):
    answer = usage_answer(account, query, NOW)
    assert isinstance(answer, Refusal)
    assert answer.status == 400


def test_the_list_of_cycles_ignores_everything_else(account):
    """Newest first, and nothing but the list."""
    answer = usage_answer(account, {"listBillingCycles": "1", "periodStartUnix": "soon", "year": "x"}, NOW)
    assert list(answer) == ["billingCycles"]
    starts = [cycle["periodStartUnix"] for cycle in answer["billingCycles"]]
    assert starts == sorted(starts, reverse=True)
    assert [cycle["apiUsage"] for cycle in answer["billingCycles"]][:2] == [20, 7]


def test_use_from_the_prepaid_balance_is_in_no_count():
    """Included credits go first; what is paid from the balance only lowers the balance."""
    account = Account(3, 5, int(NOW) + 1000)
    account.spend(5, NOW, "api")
    block = usage_answer(account, {"expand": "billing_cycle"}, NOW)["billingCycle"]
    assert (block["usedIncludedCredits"], block["remainingIncludedCredits"], block["prepaidCredits"]) == (3, 0, 3)


@pytest.mark.usefixtures("one_day")
def test_over_the_wire_it_follows_what_was_done(post):
    with Sandbox(credits=10, prepaid=4, membership="Premium-10") as sandbox:
        post(sandbox)
        sandbox.spend_elsewhere(3)
        answer = ask(sandbox, "?expand=billing_cycle").json()
        assert (answer["credits"], answer["api_usage"], answer["app_usage"]) == (10, 1, 3)
        block = answer["billingCycle"]
        assert block["remainingIncludedCredits"] + block["prepaidCredits"] == sandbox.credits_left == 10
        assert block["periodStartUnix"] <= time.time() <= block["periodEndUnix"]
        assert sandbox.usage_calls[-1].query == {"expand": "billing_cycle"}
        assert sandbox.usage_calls[-1].headers["x-api-key"] == "any"


def test_wrong_keys_over_the_wire(sandbox):
    assert ask(sandbox, key="invalid").status_code == 401
    assert ask(sandbox, key="unverified").status_code == 403
    assert ask(sandbox, key=None).json() == {"error": "invalid api key", "status": 401}
    assert ask(sandbox, "?periodStartUnix=1&year=2025").status_code == 400


def test_a_user_token_does_not_do_for_the_usage(sandbox):
    """The usage is asked for with the API key, and with nothing in its place or beside it."""
    for headers, status in (({"authorization": "Bearer t"}, 401), ({"x-api-key": "k", "authorization": "t"}, 400)):
        assert requests.get(sandbox.usage_url, headers=headers, timeout=60).status_code == status


def test_unsynced_can_be_switched_and_be_a_fault(sandbox):
    def synced():
        return ask(sandbox, "?expand=billing_cycle").json()["billingCycle"]["stripeBillingSynced"]

    assert synced() is True
    sandbox.next_usage("unsynced")
    assert (synced(), synced()) == (False, True)
    sandbox.set_synced(False)
    assert synced() is False
