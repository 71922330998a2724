"""Measure corrections: what they are compared by, without their text."""

import asyncio
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from tidemill_feedback.curations.domain.example import Prompt
from tidemill_feedback.curations.domain.measures import MIN_WORDS, Measures
from tidemill_feedback.curations.ports import MeasuredText
from tidemill_feedback.curations.spam import spam_in
from tidemill_kit.texts.minhash import mixed, sketches

_WITHIN = 16_000
"""Characters of a correction that all but its digest is made of: memory is some hundred bytes for each."""
_QUOTES = "\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"
_OPENING, _CLOSING = f"{_QUOTES}([{{\u00bf\u00a1", f"{_QUOTES})]}}.,;:!?\u3002\u3001"
"""Marks at the ends of words; one within a number, or before it, is a part of it."""
_NUMBER = re.compile(r"\W*\d")
"""Begins a number; "i1" is a name."""


async def measure(texts: Sequence[MeasuredText], *, key: str, find_spam: bool) -> Sequence[Measures]:
    """Implement `ports.Measure`."""
    return await asyncio.to_thread(lambda: [_measured(each, key, find_spam=find_spam) for each in texts])


def _measured(correction: MeasuredText, key: str, *, find_spam: bool) -> Measures:
    text, prompt = correction.text[:_WITHIN], correction.prompt
    return Measures(
        question=_digest(key, _question(correction.prompt)),
        answer=_digest(key, _alike(correction.text)),
        signature=_signature(text),
        spam=spam_in(text, question=_asked(prompt), answer=prompt.answer or "") if find_spam else None,
    )


def _asked(prompt: Prompt) -> str:
    """Return what the user wrote, with their earlier messages: a short question is in no clear language."""
    said = [turn.text for turn in prompt.earlier if turn.role == "user"]
    return "\n".join([*said, prompt.question])[-_WITHIN:]


def _question(prompt: Prompt) -> list[object]:
    """Return what a question is: the same words mean something else after other ones, or for other readers."""
    return [
        _alike(prompt.question),
        [[turn.role, turn.text] for turn in prompt.earlier],
        dict(prompt.variables),
        sorted(prompt.principals),
    ]


def _alike(text: str) -> list[str]:
    """Return the words of a text without case, and without marks around them.

    What makes another number stays: a raised digit, the case of a unit, and the mark of feet or inches.
    """
    found, numeric = list[str](), False
    for word in unicodedata.normalize("NFC", text).split():
        if bare := _bare(word):
            is_number = _NUMBER.match(bare) is not None
            found.append(bare if numeric or is_number else bare.casefold())
            numeric = is_number
    return found


def _bare(word: str) -> str:
    opened = word.lstrip(_OPENING)
    bare = opened.rstrip(_CLOSING)
    marks = opened[len(bare) :]
    if opened == word and bare[-1:].isdigit():
        bare += marks[: len(marks) - len(marks.lstrip(_QUOTES))]
    return bare


def _digest(key: str, said: object) -> str:
    """Return a digest that is another one under another key, so that nothing of two projects is ever equal."""
    return hashlib.sha256(json.dumps([key, said], sort_keys=True).encode()).hexdigest()[:32]


def _signature(text: str) -> bytes:
    """Return the lowest byte of each minimum of the text's words, nothing where they are few."""
    found = sketches([text], run=1)
    if len(found.shingles[0]) < MIN_WORDS:
        return b""
    return (mixed(found.minima[0]) & np.uint64(0xFF)).astype(np.uint8).tobytes()
