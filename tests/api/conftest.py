"""A sandbox with a client for it, and what a server needs to speak TLS."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from api_raw_server import RawServer, picture

from rembg_watch.api import http
from rembg_watch.api.client import RembgClient
from rembg_watch.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _no_connection_is_old(monkeypatch):
    """A machine that stands still for some seconds makes no connection too old to be used again."""
    monkeypatch.setattr(http, "MAX_IDLE", 3600.0)


@pytest.fixture(scope="module")
def running():
    with Sandbox(credits=100_000) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.clear_faults()
    running.forget()
    return running


@pytest.fixture
def client(sandbox):
    with RembgClient("test-key-0123", url=sandbox.url, usage_url=sandbox.usage_url, read_timeout=60) as one:
        yield one


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def over_tls(certificate):
    """Let a script of bare sockets speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def wrapped(script):
        def run(connection, number):
            with context.wrap_socket(connection.socket, server_side=True) as secure:
                connection.socket = secure
                connection._file = secure.makefile("rb")
                script(connection, number)

        return run

    return wrapped


@pytest.fixture
def tls_server(over_tls):
    png = picture("PNG", (80, 60))

    def script(connection, number):
        while True:
            connection.read_request()
            connection.answer(png)

    with RawServer(over_tls(script)) as server:
        server.url = server.url.replace("http:", "https:")
        yield server
