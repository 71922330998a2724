"""Which sentences of an answer rest on which passage.

The support of a sentence by a passage is K-Precision (Adlakha et al., 2023, "Evaluating Correctness and Faithfulness of
Instruction-Following Models for Question Answering"): the share of the sentence's tokens that occur in the passage, the
tokens normalised as in SQuAD (Rajpurkar et al., 2016: lower case, no punctuation, no articles). A sentence rests on the
passage with the highest support, if that passes a threshold. A marker that the model wrote, such as [1], is kept and
honoured where it names a passage; it does not count as support. A marker that names none is taken out of the text; a
list such as [4, 8, 15] with a number that is no passage's is content, and stays.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from sentencex import segment

from tidemill_inference.domain.content import Citation, Passage

DEFAULT_THRESHOLD = 0.5
"""Seen in 163 sentences of SmolLM2-135M about documents of Python's library: the document that was asked about reached
it in 42 % of them, a random other document in 5 % (at 0.6: 20 % and 1 %; at 0.7: 12 % and none)."""

_NUMBERS = r"\[\s*\d{1,3}(?:\s*,\s*\d{1,3})*\s*\]"
# Not after a word, a quote or a bracket: argv[1] and f()[0] are code, not markers.
_MARKERS = re.compile(rf"(?P<space>[ \t]*)(?<![\w\])\"'])(?P<run>{_NUMBERS}(?:[ \t]*{_NUMBERS})*)")
_MARKER = re.compile(_NUMBERS)
_NUMBER = re.compile(r"\d+")
# What may still become a marker with its space before it, once more text is there.
_UNDECIDED = re.compile(rf"(?:[ \t]+|(?<![\w\])\"']))(?:{_NUMBERS}[ \t]*)*(?:\[[\d,\s]{{0,20}})?\Z")
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_SPACES = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Scripts written without spaces: each character is a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """What an answer rests on; `valid` is the share of its sentences that some passage supports."""

    citations: tuple[Citation, ...]
    valid: float | None


class MarkerFilter:
    """Takes markers that name no passage out of a text that comes in pieces, holding back what may become one."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = frozenset(known)
        self._held = ""
        self._before = ""

    def feed(self, piece: str) -> str:
        """Return what is certain by now."""
        text = self._held + piece
        undecided = _UNDECIDED.search(self._before + text, len(self._before))
        certain = text[: undecided.start() - len(self._before)] if undecided else text
        self._held = text[len(certain) :]
        return self._cleaned(certain)

    def end(self) -> str:
        """Return the rest."""
        rest, self._held = self._held, ""
        return self._cleaned(rest)

    def _cleaned(self, text: str) -> str:
        seen, cleaned, position = self._before + text, "", len(self._before)
        for found in _MARKERS.finditer(seen, position):
            cleaned += seen[position : found.start()] + self._kept(found)
            position = found.end()
        self._before = seen[-1:]
        return cleaned + seen[position:]

    def _kept(self, found: re.Match[str]) -> str:
        markers = _MARKER.findall(found["run"])
        kept = [marker for marker in markers if self._known.issuperset(_NUMBER.findall(marker)) or "," in marker]
        return found[0] if kept == markers else found["space"] + "".join(kept) if kept else ""


def ground(text: str, passages: Sequence[Passage], *, threshold: float = DEFAULT_THRESHOLD) -> Grounding:
    """Return the citations of a text whose markers are clean already, in its order."""
    if not passages:
        return Grounding(citations=(), valid=None)
    words = {passage.id: frozenset(tokens_of(f"{passage.title} {passage.text}")) for passage in passages}
    citations: list[Citation] = []
    sentences = supported = 0
    for start, end in sentences_of(text):
        sentence = text[start:end]
        marked = [number for found in _MARKERS.finditer(sentence) for number in _NUMBER.findall(found["run"])]
        tokens = tokens_of(_MARKERS.sub("", sentence))
        if not tokens:
            continue
        sentences += 1
        best, support = max(
            ((passage.id, support_of(tokens, words[passage.id])) for passage in passages), key=lambda pair: pair[1]
        )
        named = [number for number in dict.fromkeys(marked) if number in words]
        if support >= threshold:
            supported += 1
            named = list(dict.fromkeys([best, *named]))
        citations += [Citation(start=start, end=end, passage=name) for name in named]
    return Grounding(citations=tuple(citations), valid=supported / sentences if sentences else None)


def support_of(tokens: Sequence[str], passage: frozenset[str]) -> float:
    """Return K-Precision: the share of the tokens that occur in the passage, 0 to 1."""
    return sum(token in passage for token in tokens) / len(tokens)


def tokens_of(text: str) -> list[str]:
    """Return the tokens of a text, normalised as in SQuAD."""
    plain = _NO_SPACES.sub(r" \1 ", text.lower()).translate(_PUNCTUATION)
    return [token for token in plain.split() if token not in _ARTICLES]


def sentences_of(text: str) -> list[tuple[int, int]]:
    """Return the spans of the sentences in code points, without the space around them.

    A marker behind the full stop ("It does. [1] It") belongs to the sentence before it.
    """
    spans: list[tuple[int, int]] = []
    position = 0
    for piece in segment("en", text):
        start = position + len(piece) - len(piece.lstrip())
        position += len(piece)
        end = start + len(piece.strip())
        leading = _MARKERS.match(piece.lstrip())
        if leading and spans and "\n" not in text[spans[-1][1] : start]:
            cut = start + leading.end()
            spans[-1] = (spans[-1][0], cut)
            start = cut + len(text[cut:end]) - len(text[cut:end].lstrip())
        if start < end:
            spans.append((start, end))
    if "".join(segment("en", text)) != text:  # an offset that is wrong is worse than one sentence for all
        return [(len(text) - len(text.lstrip()), len(text.rstrip()))] if text.strip() else []
    return spans
