"""Installing, what stands then, and taking it away again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from service import UNITS
from tools import BIN, ETC, HOME, check, must, run

FILES = (
    *(UNITS / name for name in ("rembg-watch.service", "rembg-watch@.service", "rembg-watch-failed@.service")),
    Path("/etc/sysusers.d/rembg-watch.conf"),
    Path("/etc/tmpfiles.d/rembg-watch.conf"),
)


def install(wheels: str) -> None:
    must("python3", "-m", "venv", HOME)
    must(
        *(HOME / "bin/pip", "install", "-q", "--no-index", "--disable-pip-version-check"),
        *("--find-links", wheels, "rembg-watch[sandbox]"),
        timeout=120,
    )
    said = run(BIN, "install", "--dry-run").stdout
    check("install --dry-run only says what it would do", "would: write" in said and not FILES[0].exists(), said)
    result = run(BIN, "install")
    check("install puts everything in place", result.returncode == 0 and all(map(Path.exists, FILES)), result)
    said = run(BIN, "install").stdout
    check("install again changes nothing", said.count("stands ") == 7 and "write" not in said, said)
    modes = [oct(Path(f"/srv/photos{end}").stat().st_mode & 0o7777) for end in ("", "/inbox", "/outbox")]
    acl = run("getfacl", "-cE", "/srv/photos/inbox").stdout
    shared = modes == ["0o2770"] * 3 and "default:group::rwx" in acl and "default:other::---" in acl
    check("the folders are the group's, by setgid bit and default ACL", shared, (modes, acl))
    groups = run("id", "-Gn", "rembg-watch").stdout.split()
    check("the service's user is made, without a shell, in the group photos", "photos" in groups, groups)
    config = (ETC / "config.yaml").stat()
    check("the first config is root's, and not everybody's to read", (config.st_uid, config.st_mode & 0o7) == (0, 0))


def units_are_clean() -> None:
    names = ["rembg-watch.service", "rembg-watch@shop.service", "rembg-watch-failed@x.service"]
    result = run("systemd-analyze", "verify", *names)
    check("systemd-analyze verify has nothing to say", (result.returncode, result.stderr) == (0, ""), result.stderr)
    for name in names[:2]:
        said = run("systemd-analyze", "security", "--no-pager", name).stdout
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        level = float(found[1]) if found else 10.0
        check(f"exposure of {name} is {level}: 1.2 or less", level <= 1.2, said)
    examples = next(HOME.glob("lib/python3*/site-packages/rembg_watch/units/examples"))
    Path("/home/anna/shop").mkdir(parents=True, exist_ok=True)
    folder = UNITS / "rembg-watch.service.d"
    folder.mkdir()
    for example in sorted(examples.glob("*.conf")):
        shutil.copy(example, folder)
        must("systemctl", "daemon-reload")
        result = run("systemd-analyze", "verify", "rembg-watch.service")
        check(f"the example {example.name} is valid", (result.returncode, result.stderr) == (0, ""), result.stderr)
        (folder / example.name).unlink()
    must("systemctl", "daemon-reload")


def take_away() -> None:
    result = run(BIN, "install", "--undo")
    gone = not any(map(Path.exists, FILES)) and not run("pgrep", "-f", "rembg-watch run").stdout
    check("install --undo ends and removes the services", result.returncode == 0 and gone, result)
    kept = (ETC / "config.yaml").exists() and Path("/var/lib/rembg-watch/jobs.db").exists()
    check("install --undo keeps config, key and what was paid for", kept and "Kept: " in result.stdout, result)
    for user in ("ftpuser", "anna"):
        run("gpasswd", "-d", user, "photos")
    for file in Path("/srv/photos").rglob("*"):
        if file.is_file():
            file.unlink()
    for folder in sorted(Path("/srv/photos").rglob("*/"), reverse=True):
        if folder.name not in {"inbox", "outbox"}:
            folder.rmdir()
    result = run(BIN, "install", "--undo", "--purge")
    left = [str(path) for path in _ours_anywhere()]
    check("install --undo --purge leaves nothing behind", result.returncode == 0 and not left, (left, result))
    users = run("getent", "passwd", "rembg-watch").stdout + run("getent", "group", "rembg-watch", "photos").stdout
    check("nor a user, nor a group", not users, users)
    units = run("systemctl", "list-units", "--all", "--no-legend", "rembg-watch*").stdout
    check("nor a unit that systemd remembers", not units.strip(), units)


def _ours_anywhere() -> list[Path]:
    found = []
    for top in ("/etc", "/run", "/srv", "/usr/lib/systemd", "/usr/local", "/var"):
        for folder, folders, files in os.walk(top):
            # systemd's own note of when a persistent journal or a credential was made is not ours.
            found += [Path(folder, name) for name in (*folders, *files) if "rembg-watch" in name]
    return [path for path in found if not path.is_relative_to("/run/log")] + list(Path("/srv").glob("photos"))
