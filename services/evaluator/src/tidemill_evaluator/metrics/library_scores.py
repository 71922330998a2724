"""Scores by sacrebleu and jsonschema. They are computed in bounded processes: the service itself loads neither."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from tidemill_evaluator.metrics.domain.json_texts import read_json
from tidemill_evaluator.metrics.domain.metric import BLEU, CHRF, JSON_SCHEMA, Scored

IMPORTS = ("sacrebleu.metrics", "jsonschema", "referencing", __name__)
"""What a process has to load before its work."""
_BY_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff]"  # kana
)
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


def library_scores(names: Collection[str], reference: str, schema: str, text: str) -> dict[str, Scored]:
    """Return the scores of an answer; `schema` is the case's as JSON."""
    scorers: Mapping[str, Callable[[], Scored]] = {
        BLEU: lambda: bleu(reference, text),
        CHRF: lambda: chrf(reference, text),
        JSON_SCHEMA: lambda: follows(schema, text),
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
