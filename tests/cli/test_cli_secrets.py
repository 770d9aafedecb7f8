"""What no command lets out."""

from __future__ import annotations

import subprocess
import sys

LIMITS = """
import resource
from rembg_watch.cli import main
try:
    main(["--version"])
except SystemExit:
    print(resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_no_command_leaves_a_core_dump():
    """A crash of the interpreter writes no core file, as the key would be in it; under a service or not."""
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "(0, 0)"
