"""Photos of other users, reloads, what the sandbox of the service forbids, folders that come and go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import service
import shop
from tools import BIN, ETC, HOME, check, must, run, until


def shared_folders() -> None:
    mine = shop.photos(2)
    as_ftp = ("runuser", "-u", "ftpuser", "--")
    must(*as_ftp, "mkdir", "/srv/photos/inbox/shoes")
    shop.drop(mine[:1], shop.FOLDERS[0], "ftpuser")
    shop.drop(mine[1:], shop.FOLDERS[0] + "/shoes", "ftpuser")
    check("a file that an FTP user drops becomes a result", until(lambda: shop.delivered(mine)), service.status())
    result = next(Path("/srv/photos/outbox/shoes").iterdir())
    moved = run(*as_ftp, "mv", result, "/home/ftpuser/")
    check("who can move it", moved.returncode == 0, moved)
    removed = run(*as_ftp, "rm", "-r", "/srv/photos/outbox/shoes", *Path(shop.FOLDERS[1]).glob("photo*"))
    check("and delete it, with the folder that was made for it", removed.returncode == 0, removed)
    other = run("runuser", "-u", "outsider", "--", "ls", shop.FOLDERS[1])
    check("others can't even look", other.returncode != 0, other)


def forbidden_things() -> None:
    inbox = Path(shop.FOLDERS[0])
    (inbox / "evil").write_text("#!/bin/sh\ntrue\n")
    (inbox / "evil").chmod(0o755)
    library = next(HOME.glob("lib/python3*/site-packages/blake3/*.so"))
    (inbox / "evil.so").write_bytes(library.read_bytes())
    (inbox / "evil.so").chmod(0o755)
    probe = Path("/usr/local/lib/probe.py")
    probe.write_text((Path(__file__).parent / "probe.py").read_text())
    service.drop_in("rembg-watch", "60-probe", f"[Service]\nExecStartPost={HOME}/bin/python -B {probe}\n")
    service.stop()
    result = service.start()
    answers = json.loads(Path("/srv/photos/probe.json").read_text()) if not result.returncode else {}
    must_work = (
        "move and link between inbox and outbox",
        "decode pictures and load TLS",
        "make folders that the group shares",
        "resolve a name",
    )
    check("the sandbox was probed", answers, (result, service.journal("rembg-watch", "--since", "-10s")[-1500:]))
    for what, could in answers.items():
        wanted = what in must_work
        check(f"in the service's sandbox one {'can' if wanted else 'can not'} {what}", could == wanted)
    service.drop_in("rembg-watch", "60-probe", None)
    for name in ("evil", "evil.so", "../probe.json"):
        (inbox / name).unlink()


def reloads() -> None:
    number = service.pid()
    for name in ("inbox2", "outbox2"):
        must("runuser", "-u", "ftpuser", "--", "mkdir", "-m", "2770", f"/srv/photos/{name}")
    shop.config("config", shop.FOLDERS, ("/srv/photos/inbox2", "/srv/photos/outbox2"))
    must("systemctl", "log-level", "debug")
    result = run("systemctl", "reload", "rembg-watch")
    mine = shop.photos(1)
    shop.drop(mine, "/srv/photos/inbox2")
    works = until(lambda: shop.delivered(mine, "/srv/photos/outbox2"))
    check(
        "a reload takes over a new folder, in the same process",
        works and service.pid() == number,
        (result, service.status()),
    )
    must("systemctl", "log-level", "info")
    said = must("journalctl", "--no-pager", "-o", "cat", "--since", "-240s", "_PID=1")
    steps = [said.rfind(word) for word in ("(RELOADING=1", "(READY=1", "Changed reload -> running")]
    check(
        "systemd hears when the reload begins and ends", steps == sorted(steps) and steps[0] >= 0, (steps, said[-3000:])
    )
    good = (ETC / "config.yaml").read_text()
    (ETC / "config.yaml").write_text(good.replace("workers", "wrokers"))
    result = run("systemctl", "reload", "rembg-watch")
    said = service.journal("rembg-watch", "--since", "-30s")
    check("a reload of a bad config fails, with the mistake", result.returncode and "wrokers" in said, result)
    check("and the service goes on", (service.pid(), service.show("ActiveState")) == (number, "active"))
    must("systemctl", "kill", "-s", "HUP", "rembg-watch")
    refused = until(lambda: service.status().startswith("new config refused: /etc/rembg-watch/config.yaml:"))
    check("a plain HUP with a bad config: the status line says that it was refused", refused, service.status())
    mine = shop.photos(1)
    shop.drop(mine, "/srv/photos/inbox2")
    check("the config before goes on", until(lambda: shop.delivered(mine, "/srv/photos/outbox2")), service.status())
    shop.config("config", shop.FOLDERS)
    result = run("systemctl", "reload", "rembg-watch")
    well = until(lambda: "refused" not in service.status())
    check(
        "a corrected one is taken over", result.returncode == 0 and well and service.pid() == number, service.status()
    )


def folders_come_and_go() -> None:
    nas = Path("/srv/nas")
    nas.mkdir()
    shop.config("config", ("/srv/nas/inbox", "/srv/photos/outbox"))
    service.stop()
    result = service.start()
    check("a missing inbox: it starts, degraded", result.returncode == 0 and service.pid() > 0, result)
    check(
        "and the status line says so",
        until(lambda: "/srv/nas/inbox is missing" in service.status()),
        service.status(),
    )
    said = run(BIN, "status", env={**os.environ, "STATE_DIRECTORY": "/var/lib/rembg-watch"}).stdout
    check("and so does rembg-watch status", "missing" in said, said)
    for time_ in ("late", "again"):
        must("mount", "-t", "tmpfs", "tmpfs", nas)
        must("install", "-d", "-m", "2770", "-o", "ftpuser", "-g", "photos", nas / "inbox")
        mine = shop.photos(1)
        shop.drop(mine, "/srv/nas/inbox")
        check(f"mounted {time_}: the photo in it is taken", until(lambda m=mine: shop.delivered(m)), service.status())
        must("umount", nas)
        gone = until(lambda: "/srv/nas/inbox is" in service.status())
        check(
            f"unmounted after it was mounted {time_}: it is said, and nothing ends",
            gone and service.pid() > 0,
            service.status(),
        )
    nas.rmdir()
    shop.config("config", shop.FOLDERS)
    must("systemctl", "reload", "rembg-watch")


def separate_mounts() -> None:
    """Each folder a path of ReadWritePaths of its own: renames between them fail, though the disk is one."""
    folders = " ".join(f"/srv/photos/{name}" for name in ("inbox", "outbox", "originals"))
    must("runuser", "-u", "ftpuser", "--", "mkdir", "-m", "2770", "/srv/photos/originals")
    service.drop_in("rembg-watch", "70-apart", f"[Service]\nReadWritePaths=\nReadWritePaths={folders}\n")
    file = shop.config("config", shop.FOLDERS)
    value = json.loads(file.read_text())
    value["folders"][0] |= {"on_success": "archive", "archive": "/srv/photos/originals"}
    file.write_text(json.dumps(value))
    service.stop()
    service.start()
    mine = shop.photos(2)
    shop.drop(mine, shop.FOLDERS[0])
    names, originals = {file.stem for file in mine}, "/srv/photos/originals"
    done = until(lambda: shop.delivered(mine) and not names & shop.results_in(shop.FOLDERS[0]))
    check(
        "with a writable path for each folder photos are archived all the same",
        done and shop.delivered(mine, originals),
        (shop.results_in(originals), service.status()),
    )
    service.drop_in("rembg-watch", "70-apart", None)
    shop.config("config", shop.FOLDERS)
    service.stop()
    service.start()


def two_instances() -> None:
    for name in ("red", "blue"):
        for folder in ("in", "out"):
            must("runuser", "-u", "ftpuser", "--", "mkdir", "-p", "-m", "2770", f"/srv/photos/{name}-{folder}")
        shop.config(name, (f"/srv/photos/{name}-in", f"/srv/photos/{name}-out"))
        (ETC / f"{name}.key").write_text((ETC / "key").read_text())
        (ETC / f"{name}.key").chmod(0o600)
        service.start(f"rembg-watch@{name}")
    mine = shop.photos(2)
    shop.drop(mine[:1], "/srv/photos/red-in")
    shop.drop(mine[1:], "/srv/photos/blue-in")
    red = until(lambda: shop.delivered(mine[:1], "/srv/photos/red-out"))
    blue = until(lambda: shop.delivered(mine[1:], "/srv/photos/blue-out"))
    check("two instances work side by side, beside the main one", red and blue and service.pid() > 0)
    service.stop("rembg-watch@red")
    states = [service.show("ActiveState", f"rembg-watch@{name}") for name in ("red", "blue")]
    check("one of them is stopped, the other goes on", states == ["inactive", "active"], states)
    service.stop("rembg-watch@blue")


def examples_work() -> None:
    folder = next(HOME.glob("lib/python3*/site-packages/rembg_watch/units/examples"))

    def with_example(name: str) -> None:
        service.stop()
        service.drop_in("rembg-watch", "70-example", (folder / name).read_text())
        check(
            f"with {name} it starts", service.start().returncode == 0, run("systemctl", "status", "rembg-watch").stdout
        )

    with_example("fast-pickup.conf")
    check("with fast-pickup.conf another user's file is taken at once", any(_at_once() for _ in range(5)), "slowly")
    must("chgrp", "-R", "photos", "/home/anna/shop")
    for name in ("inbox", "outbox"):
        must("install", "-d", "-m", "2770", "-o", "anna", "-g", "photos", f"/home/anna/shop/{name}")
    shop.config("config", ("/home/anna/shop/inbox", "/home/anna/shop/outbox"))
    with_example("home-folders.conf")
    mine = shop.photos(1)
    shop.drop(mine, "/home/anna/shop/inbox", "anna")
    check(
        "and takes photos from a home",
        until(lambda: shop.delivered(mine, "/home/anna/shop/outbox")),
        service.status(),
    )
    shop.config("config", shop.FOLDERS)
    sealed = ETC / "key.cred"
    must("sh", "-c", f"systemd-creds encrypt --name=rembg-api-key {ETC}/key {sealed}")
    with_example("encrypted-key.conf")
    mine = shop.photos(1)
    shop.drop(mine, shop.FOLDERS[0])
    check("and sends with the key that was encrypted", until(lambda: shop.delivered(mine)), service.status())
    sealed.unlink()
    service.stop()
    service.drop_in("rembg-watch", "70-example", None)


def _at_once() -> bool:
    """Tell whether another user's file is taken sooner than in the 5 s that the slow way takes at least."""
    mine, began = shop.photos(1), time.monotonic()
    shop.drop(mine, shop.FOLDERS[0], "ftpuser")
    return until(lambda: shop.delivered(mine)) and time.monotonic() - began < 4


def users_own_service() -> None:
    home = Path("/home/anna")
    must("loginctl", "enable-linger", "anna")
    number = must("id", "-u", "anna").strip()
    until(lambda: Path(f"/run/user/{number}/bus").exists())

    def as_anna(*words: object) -> object:
        env = (f"XDG_RUNTIME_DIR=/run/user/{number}", f"HOME={home}")
        return run("runuser", "-u", "anna", "--", "env", *env, *words, cwd="/")

    text = (ETC / "config.yaml").read_text().replace("/srv/photos", "/home/anna")
    text = text.replace('"api": {', '"api": {"key_file": "key",')
    as_anna("mkdir", "-p", "-m", "700", home / ".config/rembg-watch", home / "inbox", home / "outbox")
    for name, content in (("config.yaml", text), ("key", (ETC / "key").read_text())):
        file = home / ".config/rembg-watch" / name
        file.write_text(content)
        file.chmod(0o600)
        must("chown", "anna:", file)
    installed = as_anna(BIN, "install", "--user")
    verified = as_anna("systemd-analyze", "--user", "verify", home / ".config/systemd/user/rembg-watch.service")
    check("systemd-analyze verify of one's own unit", (verified.returncode, verified.stderr) == (0, ""), verified)
    started = as_anna("systemctl", "--user", "start", "rembg-watch")
    check("install --user and systemctl --user start", started.returncode == 0, (installed, started))
    mine = shop.photos(1)
    shop.drop(mine, "/home/anna/inbox", "anna")
    check("one's own service works", until(lambda: shop.delivered(mine, "/home/anna/outbox")))
    undone = as_anna(BIN, "install", "--user", "--undo")
    unit = home / ".config/systemd/user/rembg-watch.service"
    check("install --user --undo", undone.returncode == 0 and not unit.exists(), undone)
    must("loginctl", "disable-linger", "anna")
