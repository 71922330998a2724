"""Scalars that YAML 1.1 and 1.2 read differently, such as `on`, `010` or `1e-3`.

A loop is read as YAML 1.2, and many tools that write or check YAML read 1.1: what stands in it without quotes has to be
the same value in both.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.events import ScalarEvent
from ruamel.yaml.nodes import ScalarNode

from tidemill_cli.loop.problems import Document, Problem

Path = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, from 0."""

_NO_POINT = re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+")
"""A number in 1.2; in 1.1 the mantissa of a number has a decimal point."""


def dialect_problems(document: Document, scalars: Sequence[ScalarEvent]) -> Iterator[Problem]:
    """Yield a problem for each of the plain scalars of a document that the two versions read differently."""
    differing = [(scalar, readings) for scalar in scalars if (readings := _readings(scalar.value))]
    places: dict[Place, tuple[Path, bool]] = {}
    for place, found in _places(document.root, ()) if differing else ():
        places.setdefault(place, found)  # the first one is where it is written, and others repeat it by an alias
    for scalar, (old, new) in differing:
        mark = scalar.start_mark
        path, is_key = places.get((mark.line, mark.column), ((), False))
        if _NO_POINT.fullmatch(scalar.value):
            message, path = f"YAML 1.1 reads {scalar.value} as text: write a decimal point, such as 1.0e-3", ()
        elif is_key:
            message = f"YAML 1.1 reads this key as {old!r}: quote it"
        else:
            message = f"YAML 1.1 reads this as {old!r}, YAML 1.2 as {new!r}: quote it or spell it out"
        if path:
            yield document.problem(path, message)
        else:
            yield Problem(line=mark.line + 1, column=mark.column + 1, path="(yaml)", message=message)


def _places(node: Any, path: Path) -> Iterator[tuple[Place, tuple[Path, bool]]]:  # noqa: ANN401 - any YAML value
    """Yield where each key and value below a node begins, with its path and whether it is a key."""
    if not isinstance(node, CommentedMap | CommentedSeq):
        return
    for step, place in (node.lc.data or {}).items():
        below = (*path, step)
        if isinstance(node, CommentedMap):
            yield (place[0], place[1]), (below, True)
        yield (place[-2], place[-1]), (below, False)
        yield from _places(node[step], below)


@lru_cache(maxsize=4096)
def _readings(text: str) -> tuple[Any, Any] | None:
    """Return the values of a plain scalar in 1.1 and 1.2, or None where they are the same."""
    old, new = _of_version((1, 1)), _of_version((1, 2))
    tags = [yaml.resolver.resolve(ScalarNode, text, (True, False)) for yaml in (old, new)]
    if str(tags[0]) == str(tags[1]) and not str(tags[0]).endswith((":int", ":float")):
        return None
    if _NO_POINT.fullmatch(text):
        return text, float(text)
    values = [
        yaml.constructor.construct_non_recursive_object(ScalarNode(tag, text))
        for yaml, tag in zip((old, new), tags, strict=True)
    ]
    return None if repr(values[0]) == repr(values[1]) else (values[0], values[1])


@lru_cache(maxsize=2)
def _of_version(version: tuple[int, int]) -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml
