r"""What a tokenizer.json may hold that is run over every text: patterns that do not take for ever, short replacements.

The engine behind `tokenizers` backtracks, and its limit on that ends in a panic. Patterns of known tokenizers repeat
characters and classes; a group is repeated only where each round takes as much (`(\d{3})+`).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_UNBOUNDED = 3
"""Quantifiers without an end in one alternative: as many as the power of the text's length that matching may take."""
MAX_REPLACEMENT = 64
"""Characters that stand for each match: a text of a megabyte becomes 64 at most."""
MAX_DECODER_GROWTH = 64
"""Characters that a decoder's steps may together make of one: decoding runs for every token of an answer."""
MAX_DECODER_STEPS = 16
MAX_TOKEN = 1024
"""Characters of one token of the vocabulary."""
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d*)(,?)(\d*)\})[?+]?")
_OPENING = re.compile(r"\((?:\?(?:[a-zA-Z-]*:|[=!>]|<[=!]|<\w+>|[a-zA-Z-]+(?=\))))?")


class UnsafeTokenizerError(ValueError):
    """A tokenizer would take too much; says where."""


def check_tokenizer(content: object) -> None:
    """Look at every pattern and every replacement of a tokenizer.json.

    Raises:
        UnsafeTokenizerError: the first that may take too much.

    """
    for node in _nodes(content):
        pattern = node.get("Regex")
        if isinstance(pattern, str):
            _check_pattern(pattern)
        if node.get("type") in {"Replace", "Prepend"}:
            texts = [node.get(name) for name in ("content", "prepend")]
            longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
            if longest > MAX_REPLACEMENT:
                message = f"a replacement has {longest} characters; the limit is {MAX_REPLACEMENT}"
                raise UnsafeTokenizerError(message)
    if isinstance(content, dict):
        _check_decoder(content.get("decoder"))
        _check_vocabulary(content)


def _check_decoder(decoder: object) -> None:
    """Allow decoders whose work is linear in the text: no patterns, few steps, little growth, no known panic."""
    steps = [node for node in _nodes(decoder) if "type" in node]
    if len(steps) > MAX_DECODER_STEPS:
        message = f"the decoder has {len(steps)} steps; the limit is {MAX_DECODER_STEPS}"
        raise UnsafeTokenizerError(message)
    if any("Regex" in node for node in _nodes(decoder)):
        message = "the decoder has a Regex pattern, which runs on every token: use a String pattern"
        raise UnsafeTokenizerError(message)
    if any(node.get("stop") for node in steps if node["type"] == "Strip"):
        message = "the decoder has a Strip with stop above 0, which fails on shorter tokens: use stop 0"
        raise UnsafeTokenizerError(message)
    if (growth := math.prod(map(_growth, steps))) > MAX_DECODER_GROWTH:
        message = f"the decoder may make {growth} characters of one; the limit is {MAX_DECODER_GROWTH}"
        raise UnsafeTokenizerError(message)


def _growth(step: Mapping[str, object]) -> int:
    """Return how many characters a decoder's step may make of one."""
    match step:
        case {"type": "Replace", "content": str(content), "pattern": {"String": ""}}:
            return len(content) + 1
        case {"type": "Replace", "content": str(content)}:
            return max(1, len(content))
        case {"type": "BPEDecoder", "suffix": ""} | {"type": "CTC", "word_delimiter_token": ""}:
            return 2
        case _:
            return 1


def _check_vocabulary(content: Mapping[str, object]) -> None:
    """Refuse a token that is longer than any text that one step of an answer should add."""
    model, added = content.get("model"), content.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    tokens = [
        each.get("content") if isinstance(each, dict) else None for each in (added if isinstance(added, list) else ())
    ]
    if isinstance(vocabulary, dict):
        tokens += vocabulary
    elif isinstance(vocabulary, list):
        tokens += [each[0] for each in vocabulary if isinstance(each, list) and each]
    longest = max((len(token) for token in tokens if isinstance(token, str)), default=0)
    if longest > MAX_TOKEN:
        message = f"a token has {longest} characters; the limit is {MAX_TOKEN}"
        raise UnsafeTokenizerError(message)


def _nodes(content: object) -> Iterator[Mapping[str, object]]:
    todo = [content]
    while todo:
        match todo.pop():
            case dict() as mapping:
                yield mapping
                todo += [each for each in mapping.values() if isinstance(each, dict | list)]
            case list() as items:
                todo += [each for each in items if isinstance(each, dict | list)]


@dataclass(slots=True)
class _Group:
    """What was read of a group: whether all that it matches has one length, and its quantifiers without an end."""

    fixed: bool = True
    unbounded: int = 0
    maximum: int = 0

    def end_alternative(self) -> None:
        self.maximum, self.unbounded = max(self.maximum, self.unbounded), 0


def _check_pattern(pattern: str) -> None:
    """Refuse back-references, repeated groups whose rounds differ, and too many quantifiers without an end."""
    groups, at = [_Group()], 0
    while at < len(pattern):
        closed: _Group | None = None
        if pattern[at] == "\\":
            at = _after_escape(pattern, at)
        elif pattern[at] == "[":
            at = _after_class(pattern, at)
        elif pattern[at] == "(":
            opening = _OPENING.match(pattern, at)
            at = opening.end() if opening else at + 1
            groups.append(_Group())
            continue
        elif pattern[at] == ")" and len(groups) > 1:
            closed, at = groups.pop(), at + 1
            closed.end_alternative()
        elif pattern[at] == "|":
            groups[-1].fixed = False
            groups[-1].end_alternative()
            at += 1
            continue
        else:
            at += 1
        at = _quantified(pattern, at, groups[-1], closed)
    groups[0].end_alternative()
    if groups[0].maximum > MAX_UNBOUNDED:
        message = f"a pattern has {groups[0].maximum} quantifiers without an end in a row; the limit is {MAX_UNBOUNDED}"
        raise UnsafeTokenizerError(message)


def _quantified(pattern: str, at: int, around: _Group, closed: _Group | None) -> int:
    """Read the quantifier behind what was read, where there is one; return the place behind it."""
    found = _QUANTIFIER.match(pattern, at)
    if closed is not None:
        around.unbounded += closed.maximum
        around.fixed &= closed.fixed
    if found is None:
        return at
    minimum, comma, maximum = found.group(1), found.group(2), found.group(3)
    endless = found.group(0)[0] in "*+" or bool(comma and not maximum)
    exact = found.group(0)[0] == "{" and (not comma or minimum == maximum)
    once = found.group(0)[0] == "?"
    if closed is not None and not once and not (closed.fixed and not closed.maximum):
        message = "a pattern repeats a group whose repetitions differ, which may never end"
        raise UnsafeTokenizerError(message)
    around.fixed &= exact
    around.unbounded += endless
    return found.end()


def _after_escape(pattern: str, at: int) -> int:
    kind = pattern[at + 1 : at + 2]
    if kind in set("123456789k"):
        message = "a pattern has a back-reference, which may never end"
        raise UnsafeTokenizerError(message)
    if kind in {"p", "P", "x"} and pattern[at + 2 : at + 3] == "{":
        end = pattern.find("}", at)
        return end + 1 if end > 0 else len(pattern)
    return at + 2


def _after_class(pattern: str, at: int) -> int:
    """Return the place behind a class, in which there may be others."""
    depth, begin = 0, at
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
            begin = at
        elif pattern[at] == "]" and pattern[begin:at] not in {"[", "[^"}:
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return at
