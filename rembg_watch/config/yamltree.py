"""YAML text to plain values, with the line of every key, every mistake at once, and ``${NAME}`` filled in. Pure.

It stands on PyYAML's nodes and not on its loader, because nodes know their lines. Nothing in a file can make it build
anything but texts, numbers, truths, lists and mappings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from rembg_watch.config.problems import KeyPath, Problem, brief, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VALUES = 50_000
"""More values than this are no config but an accident, or aliases made to explode."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}\n]*)(\})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAG = "tag:yaml.org,2002:"
_SCALARS = {"str", "null", "bool", "int", "float", "timestamp", "value", "merge"}
_NO_TEXT = "has something in it that is no text"
_UNKNOWN_ANCHOR = "!unknown-anchor"
_QUOTED = re.compile(r"""(['"])(?!['"]?<)[^'"]{2,}\1""")


def _joined(text: str) -> str | None:
    """Join the halves of characters that were escaped as in JSON; None where only one half is there."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


@dataclass
class Tree:
    """What a file says: ``value``, the ``lines`` of its paths, and what is wrong with it.

    ``unknown`` are the paths whose value could not be told; a problem is already noted for each.
    ``variables`` names the environment variables that went into a path's value.
    """

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unknown: set[KeyPath] = field(default_factory=set)
    variables: dict[KeyPath, tuple[str, ...]] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Give the line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def is_unknown(self, path: KeyPath) -> bool:
        """Say whether a problem is noted already for the value at ``path`` or for what is around it."""
        return any(path[: len(known)] == known for known in self.unknown)

    def note(self, path: KeyPath, text: str, line: int | None = None) -> None:
        """Note a problem at ``path``."""
        self.problems.append(Problem(self.line(path) if line is None else line, path, text))


class _Composer(yaml.SafeLoader):
    """Goes on after an unknown anchor, so that it is one mistake among others."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.anchor_names: set[str] = set()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) and event.anchor not in self.anchors:
            self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_UNKNOWN_ANCHOR, event.anchor, event.start_mark, event.end_mark)  # type: ignore[arg-type]
        if event.anchor:
            self.anchor_names.add(event.anchor)
        return super().compose_node(parent, index)


def read_tree(text: str, env: Mapping[str, str]) -> Tree:
    """Read a config file's ``text``; ``env`` is what ``${NAME}`` looks into."""
    tree = Tree()
    loader = _Composer("")
    try:
        loader = _Composer(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        tree.note((), "has a character that YAML does not allow", text.count("\n", 0, error.position) + 1)
        return tree
    except yaml.MarkedYAMLError as error:
        _note_syntax(tree, text, error)
        return tree
    except RecursionError:
        tree.note((), "is nested too deeply")
        return tree
    if root is None:
        tree.note((), "is empty: it needs at least 'folders' with an inbox and an outbox")
        return tree
    _Walk(tree, loader, env).root(root)
    return tree


def _note_syntax(tree: Tree, text: str, error: yaml.MarkedYAMLError) -> None:
    mark, start = error.problem_mark or error.context_mark, error.context_mark
    what, context = error.problem or "", error.context or ""
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    there = lines[line - 1] if 0 < line <= len(lines) else ""
    if "unexpected end of stream" in what and start:
        line, said = start.line + 1, "a quote that is opened here is never closed"
    elif "'\\t'" in what:
        said = "a tab can't indent in YAML: use spaces"
    elif "expected ',' or" in what and start:
        said = f"the bracket that line {start.line + 1} opens is not closed, or a comma is missing"
        if "${" in there:
            said += " (a ${NAME} between brackets needs quotes around it)"
    elif "mapping values are not allowed" in what:
        said = "a ':' where none can be: the indentation is off, or a text with ': ' in it needs quotes"
    elif "could not find expected ':'" in what:
        line = start.line + 1 if start else line
        said = "a key without a ':' behind it"
    elif "but found another document" in what:
        said = "a second document begins: a config file has only one"
    elif "expected <block end>" in what or "block" in context:
        said = "the indentation is off, or a quote or a '-' is missing"
    elif "found duplicate anchor" in context or "duplicate anchor" in what:
        said = "an anchor of this name is there already"
    else:
        said = f"is not valid YAML: {_QUOTED.sub('...', what) or 'it can not be read'}"
    tree.note((), said, line)


class _Walk:
    """Goes through the nodes once and fills the tree."""

    def __init__(self, tree: Tree, loader: _Composer, env: Mapping[str, str]) -> None:
        self.tree, self.loader, self.env = tree, loader, env
        self.above: list[int] = []
        self.left = MAX_VALUES

    def root(self, node: yaml.Node) -> None:
        self.tree.lines[()] = node.start_mark.line + 1
        try:
            self.tree.value = self.value(node, ())
        except RecursionError:
            self.tree.note((), "is nested too deeply")
        if self.left < 0:
            self.tree.value = None
            self.tree.problems = [Problem(1, (), "holds far too many values for a config file")]

    def wrong(self, path: KeyPath, text: str, line: int | None = None) -> None:
        self.tree.note(path, text, line)
        self.tree.unknown.add(path)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.left -= 1
        if self.left < 0:
            return None
        if id(node) in self.above:
            return self.wrong(path, "is an anchor that holds itself")
        self.above.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.entry(child, (*path, index)) for index, child in enumerate(node.value)]
            if isinstance(node, yaml.ScalarNode):
                return self.scalar(node, path)
            return self.wrong(path, "has a YAML tag ('!...'), which means nothing here")
        finally:
            self.above.pop()

    def entry(self, node: yaml.Node, path: KeyPath) -> Any:
        self.tree.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        own: dict[str, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if key.tag == f"{_TAG}merge":
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    for name, value in self.merge(source, path, line).items():
                        merged.setdefault(name, value)
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(path, "has a list or a group as a key; a key is a word", line)
                continue
            if key.tag == _UNKNOWN_ANCHOR:
                self.unknown_anchor(key, path, line)
                continue
            if (joined := _joined(key.value)) is None:
                self.wrong(path, _NO_TEXT, line)
                continue
            name = joined
            if name in own:
                self.tree.note((*path, name), f"is there twice; the first is in line {own[name]}", line)
                # What is wrong inside the one that does not count would be told of the one that does.
                continue
            own[name] = self.tree.lines[(*path, name)] = line
            found[name] = self.value(child, (*path, name))
        return merged | found

    def merge(self, source: yaml.Node, path: KeyPath, line: int) -> dict[str, Any]:
        if source.tag == _UNKNOWN_ANCHOR:
            self.unknown_anchor(source, path, line)
            return {}
        if not isinstance(source, yaml.MappingNode):
            self.wrong(path, "'<<' takes an anchor of a group of keys", line)
            return {}
        before = {p: at for p, at in self.tree.lines.items() if p[: len(path)] == path}
        value = self.value(source, path)
        self.tree.lines |= before
        return value if isinstance(value, dict) else {}

    def unknown_anchor(self, node: yaml.Node, path: KeyPath, line: int) -> None:
        if path[:1] == ("api",):  # it may be a key that begins with a star
            self.wrong(path, "a value that begins with '*' needs quotes around it", line)
            return
        hint = did_you_mean(str(node.value), self.loader.anchor_names)
        self.wrong(path, f"there is no anchor '&{brief(str(node.value))}' above{hint}", line)

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        tag, text = node.tag.removeprefix(_TAG), node.value
        if node.tag == _UNKNOWN_ANCHOR:
            return self.unknown_anchor(node, path, line)
        if tag not in _SCALARS or node.tag == tag:
            return self.wrong(path, "has a YAML tag ('!...'), which means nothing here", line)
        try:
            match tag:
                case "null":
                    return None
                case "bool":
                    return self.loader.construct_yaml_bool(node)
                case "int":
                    return self.loader.construct_yaml_int(node)
                case "float":
                    return self.loader.construct_yaml_float(node)
        except (ValueError, KeyError, IndexError):
            pass  # a number with too many digits, or '!!int x': as a text it is reported where a number is needed
        return self.filled_in(text, path, line)

    def filled_in(self, text: str, path: KeyPath, line: int) -> str | None:
        wrong: list[str] = []
        names: list[str] = []

        def one(found: re.Match[str]) -> str:
            name = found[1]
            if found[0] == "$${":
                return "${"
            if not found[2] or not _NAME.fullmatch(name):
                wrong.append("a '${' begins a variable, as in ${NAME}: write '$${' for the characters themselves")
            elif name not in self.env:
                hint = did_you_mean(name, [known for known in self.env if "REMBG" in known])
                wrong.append(f"the environment variable {brief(name)} is not set{hint}")
            else:
                names.append(name)
                return self.env[name]
            return ""

        filled = _VARIABLE.sub(one, text)
        if names:
            self.tree.variables[path] = tuple(names)
        whole = _joined(filled)
        if whole is None:
            wrong.append(_NO_TEXT)
        for said in dict.fromkeys(wrong):
            self.wrong(path, said, line)
        return None if wrong else whole
