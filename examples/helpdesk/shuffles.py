"""Computes how often the gate would pass a candidate if the references were shuffled, from existing answers.

    python shuffles.py < cases.json

Standard input: {"held_out": [[reference, baseline's answer, candidate's answer], ...], "trusted": [the same],
"confidence": 0.95, "gain_above": 0.0, "trusted_gain_above": -0.02, "shuffles": 20, "seed": 7}. In every round the
references of the held-out cases are shuffled, as poisoned feedback would do; the trusted ones are not. Prints the share
of rounds that pass with the held-out cases alone, and with the trusted ones as well.
"""

import json
import math
import random
import sys
from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

Cases = Sequence[Sequence[str]]
SCORER = RougeScorer(["rougeL"], use_stemmer=False)


def differences(cases: Cases, references: Sequence[str]) -> list[float]:
    """Return the candidate's ROUGE-L minus the baseline's, per case."""

    def score(reference: str, answer: str) -> float:
        return float(SCORER.score(reference, answer)["rougeL"].fmeasure)

    return [
        score(reference, candidate) - score(reference, baseline)
        for reference, (_, baseline, candidate) in zip(references, cases, strict=True)
    ]


def lower_bound(paired: Sequence[float], *, confidence: float) -> float:
    """Return the gate's lower confidence bound of the mean (source: the evaluator's README)."""
    values = (np.asarray(paired) + 1) / 2
    stakes = 2.0 ** (-np.arange(8)[:, None] / 2)
    weights = np.log(0.7 ** np.arange(8) / np.sum(0.7 ** np.arange(8)))

    def refuted(mean: float) -> bool:
        with np.errstate(divide="ignore"):
            capital = np.log(1 - stakes + stakes * values / mean).sum(axis=1) + weights
        return bool(np.logaddexp.reduce(capital) >= -math.log((1 - confidence) / 2))

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return 2 * low - 1


def main() -> None:
    """Read standard input and print both shares."""
    given = json.load(sys.stdin)
    confidence, rng = float(given["confidence"]), random.Random(given["seed"])  # noqa: S311 - a study, no secret
    held_out, trusted = given["held_out"], given["trusted"]
    true = lower_bound(differences(trusted, [case[0] for case in trusted]), confidence=confidence)
    passed = 0
    for _ in range(given["shuffles"]):
        references = rng.sample([case[0] for case in held_out], len(held_out))
        bound = lower_bound(differences(held_out, references), confidence=confidence)
        passed += bound > given["gain_above"]
    share = passed / given["shuffles"]
    holds = true > given["trusted_gain_above"]
    print(json.dumps({"without_trusted": share, "with_trusted": share if holds else 0.0}))  # noqa: T201


if __name__ == "__main__":
    main()
