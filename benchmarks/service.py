"""The service's process, seen from the suite: started with a latency, over HTTP or TLS, and asked for its log."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import certifi

from benchmarks.processes import end

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
_OPENSSL = """
[req]
distinguished_name = name
prompt = no
[name]
CN = rembg-watch benchmark
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificates:
    """A certificate for the loopback, and a bundle of authorities as large as a real one that has its own in it."""

    cert: Path
    key: Path
    bundle: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make an authority of our own, and a certificate by it."""
        folder.mkdir(parents=True, exist_ok=True)
        settings, authority, authority_key = folder / "openssl.cnf", folder / "ca.pem", folder / "ca.key"
        cert, key, request, bundle = (folder / name for name in ("cert.pem", "key.pem", "request.pem", "bundle.pem"))
        settings.write_text(_OPENSSL)
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", settings]
        for command in (
            ["req", "-x509", *curve, "-extensions", "ca", "-days", "2", "-keyout", authority_key, "-out", authority],
            ["req", *curve, "-keyout", key, "-out", request],
            [
                *("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial"),
                *("-days", "2", "-extfile", settings, "-extensions", "leaf", "-out", cert),
            ],
        ):
            subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
        bundle.write_text(Path(certifi.where()).read_text() + authority.read_text())
        return cls(cert, key, bundle)


class Service:
    """A running service. As a context manager it ends at the end of the block."""

    def __init__(self, latency: float, certificates: Certificates | None = None) -> None:
        tls = ["--tls", str(certificates.cert), str(certificates.key)] if certificates else []
        self.certificates = certificates
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", "--latency", str(latency), *tls],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def base(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.base}/rmbg"

    def log(self) -> tuple[list[tuple[int, int, int]], int]:
        """Give first byte, last byte and answer of each upload in monotonic nanoseconds, and the usage calls."""
        if self.certificates:
            context = ssl.create_default_context(cafile=str(self.certificates.bundle))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", "/_log")
            log = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [(first, last, answer) for first, last, answer in log["uploads"]], log["usage_calls"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)
