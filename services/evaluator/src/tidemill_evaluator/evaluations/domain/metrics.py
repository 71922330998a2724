"""Metrics of answers. All except `output_chars` are in [0, 1], and more is better.

- `rouge_l`: F-measure of the longest common subsequence (Lin, ROUGE: A Package for Automatic Evaluation of Summaries,
  2004), without stemming, as in the package rouge-score, on Unicode words; behind the port `Scores`.
- `token_f1`: harmonic mean of precision and recall of the words, as in SQuAD.
- `citation_valid`: share of the answer's sentences that a passage supports, as computed by inference. Unset (no
  passages, no sentence) counts as 0: both sides have the same passages, so a case without any is 0 for both, while an
  answer without a sentence loses to a supported one.
- `output_chars`: length of the answer in characters.
"""

import re
from collections import Counter

from tidemill_core.words import same_signs, without_punctuation
from tidemill_evaluator.evaluations.domain.results import CaseAnswer
from tidemill_evaluator.gates.domain.gate import CITATION_VALID, METRICS, OUTPUT_CHARS, ROUGE_L, TOKEN_F1

UNBOUNDED = frozenset({OUTPUT_CHARS})
"""All others are in [0, 1]."""

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)


def scores_of(reference: str, answer: CaseAnswer, *, rouge_l: float) -> dict[str, float]:
    """Return the scores of an answer; all are 0 for a failure."""
    if answer.failure:
        return dict.fromkeys(METRICS, 0.0)
    return {
        ROUGE_L: rouge_l,
        TOKEN_F1: token_f1(reference, answer.text),
        CITATION_VALID: answer.citation_valid or 0.0,
        OUTPUT_CHARS: float(len(answer.text)),
    }


def token_f1(reference: str, text: str) -> float:
    """Return the F1 of shared words.

    Rajpurkar et al., SQuAD: 100,000+ Questions for Machine Comprehension of Text (2016), `f1_score` of
    evaluate-v1.1.py, on Unicode words with their significant signs. Two texts without any word are equal if their signs
    are.
    """
    pending, given = _words(reference), _words(text)
    if not pending or not given:
        return float(pending == given and same_signs(*(_ARTICLES.sub(" ", each) for each in (reference, text))))
    common = sum((Counter(pending) & Counter(given)).values())
    return 2 * common / (len(pending) + len(given))


def _words(text: str) -> list[str]:
    """Return the words after SQuAD's normalization: lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", without_punctuation(text)).split()
