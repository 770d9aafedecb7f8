"""What ``--help`` says: of every command and every option, and nothing that only the source needs."""

from __future__ import annotations

import click
import pytest

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
