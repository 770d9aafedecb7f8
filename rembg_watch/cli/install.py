"""``rembg-watch install``: units, user, group and folders for systemd, put in place and taken away again."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from rembg_watch.cli import layout
from rembg_watch.errors import FileError

NEXT = """
What is next:
  install -m 600 /dev/stdin {config}/key         and paste your API key, then Ctrl-D
  editor {config}/config.yaml                    which folders, which profiles; the folders must lie below /srv
  systemctl enable --now rembg-watch
  usermod -a -G photos NAME                      for everybody who drops photos and takes cut-outs
More services: {config}/NAME.yaml and NAME.key, then systemctl enable --now rembg-watch@NAME
Drop-ins for home folders, shares and more: {examples}
All of it away again: rembg-watch install --undo"""


@dataclass(frozen=True)
class Steps:
    """Does one step after the other and says each; with ``dry`` it only says them."""

    dry: bool

    def say(self, done: str, what: object) -> None:
        click.echo(f"{'would: ' if self.dry else ''}{done} {what}")

    def run(self, *words: str, may_fail: bool = False) -> None:
        self.say("run", " ".join(words))
        if self.dry:
            return
        result = subprocess.run(words, check=False, capture_output=True, text=True)
        if result.returncode and not may_fail:
            said = (result.stderr or result.stdout).strip()
            raise FileError(f"{' '.join(words)} failed: {said}", "Nothing further was done; run it again when mended.")

    def write(self, path: Path, text: str, mode: int = 0o644, group: str | None = None) -> None:
        self.say("write", path)
        if self.dry:
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
            if group is not None:
                os.fchown(handle, -1, grp.getgrnam(group).gr_gid)
            os.fchmod(handle, mode)
        new.replace(path)

    def link(self, path: Path, target: Path) -> None:
        if os.path.lexists(path):
            click.echo(f"stands {path}" if _leads_to(path, target) else f"keep {path}, which is not from here")
            return
        self.say("link", f"{path} to {target}")
        if not self.dry:
            path.symlink_to(target)

    def remove(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        self.say("remove", path)
        if self.dry:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def remove_empty(self, path: Path) -> None:
        if not path.is_dir():
            return
        if any(path.iterdir()):
            if not self.dry:
                click.echo(f"keep {path}, which is not empty")
            return
        self.say("remove", path)
        if not self.dry:
            path.rmdir()


def _leads_to(path: Path, target: Path) -> bool:
    return path.is_symlink() and path.readlink() == target


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").startswith(layout.MARK)
    return False


def _place(steps: Steps, files: list[layout.Placed]) -> None:
    foreign = [str(file.path) for file in files if os.path.lexists(file.path) and not _is_ours(file.path)]
    if foreign:
        raise FileError(f"{', '.join(foreign)}: there already, and not from here", "Move it away. Nothing was changed.")
    for file in files:
        if _is_ours(file.path) and file.path.read_text("utf-8") == file.text:
            click.echo(f"stands {file.path}")
        else:
            steps.write(file.path, file.text)


def _known(name: str, *, group: bool) -> bool:
    try:
        grp.getgrnam(name) if group else pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _record() -> dict[str, bool]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(layout.RECORD.read_text("utf-8")))
    return {}


def _install_system(steps: Steps, environment: Path, base: Path) -> None:
    if problem := layout.unsuitable(environment, base, layout.shipped().parent):
        raise FileError(
            problem, "Install into an environment such as /opt/rembg-watch: python3 -m venv /opt/rembg-watch"
        )
    made = {"user": not _known(layout.USER, group=False), "group": not _known(layout.GROUP, group=True)}
    _place(steps, layout.system_files(environment, base))
    before = _record()
    record = {name: new or before.get(name, False) for name, new in made.items()}
    if record != before:
        steps.write(layout.RECORD, json.dumps(record) + "\n")
    steps.run("systemd-sysusers", "/etc/sysusers.d/rembg-watch.conf")
    steps.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/rembg-watch.conf")
    config = layout.CONFIG / "config.yaml"
    if os.path.lexists(config):
        click.echo(f"stands {config}")
    else:
        steps.write(config, layout.first_config(), 0o640, layout.USER)
    steps.link(layout.LINK, environment / "bin/rembg-watch")
    steps.run("systemctl", "daemon-reload")
    click.echo(NEXT.format(config=layout.CONFIG, examples=layout.shipped() / "examples"))


def _units() -> list[str]:
    """Give our units that run, failed or are enabled, instances included."""
    patterns = ("rembg-watch.service", "rembg-watch@*.service", "rembg-watch-failed@*.service")
    found: dict[str, None] = {}
    for words in (("list-units", "--all", "--plain", "--no-legend", "--full"), ("list-unit-files", "--no-legend")):
        result = subprocess.run(["systemctl", *words, *patterns], check=False, capture_output=True, text=True)
        found.update(dict.fromkeys(line.split()[0] for line in result.stdout.splitlines() if line.strip()))
    for link in layout.UNITS.glob("*.wants/rembg-watch@*.service"):
        found[link.name] = None
    return [name for name in found if not name.endswith("@.service")]


def _undo_system(steps: Steps, *, purge: bool) -> None:
    for unit in _units():
        if unit.startswith("rembg-watch-failed@"):
            steps.run("systemctl", "stop", unit, may_fail=True)
        else:
            steps.run("systemctl", "disable", "--now", unit, may_fail=True)
    for file in layout.system_files(Path(layout.SHIPPED_FOR), Path("/usr")):
        if _is_ours(file.path):
            steps.remove(file.path)
    if _leads_to(layout.LINK, Path(sys.prefix) / "bin/rembg-watch"):
        steps.remove(layout.LINK)
    if purge:
        for folder in layout.UNITS.glob("rembg-watch*.service.d"):
            steps.remove(folder)
    steps.run("systemctl", "daemon-reload")
    steps.run("systemctl", "reset-failed", "rembg-watch*", may_fail=True)
    if purge:
        _purge(steps)
    else:
        click.echo(
            f"\nKept: {layout.CONFIG} (config and key), {layout.STATE} (what was paid for), drop-ins, the user"
            f" {layout.USER}, the group {layout.GROUP} and all photos. 'rembg-watch install --undo --purge' removes"
            " them too, but no photo."
        )


def _purge(steps: Steps) -> None:
    record = _record()
    steps.remove(layout.CONFIG)
    steps.remove(layout.STATE)
    for folder in layout.PHOTOS:
        steps.remove_empty(folder)
    if record.get("user") and _known(layout.USER, group=False):
        steps.run("userdel", layout.USER)
        if _known(layout.USER, group=True):
            steps.run("groupdel", layout.USER, may_fail=True)
    if record.get("group") and _known(layout.GROUP, group=True):
        members = [name for name in grp.getgrnam(layout.GROUP).gr_mem if name != layout.USER]
        if members or layout.PHOTOS[-1].exists():
            click.echo(f"keep the group {layout.GROUP}: " + (", ".join(members) or "it has photos"))
        else:
            steps.run("groupdel", layout.GROUP)


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())


def _own(steps: Steps, environment: Path, *, undo: bool) -> None:
    files = layout.user_files(environment, _config_home())
    if undo:
        steps.run("systemctl", "--user", "disable", "--now", "rembg-watch.service", may_fail=True)
        for file in files:
            if _is_ours(file.path):
                steps.remove(file.path)
    else:
        _place(steps, files)
    steps.run("systemctl", "--user", "daemon-reload")
    if not undo:
        config = _config_home() / "rembg-watch/config.yaml"
        click.echo(f"\nWhat is next: write {config}, then: systemctl --user enable --now rembg-watch")


@click.command("install", short_help="put units, user and folders for systemd in place, or --undo that")
@click.option("--undo", is_flag=True, help="Stop the services and take away what was put in place.")
@click.option("--purge", is_flag=True, help="With --undo: config, key, state, user and group too. Never photos.")
@click.option("--user", "own", is_flag=True, help="A service of your own, without root.")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be done.")
def command(undo: bool, purge: bool, own: bool, dry: bool) -> None:
    """Install rembg-watch, as it runs here, as a service of systemd; run as root. Says each thing that it does.

    Nothing is started. Run it again after an upgrade: files of its own are brought up to date, a config is kept.
    """
    if purge and not undo:
        raise click.UsageError("--purge goes with --undo.")
    if purge and own:
        raise click.UsageError("--purge does not go with --user: config and state are your own.")
    if not own and not dry and os.geteuid() != 0:
        raise FileError("only root can do that", "Run it with sudo; or with --user for a service of your own.")
    if not dry and shutil.which("systemctl") is None:
        raise FileError("there is no systemd here", "Run 'rembg-watch run' from whatever starts services here.")
    steps = Steps(dry)
    environment, base = Path(sys.prefix), Path(sys.base_prefix)
    if own:
        _own(steps, environment, undo=undo)
    elif undo:
        _undo_system(steps, purge=purge)
    else:
        _install_system(steps, environment, base)
