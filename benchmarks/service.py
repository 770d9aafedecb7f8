"""Start the service of ``server.py`` as a process, over HTTP or TLS, and read its log."""

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
from benchmarks.server import WEBP_64

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.server import Answer

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
    """A certificate for the loopback, and certifi's bundle with the authority that issued it."""

    cert: Path
    key: Path
    bundle: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make an authority and a certificate issued by it."""
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
    """A running service; as a context manager it is ended at the end of the block."""

    def __init__(self, latency: float, certificates: Certificates | None = None, answer: Answer = WEBP_64) -> None:
        tls = ["--tls", str(certificates.cert), str(certificates.key)] if certificates else []
        self.certificates = certificates
        self.answer = answer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", "--latency", str(latency), "--answer", answer.name, *tls],
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
        """Return first byte, last byte and answer of each upload in nanoseconds, and the number of usage calls."""
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
