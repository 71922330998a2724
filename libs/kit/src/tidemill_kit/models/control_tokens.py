"""Text of people is text: what reads like a tokenizer's control token in it never becomes that token.

A chat template joins what the platform writes with what people wrote, and a tokenizer that reads the result takes
`<|im_end|>` for the end of a turn wherever it stands. So content is marked before the template sees it: after the first
character of each occurrence stands BREAK. `encoded` then reads the rendered text in pieces between those marks, and no
piece of content holds a whole control token.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from tidemill_core.models.json_files import TEXT_TOKENS

BREAK = "\ufdd1"
"""A noncharacter, which text for interchange has not (Unicode 23.7); in content it becomes U+FFFD."""
_REPLACEMENT = "\ufffd"
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Keeps the length, unlike str.lower(): a tokenizer that lowers what it reads finds tokens in any case."""
_PREFIX = 2
_MAX_COMPARED = 1_000_000_000
"""Of texts times characters of control tokens: some seconds of a processor."""


class ControlTokens:
    """The control tokens of one tokenizer; safe to share among threads."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = {token.translate(_LOWER) for token in tokens if len(token.strip()) >= _PREFIX}
        self._lengths: dict[str, set[int]] = {}
        for token in self._tokens:
            self._lengths.setdefault(token[:_PREFIX], set()).add(len(token))
        firsts = "".join(sorted({token[0] for token in self._tokens}))
        self._starts = re.compile(f"[{re.escape(firsts)}]" if firsts else r"(?!)")
        self._sorted, self._joined = sorted(self._tokens), "\0".join(self._tokens)

    @classmethod
    def of(cls, tokenizer: Any) -> "ControlTokens":  # noqa: ANN401 - of transformers, which the kit does not import
        """Return those of a transformers tokenizer: special tokens, and others that were added to its vocabulary.

        Of the latter, those that a training added as text are none. An author may name any as such: those that are
        special, stand in the chat template, or could be read in place of a control token stay control tokens, and so
        do all where there are too many to compare.
        """
        special, added = set(tokenizer.all_special_tokens), set[str]()
        for token in tokenizer.added_tokens_decoder.values():
            (special if getattr(token, "special", False) else added).add(str(token))
        texts = (added & set(tokenizer.init_kwargs.get(TEXT_TOKENS, ()))) - special
        control = cls(special | (added - texts))
        if len(texts) * (len(control._joined) + len(_templates(tokenizer))) > _MAX_COMPARED:
            return cls(special | added)
        meant = in_template(tokenizer, texts) | {text for text in texts if control.touches(text)}
        return cls({*special, *(added - texts), *meant}) if meant else control

    def touches(self, text: str) -> bool:
        """Return whether a token of this text could be read in place of a control token, or of its beginning."""
        lowered = text.translate(_LOWER)
        return lowered in self._joined or self._occurs(text) or any(map(self._begins, _ends(lowered)))

    def _begins(self, text: str) -> bool:
        at = bisect_left(self._sorted, text)
        return at < len(self._sorted) and self._sorted[at].startswith(text)

    def separate(self, rendered: str, contents: Iterable[str]) -> bool:
        """Return whether a control token stands before each content but the first of a rendered conversation.

        Where none does, the template marks turns by plain text, and that text in a message makes a turn.
        """
        end = -1
        for content in contents:
            begin = rendered.find(content, max(end, 0))
            if begin < 0 or (end >= 0 and not self._occurs(rendered[end:begin])):
                return False
            end = begin + len(content)
        return True

    def _occurs(self, text: str) -> bool:
        return BREAK in self.marked(text)

    def marked(self, content: str) -> str:
        """Return the content with BREAK in each control token, to be put into a template."""
        text = content.replace(BREAK, _REPLACEMENT)
        lowered, pieces, begin = text.translate(_LOWER), [], 0
        for start in (found.start() for found in self._starts.finditer(lowered)):
            lengths = self._lengths.get(lowered[start : start + _PREFIX], ())
            if any(lowered[start : start + length] in self._tokens for length in lengths):
                pieces.append(text[begin : start + 1])
                begin = start + 1
        return BREAK.join([*pieces, text[begin:]])


def _ends(text: str) -> Iterable[str]:
    return (text[start:] for start in range(len(text)))


def in_template(tokenizer: Any, texts: Iterable[str]) -> set[str]:  # noqa: ANN401 - of transformers
    """Return the texts that stand in a chat template of the tokenizer, in any case of their letters."""
    templates = _templates(tokenizer)
    return {text for text in texts if text.translate(_LOWER) in templates}


def _templates(tokenizer: Any) -> str:  # noqa: ANN401 - ditto
    found = tokenizer.chat_template or ""
    return "\0".join(found.values() if isinstance(found, Mapping) else [found]).translate(_LOWER)


def encoded(tokenizer: Any, rendered: str) -> list[int]:  # noqa: ANN401 - of transformers
    """Return the token ids of a rendered conversation, each piece between marks read apart."""
    pieces = [piece for piece in rendered.split(BREAK) if piece]
    return [token for piece in pieces for token in tokenizer(piece, add_special_tokens=False)["input_ids"]]
