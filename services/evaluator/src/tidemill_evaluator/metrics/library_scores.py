"""Scores by sacrebleu, nltk and jsonschema. They are computed in bounded processes: the service itself loads none."""

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tidemill_core.words import words_of
from tidemill_evaluator.metrics.domain.json_texts import read_json
from tidemill_evaluator.metrics.domain.metric import BLEU, CHRF, JSON_SCHEMA, METEOR, Scored

IMPORTS = ("sacrebleu.metrics", "jsonschema", "referencing", __name__)
"""What a process has to load before its work. nltk is not among it, which takes longer than all of it."""
_BY_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff]"  # kana
)
_STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
}
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def tokenizer_of(reference: str) -> str:
    """Return sacrebleu's tokenizer for the script of a reference.

    `char` where words have no spaces between them, `zh` for Chinese, else `intl` (mteval-v14.pl, by Unicode).
    """
    if _BY_CHARACTER.search(reference):
        return "char"
    return "zh" if _HAN.search(reference) else "intl"


def bleu(reference: str, text: str) -> float:
    """Return BLEU of a sentence with exponential smoothing and effective order (Papineni et al. 2002; Post 2018)."""
    return _share(_bleu(tokenizer_of(reference)).sentence_score(text, [reference]).score)


def chrf(reference: str, text: str) -> float:
    """Return chrF2: F-score of character n-grams up to 6, recall counts twice (Popović 2015)."""
    return _share(_chrf().sentence_score(text, [reference]).score)


def meteor(reference: str, text: str, *, language: str = "") -> float:
    """Return METEOR of a sentence (Lavie and Agarwal 2007) without synonyms: equal words first, then equal stems.

    WordNet, which has the synonyms, is fetched and English. Words are those of `rouge_l`; stems are Snowball's of the
    language, given as "de" or "de-CH"; of others a word is its own stem.
    """
    words, given = words_of(reference), words_of(text)
    score, stemmer = _meteor(), _stemmer(_STEMMERS.get(language.partition("-")[0].lower(), ""))
    found = score(words, given, preprocess=str, stemmer=stemmer, wordnet=_NoSynonyms())
    return min(1.0, max(0.0, float(found)))


class _NoSynonyms:
    """A WordNet without words."""

    def synsets(self, _word: str) -> list[object]:
        return []


class _Whole:
    """The stemmer of languages without one."""

    def stem(self, word: str) -> str:
        return word


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedWith:
    """What the answer to a case is compared with; `schema` is JSON."""

    reference: str
    schema: str = ""
    language: str = ""


def follows(schema: str, text: str) -> Scored:
    """Return 1 for JSON that its schema allows (draft 2020-12), else 0; None where the schema cannot be followed."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - see IMPORTS
    from referencing import Registry  # noqa: PLC0415 - see IMPORTS

    try:
        value = read_json(text)
    except (ValueError, RecursionError):
        return 0.0
    validator = Draft202012Validator(json.loads(schema), registry=Registry())  # nothing is fetched
    try:
        return float(validator.is_valid(value))
    except (ValueError, ArithmeticError, RecursionError, re.error):
        return None


def library_scores(names: Collection[str], compared: ComparedWith, text: str) -> dict[str, Scored]:
    """Return the scores of an answer."""
    reference = compared.reference
    scorers: Mapping[str, Callable[[], Scored]] = {
        BLEU: lambda: bleu(reference, text),
        CHRF: lambda: chrf(reference, text),
        METEOR: lambda: meteor(reference, text, language=compared.language),
        JSON_SCHEMA: lambda: follows(compared.schema, text),
    }
    return {name: scorers[name]() for name in names}


def _share(percent: float) -> float:
    return min(1.0, max(0.0, percent / 100))


@cache
def _bleu(tokenize: str) -> Any:  # noqa: ANN401 - sacrebleu has no types
    from sacrebleu.metrics import bleu as library  # noqa: PLC0415 - see IMPORTS

    return library.BLEU(tokenize=tokenize, smooth_method="exp", effective_order=True)


@cache
def _chrf() -> Any:  # noqa: ANN401 - sacrebleu has no types
    from sacrebleu.metrics import chrf as library  # noqa: PLC0415 - see IMPORTS

    return library.CHRF()


@cache
def _meteor() -> Any:  # noqa: ANN401 - nltk has no types
    """Return nltk's function; nltk is loaded without numpy and scipy, which it can do without: a third of the time."""
    absent = [name for name in ("numpy", "scipy") if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # Python's way to say "not installed"
    try:
        from nltk.translate import meteor_score  # noqa: PLC0415 - see IMPORTS
    finally:
        for name in absent:
            del sys.modules[name]
    return meteor_score.single_meteor_score


@cache
def _stemmer(language: str) -> Any:  # noqa: ANN401 - nltk has no types
    from nltk.stem import snowball  # noqa: PLC0415 - see IMPORTS

    return snowball.SnowballStemmer(language) if language else _Whole()
