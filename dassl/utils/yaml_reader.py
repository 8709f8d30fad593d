"""Reading YAML that anybody may have written: plain values only, bounded in size, depth and aliases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

__all__ = ["read_yaml"]

MOST_CHARACTERS = 2**18
MOST_NODES = 50_000  # with every alias written out
MOST_DEPTH = 50
LONGEST_NUMBER = 100  # characters; Python reads longer ones in quadratic time or not at all
LONGEST_REASON = 200

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where PyYAML has it: eight times as fast


class PlainLoader(_Base):
    """PyYAML's safe loader, whose numbers are of a bounded length."""


def _bounded(construct: Callable) -> Callable:
    def constructed(loader: PlainLoader, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        return construct(loader, node)

    return constructed


PlainLoader.add_constructor("tag:yaml.org,2002:int", _bounded(_Base.construct_yaml_int))
PlainLoader.add_constructor("tag:yaml.org,2002:float", _bounded(_Base.construct_yaml_float))


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file: None, numbers, text, dates, and lists and mappings of them.

    Nothing in it is executed; what takes more than about half a second to read is refused.

    Raises:
        UserError: the file cannot be read, is no YAML, or is too large, too deep or multiplies itself by aliases;
            one line that names the file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"cannot read config file {path}: {reason}") from None
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"config file {path} has more than {MOST_CHARACTERS} characters")
    try:
        _check_bounds(text)
        return yaml.load(text, Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # PyYAML lets Python's own errors through: "!!int foo", "!!bool maybe", "!!timestamp now", 2024-13-45
        known = isinstance(error, yaml.YAMLError)
        reason = " ".join(str(error).split()) if known else f"a value does not fit its type: {error}"
        raise UserError(f"config file {path} is not valid YAML: {reason[:LONGEST_REASON]}") from None


def _check_bounds(text: str) -> None:
    """Walk through the events of a document, without building anything.

    Raises:
        YAMLError: too deep, too many nodes with aliases written out, or an alias within what it stands for.
    """
    sizes: dict[str | None, int] = {}  # anchor -> number of nodes
    stack: list[list] = [[None, 0]]  # of open collections: anchor, nodes so far
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in stack):
                raise yaml.YAMLError(f"the alias *{event.anchor} stands within what it stands for")
            stack[-1][1] += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            stack[-1][1] += 1
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append([event.anchor, 1])
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = stack.pop()
            sizes[anchor] = size
            stack[-1][1] += size
        if len(stack) > MOST_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MOST_DEPTH} levels")
        if stack[-1][1] > MOST_NODES:
            raise yaml.YAMLError(f"it has more than {MOST_NODES} values, aliases written out")
