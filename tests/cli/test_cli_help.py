"""What ``--help`` says: of every command and every option, and nothing that only the source needs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from cli_environment import environment

from rembg_watch.cli import cli


def commands(group: click.Group = cli, *before: str):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_command_says_what_it_does(words):
    """The text is whole and reads as a text: no escapes of the source in it."""
    text = ALL[words].get_help(click.Context(ALL[words], info_name=" ".join(words)))
    assert "\\" not in text
    assert ALL[words].help


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_option_says_what_it_is_for(words):
    """An option without a text has at least its default or its choices, which say it."""
    for option in ALL[words].params:
        if isinstance(option, click.Option):
            assert option.help or option.show_default, option.name


@pytest.mark.parametrize("words", ["remove ", "remove a.jpg -o "])
def test_the_shell_completes_the_names_of_pictures(words):
    """Where a file is to be named, the shell is told so, and offers its own."""
    line = f"rembg-watch {words}"
    env = environment(
        _REMBG_WATCH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(line.rstrip().split()))
    )
    program = "import sys; sys.argv = ['rembg-watch']; from rembg_watch.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("file,")
