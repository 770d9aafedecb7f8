"""The vendor's own client, the real npm package, unchanged but for the address it talks to.

Its address is a literal in its code, so an axios interceptor, loaded before it, turns requests for that address to the
sandbox. The package's own files are untouched.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from PIL import Image

PACKAGE, VERSION = "@remove-background-ai/rembg.js", "1.3.1"

REDIRECT = """
const axios = require(require.resolve('axios', {paths: [process.env.REMBG_PACKAGE]}));
axios.interceptors.request.use((config) => {
  if (config.url !== 'https://api.rembg.com/rmbg') throw new Error('unexpected address ' + config.url);
  config.url = process.env.REMBG_URL;
  config.proxy = false;
  return config;
});
"""

RUN = """
const fs = require('fs');
const {rembg} = require(process.env.REMBG_PACKAGE);
const job = JSON.parse(fs.readFileSync(0, 'utf8'));
const input = job.how === 'path' ? job.path
  : job.how === 'buffer' ? fs.readFileSync(job.path)
  : {base64: (job.how === 'data' ? 'data:image/jpeg;base64,' : '') + fs.readFileSync(job.path).toString('base64')};
// Its axios leaves the connection of a buffer's upload open, which would keep this process alive: hence the exit.
const tell = (what) => process.stdout.write(JSON.stringify(what) + '\\n', () => process.exit(0));
const seen = {up: 0, down: 0};
rembg({apiKey: job.key, inputImage: input, options: job.options,
       onUploadProgress: (e) => { seen.up = e.loaded; }, onDownloadProgress: (e) => { seen.down = e.loaded; }})
  .then((result) => {
    if (result.outputImagePath) {
      const bytes = fs.readFileSync(result.outputImagePath);
      result.cleanup();
      tell({bytes: bytes.toString('base64'), name: result.outputImagePath, seen});
    } else tell({base64: result.base64Image, seen});
  })
  .catch((error) => tell({error: error.message}));
"""


@pytest.fixture(scope="session")
def npm_package():
    """Install the package once for this user, outside of the checkout."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("Node.js or npm is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rembg-watch-tests"
    home = cache / f"rembg.js-{VERSION}"
    package = home / "node_modules" / PACKAGE
    if not package.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as fresh:
            words = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", fresh]
            try:
                done = subprocess.run(
                    [*words, f"{PACKAGE}@{VERSION}"], capture_output=True, text=True, timeout=60, check=False
                )
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm does not come to an end with {PACKAGE}")
            if done.returncode:
                pytest.skip(f"npm can't install {PACKAGE}: {done.stderr[-300:]}")
            try:
                Path(fresh).rename(home)
            except OSError:  # another run was first
                assert package.exists()
            else:
                Path(fresh).mkdir()
    return package


@pytest.fixture
def rembg(npm_package, tmp_path, sandbox, draw):
    """Run the vendor's client on a drawn JPEG and give what it gave."""
    (tmp_path / "redirect.js").write_text(REDIRECT)
    (tmp_path / "run.js").write_text(RUN)
    photo = tmp_path / "shoe.jpg"
    photo.write_bytes(draw())

    def _rembg(how="buffer", key="any", **options):
        done = subprocess.run(
            ["node", "--require", tmp_path / "redirect.js", tmp_path / "run.js"],
            input=json.dumps({"how": how, "key": key, "path": str(photo), "options": options}),
            env={**os.environ, "REMBG_URL": sandbox.url, "REMBG_PACKAGE": str(npm_package), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return _rembg


def opened(result, tmp_path):
    path = tmp_path / "result"
    path.write_bytes(base64.b64decode(result["bytes"]))
    picture = Image.open(path)
    picture.load()
    return picture


@pytest.mark.parametrize("how", ["path", "buffer", "base64", "data"])
def test_every_kind_of_input(rembg, sandbox, tmp_path, how):
    """Path, buffer, and base64 with and without prefix; the last three are called image.png though they are JPEG."""
    result = rembg(how)
    picture = opened(result, tmp_path)
    assert (picture.format, picture.size) == ("WEBP", (240, 180))
    assert picture.getpixel((2, 2))[3] == 0
    noted = sandbox.requests[-1]
    assert noted.filename == ("shoe.jpg" if how == "path" else "image.png")
    assert noted.fields == {"exact_resize": "false", "w": "0", "h": "0", "mask": "false", "return_base64": "false",
                            "expand": "true"}  # fmt: skip
    assert result["seen"]["up"] >= noted.size
    assert result["seen"]["down"] > 0


def test_base64_out(rembg):
    """It asks for base64, gets raw bytes, and encodes them itself."""
    result = rembg(returnBase64=True, format="png")
    head, _, text = result["base64"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(text).startswith(b"\x89PNG")


def test_every_option_at_once(rembg, sandbox, tmp_path):
    """Upper-case format, a colour by its name, both sides, an angle without room."""
    options = {
        "format": "PNG",
        "bg_color": "red",
        "w": 100,
        "h": 60,
        "exact_resize": True,
        "angle": 90,
        "expand": False,
    }
    picture = opened(rembg(**options), tmp_path).convert("RGB")
    assert picture.size == (100, 60)
    assert picture.getpixel((50, 2)) == (255, 0, 0)
    assert sandbox.requests[-1].fields["format"] == "PNG"


def test_mask(rembg, tmp_path):
    picture = opened(rembg(returnMask=True, format="PNG"), tmp_path)
    assert (picture.mode, picture.getpixel((2, 2)), picture.getpixel((120, 90))) == ("L", 0, 255)


def test_errors_reach_its_caller(rembg, sandbox):
    """Status and text are in the message of the error that it throws."""
    assert rembg(key="invalid")["error"] == '❌ 401 {"error":"invalid api key","status":401}'
    assert "'w' must be at most 10000, got: 20000" in rembg(w=20000)["error"]
    sandbox.set_credits(0)
    assert "You've reached your monthly limit. Consider purchasing more credits." in rembg()["error"]
