"""TLS: who is believed, and by which bundle."""

from __future__ import annotations

import threading

import pytest
from api_raw_server import picture

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.verdict import About, Charge
from rembg_watch.errors import ServiceDown

JPEG = picture("JPEG", (80, 60), "white")


def test_untrusted_tls(tls_server):
    """A certificate that nobody vouches for ends the request before the key is sent; it costs nothing."""
    with RembgClient("k", url=tls_server.url, usage_url=tls_server.url) as client, pytest.raises(ServiceDown) as caught:
        client.remove(JPEG)
    verdict = caught.value.verdict
    assert (verdict.about, verdict.code, verdict.charge) == (About.SERVICE, "tls", Charge.NOT_CHARGED)
    assert tls_server.requests == []


def test_tls_with_the_bundle_of_the_environment(tls_server, certificate, monkeypatch):
    """The CA bundle that the environment names is read once, when the client is made; large photos go through TLS."""
    bundle = certificate / "bundle.pem"
    bundle.write_bytes((certificate / "cert.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with RembgClient("k", url=tls_server.url, usage_url=tls_server.url) as client:
        bundle.unlink()
        for extra in (0, 3_000_000):
            client.remove(JPEG + bytes(extra), Options(format="png")).cleanup()
        assert tls_server.connections == 1
        threads = [
            threading.Thread(target=lambda: client.remove(JPEG, Options(format="png")).cleanup()) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(tls_server.requests) == 6
    with pytest.raises(ServiceDown, match="CA bundle"):
        RembgClient("k", url=tls_server.url, usage_url=tls_server.url)
