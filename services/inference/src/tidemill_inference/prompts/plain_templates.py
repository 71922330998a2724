"""Prompts that only name texts: what Jinja makes of them, without running a program that a project wrote.

Nothing of such a template can take much: it is as long as its source and the texts that it names.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.ports import MAX_RENDERED_CHARACTERS, PromptInput

_NAMED = re.compile(r"(?<!\{)\{\{[ \t]*([a-z_][a-z0-9_]*)[ \t]*\}\}")
_PROGRAM = re.compile(r"\{[{%#]")
_LINE_END = re.compile(r"\r\n?")
_OF_JINJA = frozenset(
    {"true", "false", "none", "not", "and", "or", "in", "is", "if", "else", "self", "super", "caller", "loop"}
)
"""Names that are no variables, or not always."""


def rendered(content: PromptContent, given: PromptInput) -> tuple[Message, ...] | None:
    """Return the messages, or None where a template does more than naming texts, or is to be refused."""
    texts = {"summary": given.summary, **given.variables, "question": given.question}
    system, user = _rendered(content.system, texts), _rendered(content.user, texts)
    if system is None or user is None:
        return None
    return (*([Message.of(Role.SYSTEM, system)] if system else []), Message.of(Role.USER, user))


def _rendered(source: str, texts: Mapping[str, object]) -> str | None:
    parts = _parts(source)
    if parts is None:
        return None
    said = [text for text in map(texts.get, parts[1::2]) if isinstance(text, str)]
    if len(said) < len(parts) // 2 or sum(map(len, said)) + len(source) > MAX_RENDERED_CHARACTERS:
        return None
    return "".join(each for pair in zip_longest(parts[::2], said, fillvalue="") for each in pair).rstrip()


@lru_cache(maxsize=256)
def _parts(source: str) -> Sequence[str] | None:
    """Return text and names in turns, or None where there is more than these."""
    parts = _NAMED.split(_LINE_END.sub("\n", source))
    if any(map(_PROGRAM.search, parts[::2])) or not _OF_JINJA.isdisjoint(parts[1::2]):
        return None
    return parts
