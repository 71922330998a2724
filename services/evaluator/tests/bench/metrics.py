"""Metrics of answers against their libraries, on odd strings in ten languages, and what they cost.

`python -m services.evaluator.tests.bench.metrics [--pairs 4000]`
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence

import jsonschema
import sacrebleu
from nltk.stem.snowball import SnowballStemmer
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer

from services.evaluator.tests.metrics.odd_strings import odd_pairs
from tidemill_core.rouge import rouge_l
from tidemill_core.words import words_of
from tidemill_evaluator.metrics.domain.json_texts import is_json
from tidemill_evaluator.metrics.domain.words import token_f1
from tidemill_evaluator.metrics.library_scores import bleu, chrf, follows, meteor, tokenizer_of

Score = Callable[[str, str], float]
SCHEMA = {"type": ["string", "number", "object"], "maxLength": 40}
CLOSE = 1e-9


def squad_f1(reference: str, text: str) -> float:
    """Return F1 as evaluate-v1.1.py of SQuAD defines it: no ASCII punctuation or articles, words by white space."""

    def words(given: str) -> list[str]:
        kept = re.sub(r"[!-/:-@\[-`{-~]", "", given.lower())
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    expected, given = words(reference), words(text)
    common = sum(min(expected.count(word), given.count(word)) for word in set(expected))
    return 2 * common / (len(expected) + len(given)) if common else 0.0


def library_schema(_: str, text: str) -> float:
    """Return whether json and jsonschema take a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return float(jsonschema.Draft202012Validator(SCHEMA).is_valid(value))


def library_json(_: str, text: str) -> float:
    """Return whether json takes a text."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def sacrebleu_bleu(reference: str, text: str) -> float:
    """Return BLEU by sacrebleu's function for one sentence."""
    return sacrebleu.sentence_bleu(text, [reference], tokenize=tokenizer_of(reference)).score / 100


def sacrebleu_chrf(reference: str, text: str) -> float:
    """Return chrF by sacrebleu's function for one sentence."""
    return sacrebleu.sentence_chrf(text, [reference]).score / 100


class NoSynonyms:
    """A WordNet without words."""

    def synsets(self, _word: str) -> list[object]:
        """Return nothing."""
        return []


def nltk_meteor(reference: str, text: str) -> float:
    """Return METEOR by nltk's function for several references, with French stems."""
    return float(
        meteor_score(
            [words_of(reference)],
            words_of(text),
            preprocess=str,
            stemmer=SnowballStemmer("french"),
            wordnet=NoSynonyms(),
        )
    )


class Words:
    """A tokenizer of rouge-score with our words."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        return words_of(text)


def compared(pairs: Sequence[tuple[str, str]], own: Score, library: Score) -> tuple[int, float, float]:
    """Return on how many pairs both agree, the greatest difference, and milliseconds a pair of our own."""
    began = time.process_time()
    scores = [own(*pair) for pair in pairs]
    spent = time.process_time() - began
    differences = [abs(score - library(*pair)) for score, pair in zip(scores, pairs, strict=True)]
    return sum(each <= CLOSE for each in differences), max(differences), 1000 * spent / len(pairs)


def main(count: int) -> None:
    """Print a line for each metric."""
    pairs = list(odd_pairs(count))
    plain = [pair for pair in pairs if all(text.isascii() for text in pair)]
    as_json = [(reference, json.dumps(text) if number % 2 else text) for number, (reference, text) in enumerate(pairs)]
    worded = [pair for pair in pairs if all(map(words_of, pair))]
    scorer, by_words = RougeScorer(["rougeL"]), RougeScorer(["rougeL"], tokenizer=Words())
    rows: list[tuple[str, Sequence[tuple[str, str]], Score, Score]] = [
        ("bleu, sacrebleu", pairs, bleu, sacrebleu_bleu),
        ("chrf, sacrebleu", pairs, chrf, sacrebleu_chrf),
        ("meteor, nltk", pairs, lambda *pair: meteor(*pair, language="fr"), nltk_meteor),
        ("json_valid, json", as_json, lambda _, text: float(is_json(text)), library_json),
        ("json_schema, jsonschema", as_json, lambda _, text: follows(json.dumps(SCHEMA), text) or 0.0, library_schema),
        ("rouge_l, rouge-score", pairs, rouge_l, lambda *pair: scorer.score(*pair)["rougeL"].fmeasure),
        ("rouge_l, rouge-score, ASCII", plain, rouge_l, lambda *pair: scorer.score(*pair)["rougeL"].fmeasure),
        ("rouge_l, same words", worded, rouge_l, lambda *pair: by_words.score(*pair)["rougeL"].fmeasure),
        ("token_f1, SQuAD", pairs, token_f1, squad_f1),
        ("token_f1, SQuAD, ASCII", plain, token_f1, squad_f1),
    ]
    for name, given, own, library in rows:
        equal, greatest, spent = compared(given, own, library)
        agree = f"{equal:5} of {len(given):5} equal, differ by {greatest:.3f} at most"
        sys.stdout.write(f"{name:30} {agree}, {spent:.2f} ms\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=4000)
    main(parser.parse_args().pairs)
