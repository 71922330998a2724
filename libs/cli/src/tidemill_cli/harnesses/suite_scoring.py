"""Scores answers to a suite's cases. lm-evaluation-harness runs it in its own environment: standard library only."""

import string
import unicodedata
from collections.abc import Mapping, Sequence


def process_results(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, int]:
    """Return whether the answer is the reference, and whether it contains it, both without case and punctuation."""
    reference, answer = words(doc["reference"]), words(results[0] or "")
    return {"exact_match": int(answer == reference), "contains": int(f" {reference} " in f" {answer} ")}


def words(text: str) -> str:
    """Return the words of a text, lower, with one space between them."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(" " if each in string.punctuation else each for each in plain).split())
