"""The server's life: it starts, counts, goes down and comes back; and is steered from other processes."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from rembg_watch.sandbox import Sandbox


def test_what_was_sent_is_written_down(sandbox, post, photo):
    """Hash, name, size, fields and headers of each request, before its answer is out."""
    before = time.time()
    post(sandbox, name="été 1.jpg", format="png", w="20")
    noted = sandbox.requests[0]
    assert noted.sha256 == hashlib.sha256(photo).hexdigest()
    assert (noted.filename, noted.size, noted.status, noted.charged) == ("été 1.jpg", len(photo), 200, True)
    assert noted.fields == {"format": "png", "w": "20"}
    assert noted.headers["x-api-key"] == "any"
    assert before <= noted.at <= time.time()
    assert 0 < noted.seconds < 60
    with pytest.raises(dataclasses.FrozenInstanceError):
        noted.status = 1


def test_it_goes_down_and_comes_back_on_the_same_port(post):
    """Down means refused connections, and nobody else can take the port meanwhile; the account survives."""
    sandbox = Sandbox()
    with sandbox:
        port = sandbox.port
        post(sandbox)
    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            post(sandbox)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with sandbox:
            assert sandbox.port == port
            assert post(sandbox).status_code == 200
    assert sandbox.charged == 4
    sandbox.stop()


def test_it_leaves_no_thread_and_no_socket(post):
    """After the end all is as before, however often it ran, and with connections still open on the other side."""
    before = set(threading.enumerate())
    with requests.Session() as session:
        for _ in range(3):
            with Sandbox() as sandbox:
                assert session.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).status_code == 200
                post(sandbox)
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sandbox.port), timeout=60)


def test_what_is_in_flight_when_it_goes_down_is_cut_off_and_free(post, until):
    """As when a machine dies before it is done: the client gets an error soon, and nothing is charged."""
    sandbox = Sandbox(latency=3600).start()
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(post, sandbox) for _ in range(3)]
        until(lambda: sandbox.working == 3)
        sandbox.stop()
        for one in running:
            assert isinstance(one.exception(timeout=60), requests.ConnectionError)
    assert (sandbox.charged, sandbox.credits_left, sandbox.in_flight) == (0, 1000, 0)


@pytest.mark.parametrize("kind", ["stall", "stall-body", "endless", "slow"])
def test_it_goes_down_in_the_middle_of_any_fault(whole_request, until, kind):
    with Sandbox(slow_seconds=3600) as sandbox:
        sandbox.next(kind)
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
            raw.sendall(whole_request)
            until(lambda: bool(sandbox.requests))
            sandbox.stop()


def test_a_client_that_goes_away_in_mid_upload_is_not_charged(sandbox, until):
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
        raw.sendall(b"POST /rmbg HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: 1000\r\n\r\n--x")
        until(lambda: sandbox.in_flight == 1)
    until(lambda: sandbox.in_flight == 0)
    assert [(one.status, one.charged) for one in sandbox.requests] == [(0, False)]


def test_a_client_that_goes_away_while_it_waits_is_charged(whole_request, until):
    """The work was done: that is how an answer gets lost."""
    with Sandbox(latency=3600) as sandbox:
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=60) as raw:
            raw.sendall(whole_request)
            until(lambda: sandbox.working == 1)
        until(lambda: not sandbox._run._server.server_state.connections)
        sandbox.latency = 0
        until(lambda: sandbox.charged == 1)


def test_an_image_takes_at_least_its_latency(post):
    with Sandbox(latency=0.2) as sandbox:
        assert post(sandbox).status_code == 200
        assert sandbox.requests[0].seconds >= 0.2


def test_a_new_latency_counts_for_those_who_wait(post, until):
    """Eight images are worked on side by side, for an hour; when they need not wait any more, they are answered."""
    with Sandbox(latency=3600) as sandbox, ThreadPoolExecutor(8) as pool:
        running = [pool.submit(post, sandbox) for _ in range(8)]
        until(lambda: sandbox.working == 8)
        assert (sandbox.in_flight, sandbox.charged) == (8, 0)
        sandbox.set(retry_after=1)
        assert sandbox.working == 8, "another setting lets nobody go"
        sandbox.latency = 0
        assert {one.result(timeout=60).status_code for one in running} == {200}
        assert (sandbox.working, sandbox.charged) == (0, 8)


def test_usage_is_answered_while_images_wait(post, until):
    """The loop stays alive under work."""
    with Sandbox(latency=3600) as sandbox, ThreadPoolExecutor(4) as pool:
        running = [pool.submit(post, sandbox) for _ in range(4)]
        until(lambda: sandbox.working == 4)
        assert requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).status_code == 200
        sandbox.stop()
        assert all(one.exception(timeout=60) for one in running)


def test_a_session_keeps_its_connection(sandbox, photo):
    """Keep-alive works, so that a client's pooling can be counted."""
    with requests.Session() as session:
        for _ in range(5):
            session.post(sandbox.url, headers={"x-api-key": "k"}, files={"image": ("a.jpg", photo)}, timeout=60)
    assert sandbox.connections == 1


def test_a_taken_port_is_an_os_error(sandbox):
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=sandbox.port).start()


def test_it_listens_on_loopback_only(sandbox):
    """Nobody on the network can reach it: it is bound to 127.0.0.1."""
    assert sandbox.url.startswith("http://127.0.0.1:")
    assert sandbox._run._socket.getsockname()[0] == "127.0.0.1"


def test_on_request_is_called_for_each(post):
    seen = []
    with Sandbox(on_request=seen.append) as sandbox:
        post(sandbox)
        post(sandbox, w="abc")
        assert seen == sandbox.requests


def control(sandbox, path, **values):
    return requests.post(f"{sandbox.base_url}/_sandbox/{path}", json=values, timeout=60)


def test_another_process_can_look(sandbox, post):
    """State and lists as JSON, without the key that is set."""
    sandbox.set_key("secret")
    post(sandbox, headers={"x-api-key": "secret"})
    state = requests.get(sandbox.base_url + "/_sandbox/", timeout=60).json()
    assert (state["charged"], state["credits_left"], state["requests"], state["key"]) == (1, 999, 1, "set")
    assert {**state, "connections": 0} == {**sandbox.snapshot(), "connections": 0}
    listed = requests.get(sandbox.base_url + "/_sandbox/requests", timeout=60).json()
    assert listed[0]["sha256"] == sandbox.requests[0].sha256
    assert requests.get(sandbox.base_url + "/_sandbox/usage-calls", timeout=60).json() == []


def test_a_name_that_is_no_utf8_can_be_listed(sandbox, photo):
    """Bytes that are no text are spelt out, so that the log stays JSON."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="\xff.jpg"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    )
    headers = {"x-api-key": "k", "content-type": "multipart/form-data; boundary=x"}
    assert requests.post(sandbox.url, data=body, headers=headers, timeout=60).status_code == 200
    listed = requests.get(sandbox.base_url + "/_sandbox/requests", timeout=60).json()
    assert listed[0]["filename"] == "\\xff.jpg"


def test_another_process_can_steer(sandbox, post):
    assert control(sandbox, "set", latency=0.01, credits_left=5, out_of_credits="402").json()["credits_left"] == 5
    assert sandbox.latency == 0.01
    assert control(sandbox, "top-up", credits=3).json()["prepaid"] == 3
    assert control(sandbox, "spend-elsewhere", credits=6).json()["credits_left"] == 2
    control(sandbox, "next", kinds=["500"], usage=["503"])
    assert post(sandbox).status_code == 500
    assert requests.get(sandbox.usage_url, headers={"x-api-key": "k"}, timeout=60).status_code == 503
    control(sandbox, "set", faults={"503": 1})
    assert post(sandbox).status_code == 503
    control(sandbox, "set", faults={}, rate_limit=0.01)
    assert [post(sandbox).status_code for _ in range(2)] == [200, 429]
    assert control(sandbox, "renew").json()["credits_left"] == 6
    assert control(sandbox, "forget").json()["requests"] == 0


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("set", {"latencies": 1}),
        ("set", {"latency": -1}),
        ("set", {"latency": "slow"}),
        ("set", {"faults": {"599": 0.1}}),
        ("set", {"faults": {"500": 2}}),
        ("set", {"rate_limit": 0}),
        ("set", {"rate_limit": "x"}),
        ("set", {"credits_left": -1}),
        ("set", {"out_of_credits": "free"}),
        ("set", {"errors_as": "list"}),
        ("set", {"key": 5}),
        ("set", {"slow_seconds": None}),
        ("set", {"anonymous_per_day": "many"}),
        ("set", {"retry_after": []}),
        ("next", {"kinds": ["none such"]}),
        ("next", {"kinds": "500"}),
        ("top-up", {}),
        ("top-up", {"credits": True}),
    ],
    ids=str,
)
def test_wrong_steering_is_refused_and_changes_nothing(sandbox, post, path, values):
    before = {**sandbox.snapshot(), "connections": 1}
    answer = control(sandbox, path, **values)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sandbox.snapshot() == before
    assert post(sandbox).status_code == 200


def test_steering_needs_json(sandbox):
    for body in (b"{", b"[1]"):
        assert requests.post(sandbox.base_url + "/_sandbox/set", data=body, timeout=60).status_code == 400
