"""``rembg-watch init``: a commented config file, and the folders it names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from rembg_watch.config.example import Sample, render
from rembg_watch.config.schema import SCHEMA_FILE
from rembg_watch.errors import FileError

FOLDERS = {"inbox": 0o777, "outbox": 0o777, "state": 0o700}
"""What is made, with the mode that the umask then narrows; nobody else has anything to do with the state."""

_SAMPLE = Sample(
    paths={
        "inbox": "inbox",
        "outbox": "outbox",
        "state_dir": "state",
        "archive": "originals",
        "failed": "failed",
        "key_file": "key",
    },
    left_out=frozenset({"key", "key_file", "subfolders", "archive", "failed"}),
    schema=str(SCHEMA_FILE),
)


def write_config(directory: Path) -> Path:
    """Make ``directory`` with its folders and a config file that only its owner can read; give the file's path.

    Raises:
        FileError: there is a config file already, or something can't be made. What exists is never changed.
    """
    file = directory / "config.yaml"
    taken = FileError(f"{file} is there already", "Nothing was changed. Edit that file, or name another folder.")
    if os.path.lexists(file):
        raise taken
    try:
        for name, mode in FOLDERS.items():
            directory.joinpath(name).mkdir(mode=mode, parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        if error.filename == str(file):
            raise taken from error
        raise FileError(
            f"{error.filename} is there and is not a folder", "Move it away, or name another folder."
        ) from error
    except OSError as error:
        raise FileError(
            f"can't write {error.filename}: {error.strerror}", "Name a folder that you can write to."
        ) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(render(_SAMPLE))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        file.unlink(missing_ok=True)
        raise FileError(f"can't write {file}: {error.strerror}", "Make room, or name another folder.") from error
    return file


@click.command(name="init")
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path), required=False
)
def command(directory: Path) -> None:
    """Write a commented config.yaml into DIR (default: here) and make the folders it names.

    Nothing that exists is ever overwritten: with a config.yaml in DIR already, it ends with exit code 73.
    """
    file = write_config(directory)
    option = "" if directory == Path() else f" -c {shlex.quote(str(file))}"
    click.echo(f"Wrote {file}, with the folders {', '.join(FOLDERS)} beside it.")
    click.echo()
    click.echo("What is next:")
    click.echo("  export REMBG_API_KEY=...      your key, or set api.key_file in the config")
    click.echo(f"  rembg-watch check{option}")
    click.echo(f"  rembg-watch run{option}")
    click.echo(f"Then drop photos into {directory / 'inbox'}; the cut-outs appear in {directory / 'outbox'}.")
