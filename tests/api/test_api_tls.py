"""TLS: who is believed, and by which bundle."""

from __future__ import annotations

import threading

import pytest
from api_raw_server import RawServer, picture

from rembg_watch.api.client import RembgClient
from rembg_watch.api.options import Options
from rembg_watch.api.verdict import About, Charge
from rembg_watch.errors import ImageRejected, ServiceDown

JPEG = picture("JPEG", (80, 60), "white")


def test_untrusted_tls(tls_server):
    """A certificate that nobody vouches for ends the request before the key is sent; it costs nothing."""
    with RembgClient("k", url=tls_server.url, usage_url=tls_server.url) as client, pytest.raises(ServiceDown) as caught:
        client.remove(JPEG)
    verdict = caught.value.verdict
    assert (verdict.about, verdict.code, verdict.charge) == (About.SERVICE, "tls", Charge.NOT_CHARGED)
    assert tls_server.requests == []


def test_tls_for_another_host(tls_server, certificate, monkeypatch):
    """A trusted certificate is no proof for a host that is not in it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    url = tls_server.url.replace("127.0.0.1", "127.1")  # the same address under another name
    with RembgClient("k", url=url, usage_url=url) as client, pytest.raises(ServiceDown) as caught:
        client.remove(JPEG)
    assert (caught.value.verdict.code, caught.value.verdict.charge) == ("tls", Charge.NOT_CHARGED)
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


def test_early_answer_over_tls(over_tls, certificate, monkeypatch):
    """What the server says before it hangs up on a photo that is still going out is read over TLS too."""

    def script(connection, number):
        connection.read_head()
        connection.answer(b"", status="413 Too Large")
        connection._file.read(1_000_000)  # so that the answer has arrived before the connection breaks

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    with RawServer(over_tls(script)) as server:
        url = server.url.replace("http:", "https:")
        with RembgClient("k", url=url, usage_url=url) as client, pytest.raises(ImageRejected) as caught:
            client.remove(JPEG + bytes(40_000_000))
    assert (caught.value.verdict.code, caught.value.verdict.charge) == ("too-big", Charge.NOT_CHARGED)
