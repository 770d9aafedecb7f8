"""The RemBG.com API on loopback: for the demo, for tests, and for a dry run of one's own set-up.

Needs the extra ``sandbox`` (Starlette, uvicorn, python-multipart). Knows nothing of the client that it tests.
"""

from rembg_watch.sandbox.faults import FAULTS, USAGE_FAULTS, Fault, UnknownFault
from rembg_watch.sandbox.server import Sandbox
from rembg_watch.sandbox.state import Received, UsageCall

__all__ = ["FAULTS", "USAGE_FAULTS", "Fault", "Received", "Sandbox", "UnknownFault", "UsageCall"]
