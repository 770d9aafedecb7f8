"""The usage call's numbers are looked at before they are believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_watch.api.usage import MOST, parse_cycles, parse_usage
from rembg_watch.api.verdict import About, Charge
from rembg_watch.errors import BadAnswer

CYCLE = {
    "periodStartUnix": 1740441600, "periodEndUnix": 1743033599, "appUsage": 4200, "apiUsage": 5100,
    "includedCredits": 18500, "prepaidCredits": 2000, "usedIncludedCredits": 9300, "remainingIncludedCredits": 9200,
    "stripeBillingSynced": True,
}  # fmt: skip
USAGE = {"membership": "Premium-20000", "credits": 18500, "prepaidCredits": 2000, "app_usage": 8500, "api_usage": 10000}


def parsed(**changes):
    cycle = changes.pop("cycle", CYCLE)
    body = {**USAGE, **changes}
    return parse_usage(json.dumps(body if cycle is None else {**body, "billingCycle": cycle}).encode())


def test_documented_example():
    """The documented example: available is what remains of the cycle's included credits, and the prepaid ones."""
    usage = parsed()
    assert usage.membership == "Premium-20000"
    assert usage.available == 9200 + 2000
    assert (usage.api_usage, usage.app_usage) == (5100, 4200)
    assert (usage.period_start, usage.period_end) == (1740441600, 1743033599)


def test_unsynced_and_absent_cycles():
    """Without a synced cycle the calendar month counts."""
    for cycle in (None, {**CYCLE, "stripeBillingSynced": False}):
        usage = parsed(cycle=cycle)
        assert usage.available == 0 + 2000
        assert usage.api_usage == 10000
    assert parsed(cycle=None, app_usage=0, api_usage=500).available == 18000 + 2000


def test_contradictions_give_the_smaller_number():
    """Where the service contradicts itself, no image more is permitted than the smaller number allows."""
    assert parsed(cycle={**CYCLE, "remainingIncludedCredits": 18500}).available == 9200 + 2000
    assert parsed(cycle={**CYCLE, "prepaidCredits": 9000}).available == 9200 + 2000
    assert parsed(prepaidCredits=0).available == 9200


@pytest.mark.parametrize(
    "value", [None, -1, "5", "", True, False, 1.5, float("nan"), float("inf"), 10**13, 10**30, [], {}, "NaN"]
)
@pytest.mark.parametrize("name", ["credits", "prepaidCredits", "app_usage", "api_usage"])
def test_nonsense_numbers(name, value):
    """Anything but a whole number from 0 to a trillion is nonsense: an error of the service that cost nothing."""
    with pytest.raises(BadAnswer) as caught:
        parsed(**{name: value})
    verdict = caught.value.verdict
    assert (verdict.about, verdict.code, verdict.charge) == (About.SERVICE, "nonsense", Charge.NOT_CHARGED)
    assert name in verdict.message


def test_whole_floats_are_numbers():
    """JSON has one kind of number: 18500.0 is 18500."""
    assert parsed(credits=18500.0).credits == 18500


@pytest.mark.parametrize("name", [name for name in CYCLE if name != "stripeBillingSynced"])
def test_nonsense_in_the_cycle(name):
    """The billing block is looked at as closely."""
    for value in (-1, "x", None):
        with pytest.raises(BadAnswer):
            parsed(cycle={**CYCLE, name: value})
    with pytest.raises(BadAnswer):
        parsed(cycle={**CYCLE, "periodEndUnix": 1})
    with pytest.raises(BadAnswer):
        parsed(cycle={**CYCLE, "stripeBillingSynced": "yes"})


def test_cycles():
    """The list comes newest first, whatever order it was sent in."""
    bare = {"periodStartUnix": 1, "periodEndUnix": 2, "appUsage": 3, "apiUsage": 4}
    body = json.dumps({"billingCycles": [bare, {**bare, "periodStartUnix": 5, "periodEndUnix": 6}]}).encode()
    cycles = parse_cycles(body)
    assert [c.period_start for c in cycles] == [5, 1]
    assert cycles[0].synced is None
    for nonsense in (b"", b"[]", b"{}", b'{"billingCycles": [1]}', b'{"billingCycles": {}}', b"\xff", b"[" * 100_000):
        with pytest.raises(BadAnswer):
            parse_cycles(nonsense)


numbers = st.integers(-5, 2 * MOST) | st.floats() | st.text(max_size=3) | st.none() | st.booleans()


@given(
    st.fixed_dictionaries({}, optional={name: numbers | st.integers(0, 50) for name in USAGE}),
    st.none() | st.fixed_dictionaries({}, optional={name: numbers | st.integers(0, 50) for name in CYCLE}) | numbers,
)
def test_never_anything_but_numbers_or_an_error(usage, cycle):
    """Whatever comes, the answer is a sane number or an ApiError, and never more than was said to be there."""
    body = json.dumps({**USAGE, **usage, "billingCycle": cycle}).encode()
    try:
        result = parse_usage(body)
    except BadAnswer:
        return
    assert 0 <= result.available <= 2 * MOST
    assert result.api_usage >= 0


@given(st.binary(max_size=60))
def test_any_bytes(body):
    """Bytes of any kind are an error of the service."""
    with pytest.raises(BadAnswer):
        parse_usage(body)
