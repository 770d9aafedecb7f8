"""What goes wrong on purpose, as seen by a real client on a real socket; and who pays for it."""

from __future__ import annotations

import io
import socket
import zlib

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_watch.sandbox import FAULTS, USAGE_FAULTS, Sandbox, UnknownFault
from rembg_watch.sandbox.faults import FaultPlan

PLAIN = [fault for fault in FAULTS.values() if fault.status not in (0, 200)]


@pytest.mark.parametrize("fault", PLAIN, ids=[fault.kind for fault in PLAIN])
def test_faults_with_a_status(sandbox, post, fault):
    """The client sees the status; the log names the fault; it is charged as the table says; the next one is fine."""
    sandbox.next(fault.kind)
    answer = post(sandbox)
    assert answer.status_code == fault.status
    noted = sandbox.requests[-1]
    assert (noted.status, noted.fault, noted.charged) == (fault.status, fault.kind, fault.charges)
    assert sandbox.charged == fault.charges
    assert post(sandbox).status_code == 200


BREAKING = ["reset-before", "reset-after", "truncate"]


@pytest.mark.parametrize("kind", BREAKING)
def test_faults_that_break_the_connection(sandbox, post, kind):
    sandbox.next(kind)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        post(sandbox)
    assert sandbox.requests[-1].fault == kind
    assert sandbox.charged == FAULTS[kind].charges
    assert post(sandbox).status_code == 200


def test_reset_before_reads_no_body(sandbox):
    """The reset comes while the body is still unsent, and is a reset, not a quiet end."""
    sandbox.next("reset-before")
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
        raw.sendall(b"POST /rmbg HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: 1000000\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    assert sandbox.requests[-1].sha256 == ""


def test_413_early_answers_before_the_body(sandbox):
    sandbox.next("413-early")
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
        raw.sendall(b"POST /rmbg HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: 1000000\r\n\r\n")
        assert raw.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("kind", ["stall", "stall-charged", "stall-body"])
def test_stalls_last_until_the_client_has_had_enough(sandbox, whole_request, until, kind):
    """Nothing (more) comes; it counts as in flight until the client is gone."""
    sandbox.next(kind)
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
        raw.sendall(whole_request)
        until(lambda: bool(sandbox.requests))
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            b"".join(iter(lambda: raw.recv(65536), b""))
        assert sandbox.in_flight == 1
    until(lambda: sandbox.in_flight == 0)
    assert sandbox.charged == FAULTS[kind].charges


def test_short_is_a_whole_answer_with_half_a_picture(sandbox, post):
    sandbox.next("short")
    answer = post(sandbox, format="png")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(answer.content)).load()


@pytest.mark.parametrize(("kind", "starts"), [("html", b"<!doctype html>"), ("json200", b"{"), ("empty", b"")])
def test_200_without_a_picture(sandbox, post, kind, starts):
    sandbox.next(kind)
    answer = post(sandbox)
    assert answer.status_code == 200
    assert answer.content.startswith(starts)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(answer.content))


def test_garbage_is_no_picture(sandbox, post):
    sandbox.next("garbage")
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(post(sandbox).content))
    assert sandbox.charged == 1


def test_slow_comes_whole_in_its_time(post, picture_of):
    with Sandbox(slow_seconds=0.3) as sandbox:
        sandbox.next("slow")
        answer = post(sandbox)
        assert picture_of(answer).size == (240, 180)


def test_endless_does_not_end_by_itself(sandbox, photo, until):
    """It begins as a picture and outlasts any limit; it ends when the client hangs up."""
    sandbox.next("endless")
    with requests.post(
        sandbox.url, headers={"x-api-key": "k"}, files={"image": ("a.jpg", photo)}, stream=True, timeout=60
    ) as answer:
        read = 0
        for chunk in answer.iter_content(1 << 20):
            read += len(chunk)
            if read > 20 << 20:
                break
    assert read > 20 << 20
    until(lambda: sandbox.in_flight == 0)


def test_wrong_length_says_half_of_what_it_sends(sandbox, whole_request):
    sandbox.next("wrong-length")
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
        raw.sendall(whole_request)
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    answer_head, _, content = received.partition(b"\r\n\r\n")
    length = int(answer_head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(content) // 2 == length


def test_gzip_bomb_unpacks_to_a_thousand_times_its_size(sandbox, photo):
    sandbox.next("gzip-bomb")
    with requests.post(
        sandbox.url, headers={"x-api-key": "k"}, files={"image": ("a.jpg", photo)}, stream=True, timeout=60
    ) as answer:
        packed = answer.raw.read(decode_content=False)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(packed) < 2_000_000
    unpacker = zlib.decompressobj(31)
    one = len(unpacker.decompress(packed))
    members = len(packed) / (len(packed) - len(unpacker.unused_data))
    assert one * members > 1_000_000_000


def test_redirect_is_noticed_when_followed(sandbox, post, photo):
    """The sandbox tells whether a client carried its key to another address."""
    sandbox.next("redirect", "redirect")
    answer = post(sandbox)
    assert answer.status_code == 307
    assert answer.headers["location"] == sandbox.base_url + "/_sandbox/elsewhere"
    assert sandbox.elsewhere == []
    requests.post(sandbox.url, headers={"x-api-key": "secret"}, files={"image": ("a.jpg", photo)}, timeout=60)
    assert sandbox.elsewhere[0]["x-api-key"] == "secret"


def test_redirect_to_another_host(post):
    with Sandbox(redirect_to="http://192.0.2.1/rmbg") as sandbox:
        sandbox.next("redirect")
        assert post(sandbox).headers["location"] == "http://192.0.2.1/rmbg"


def test_pictures_that_are_not_what_was_asked_for(sandbox, post, picture_of, draw):
    sandbox.next("wrong-format", "wrong-size", "shrunk")
    big = draw((1000, 500))
    assert picture_of(post(sandbox, big, format="png")).format == "WEBP"
    assert picture_of(post(sandbox, big)).size == (500, 250)
    assert picture_of(post(sandbox, big)).size == (460, 230)
    assert [one.charged for one in sandbox.requests] == [True, True, False]


def test_a_forced_fault_waits_for_a_request_that_is_not_refused(sandbox, post):
    """A refused request does not use up a fault of the answer."""
    sandbox.next("empty")
    assert post(sandbox, w="abc").status_code == 400
    assert sandbox.requests[-1].fault is None
    assert post(sandbox).content == b""


def test_odds_over_many_requests(post):
    """About as many faults as the odds say, the same ones for the same seed."""

    def kinds():
        with Sandbox(faults={"500": 0.3, "429": 0.2}, seed=7) as sandbox:
            for _ in range(60):
                post(sandbox)
            return [one.fault for one in sandbox.requests]

    first = kinds()
    assert first == kinds()
    assert 8 <= first.count("500") <= 30
    assert 4 <= first.count("429") <= 22
    assert set(first) == {None, "500", "429"}


@given(odds=st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 1), max_size=4), seed=st.integers())
def test_only_faults_with_odds_are_drawn(odds, seed):
    """Odds that add up to more than one are refused; nothing else than the named kinds comes."""
    if sum(odds.values()) > 1 + 1e-9:
        with pytest.raises(ValueError, match="add up"):
            FaultPlan(FAULTS, odds, seed)
        return
    plan = FaultPlan(FAULTS, odds, seed)
    drawn = [plan.draw() for _ in range(20)]
    assert all(fault is None or odds[fault.kind] > 0 for fault, _ in drawn)
    plan.force("500", "empty")
    assert [plan.draw()[0].kind for _ in range(2)] == ["500", "empty"]


def test_unknown_kinds_are_named_with_what_was_meant():
    with pytest.raises(UnknownFault, match=r"did you mean 'truncate'.*there are: 500, "):
        Sandbox(faults={"trucate": 0.1})
    with pytest.raises(UnknownFault):
        Sandbox().next("no")
    with pytest.raises(UnknownFault):
        Sandbox().next_usage("reset-after")
    with pytest.raises(ValueError, match=r"must be 0\.\.1"):
        Sandbox(faults={"500": 2})
    with pytest.raises(ValueError, match="latency"):
        Sandbox(latency=-1)


USAGE_STATUS = [fault for fault in USAGE_FAULTS.values() if fault.status not in (0, 200)]


@pytest.mark.parametrize("fault", USAGE_STATUS, ids=[fault.kind for fault in USAGE_STATUS])
def test_usage_faults_with_a_status(sandbox, fault):
    sandbox.next_usage(fault.kind)
    answer = requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60, allow_redirects=False)
    assert answer.status_code == fault.status
    assert (sandbox.usage_calls[-1].status, sandbox.usage_calls[-1].fault) == (fault.status, fault.kind)


@pytest.mark.parametrize(("kind", "timeout"), [("reset", 60), ("stall", 0.5), ("truncate", 60), ("stall-body", 0.5)])
def test_usage_faults_without_an_answer(sandbox, until, kind, timeout):
    sandbox.next_usage(kind)
    with pytest.raises(requests.RequestException):
        requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=timeout)
    until(lambda: bool(sandbox.usage_calls))
    assert sandbox.usage_calls[-1].fault == kind


@pytest.mark.parametrize("kind", ["html", "garbage", "empty", "short"])
def test_usage_answers_that_are_no_json(sandbox, kind):
    sandbox.next_usage(kind)
    with pytest.raises(ValueError):
        requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).json()


def test_usage_answers_that_are_nonsense(sandbox):
    sandbox.next_usage("nonsense", "list", "slow")
    answers = [requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).json() for _ in range(3)]
    assert answers[0]["credits"] == "plenty"
    assert answers[1] == [1, 2, 3]
    assert answers[2]["credits"] == 1000


def test_usage_odds(sandbox):
    sandbox.set_usage_faults({"500": 1.0})
    assert requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).status_code == 500
    sandbox.clear_faults()
    assert requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).status_code == 200
