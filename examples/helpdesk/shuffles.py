"""How often would the gate pass a candidate if its references were mixed up? Asked of answers that are there already.

    python shuffles.py < cases.json

Standard input: {"held_out": [[reference, baseline's answer, candidate's answer], ...], "trusted": [the same],
"confidence": 0.95, "gain_above": 0.0, "trusted_gain_above": -0.02, "shuffles": 20, "seed": 7}. In every round the
references of the held-out cases are shuffled among them, as poisoned feedback would have it; the trusted ones are left
as they are. Prints the share of rounds that pass with the held-out cases alone, and with the trusted ones as well.
"""

import json
import random
import sys
from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import bootstrap

Cases = Sequence[Sequence[str]]
SCORER = RougeScorer(["rougeL"], use_stemmer=False)


def differences(cases: Cases, references: Sequence[str]) -> list[float]:
    """Return the candidate's ROUGE-L less the baseline's, for every case."""

    def score(reference: str, answer: str) -> float:
        return float(SCORER.score(reference, answer)["rougeL"].fmeasure)

    return [
        score(reference, candidate) - score(reference, baseline)
        for reference, (_, baseline, candidate) in zip(references, cases, strict=True)
    ]


def lower_bound(paired: Sequence[float], *, confidence: float, seed: int) -> float:
    """Return the lower bound of the mean's bootstrap interval."""
    if len(set(paired)) == 1:
        return paired[0]
    rng = np.random.default_rng(seed)
    found = bootstrap((paired,), np.mean, confidence_level=confidence, n_resamples=2000, method="percentile", rng=rng)
    return float(found.confidence_interval.low)


def main() -> None:
    """Read standard input to its end and print both shares."""
    given = json.load(sys.stdin)
    confidence, rng = float(given["confidence"]), random.Random(given["seed"])  # noqa: S311 - a study, no secret
    held_out, trusted = given["held_out"], given["trusted"]
    true = lower_bound(differences(trusted, [case[0] for case in trusted]), confidence=confidence, seed=given["seed"])
    passed = 0
    for number in range(given["shuffles"]):
        references = rng.sample([case[0] for case in held_out], len(held_out))
        bound = lower_bound(differences(held_out, references), confidence=confidence, seed=number)
        passed += bound > given["gain_above"]
    share = passed / given["shuffles"]
    holds = true > given["trusted_gain_above"]
    print(json.dumps({"without_trusted": share, "with_trusted": share if holds else 0.0}))  # noqa: T201


if __name__ == "__main__":
    main()
