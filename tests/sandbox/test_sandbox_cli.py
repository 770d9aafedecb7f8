"""``rembg-watch sandbox`` as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
import requests
import yaml

from rembg_watch.cli.sandbox import line
from rembg_watch.sandbox import FAULTS, Received

COMMAND = [sys.executable, "-m", "rembg_watch", "sandbox"]


def run(*words):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_ends_cleanly(photo, number):
    """It prints where it is, logs each request, and leaves with 0 on either signal."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--credits", "7", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            told = json.loads(process.stdout.readline())
            answer = requests.post(
                told["url"], headers={"x-api-key": "k"}, files={"image": ("a.jpg", photo)}, timeout=60
            )
            assert answer.status_code == 200
            assert requests.get(told["usage_url"], headers={"x-api-key": "k"}, timeout=60).json()["api_usage"] == 1
        finally:
            process.send_signal(number)
            _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    noted = json.loads(log)
    assert (noted["status"], noted["filename"], noted["credits_left"]) == (200, "a.jpg", 6)


def test_it_prints_the_config_to_use(photo):
    """The lines under ``api:`` are YAML that can be copied as it is; the log has one line a request."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--fault", "500:1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            text = ""
            while "Ctrl+C" not in text:
                text += process.stdout.readline()
            config = yaml.safe_load(text[text.index("api:") : text.index("Ctrl+C")])["api"]
            assert set(config) == {"key", "url", "usage_url"}
            answer = requests.post(
                config["url"], headers={"x-api-key": config["key"]}, files={"image": ("a.jpg", photo)}, timeout=60
            )
            assert answer.status_code == 500
        finally:
            process.terminate()
            _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"\b500  a\.jpg .*free .*fault: 500", log)
    assert len(log.splitlines()) == 1


def test_an_unknown_fault_is_wrong_usage():
    """Exit 2, with all kinds and the one that was probably meant."""
    done = run("--fault", "stal:0.1")
    assert done.returncode == 2
    assert "did you mean 'stall'?" in done.stderr
    words = " ".join(done.stderr.split())
    assert all(kind in words for kind in FAULTS)


def test_the_help_names_every_fault():
    """Nobody has to guess a kind first to be told which there are."""
    assert set(FAULTS) <= set(run("--help").stdout.partition("Kinds of faults")[2].split())


@pytest.mark.parametrize("fault", ["500", "500:often", ":0.5", "500:2", "500:-1"])
def test_a_fault_needs_its_odds(fault):
    done = run("--fault", fault)
    assert done.returncode == 2
    assert "--fault" in done.stderr


def test_a_taken_port_says_what_to_do(sandbox):
    done = run("--port", str(sandbox.port))
    assert done.returncode == 73
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "python_multipart"])
def test_without_the_extra_it_says_what_to_install(missing):
    """A server install has no web server in it; the command says how to get one."""
    program = f"import sys; sys.modules['{missing}'] = None; from rembg_watch.cli import main; main(['sandbox'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert missing in done.stderr
    assert "pip install 'rembg-watch[sandbox]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hostile_name_does_not_reach_the_terminal():
    """Escapes and line breaks in a name are spelt out."""
    noted = Received(0, 200, None, True, "", "a\x1b[2J\n\u202eb.jpg", 10, {"w": "\x1b[1m"}, 0.1, {}, "\x07")
    text = line(noted, 5)
    assert text.isprintable()
    assert r"a\x1b[2J\n\u202eb.jpg" in text


@pytest.mark.parametrize("option", ["--latency", "--rate-limit"])
def test_what_is_no_number_is_told_of_its_own_option(option):
    """A nan is in no range, and is not laid at the door of another option."""
    done = run(option, "nan")
    assert done.returncode == 2
    assert f"Invalid value for {option}" in done.stderr
