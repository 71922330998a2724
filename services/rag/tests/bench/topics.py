"""How long topics take, and how well they find the subjects of documents whose subject is known.

`python -m services.rag.tests.bench.topics [DOCUMENTS ...]` clusters vectors of a mixture of 12 subjects, as long as
MiniLM's and as far apart as its passages are (cosine .45 within a subject, .15 between), with texts of 300 words.
"""

import random
import sys
import time
from collections import Counter

import numpy as np

from tidemill_rag.topics.clustering import clusters_of
from tidemill_rag.topics.domain import Clusters

_SUBJECTS, _DIMENSIONS, _WORDS = 12, 384, 300
_WITHIN, _BETWEEN = 0.45, 0.15


def documents(count: int) -> tuple[bytes, list[str], list[int]]:
    """Return vectors, texts and the subjects that they are of."""
    numbers, words = np.random.default_rng(3), random.Random(3)  # noqa: S311 - not for security
    subjects = [int(numbers.integers(_SUBJECTS)) for _ in range(count)]
    common = _unit(numbers.normal(size=(1, _DIMENSIONS)))
    own = _unit(numbers.normal(size=(_SUBJECTS, _DIMENSIONS)))
    noise = _unit(numbers.normal(size=(count, _DIMENSIONS)))
    parts = np.sqrt([_BETWEEN, _WITHIN - _BETWEEN, 1 - _WITHIN])
    vectors = _unit(parts[0] * common + parts[1] * own[subjects] + parts[2] * noise).astype(np.float32)
    texts = [_text(subject, words) for subject in subjects]
    return vectors.tobytes(), texts, subjects


def purity(found: Clusters, subjects: list[int]) -> float:
    """Return the share of documents whose cluster is mostly of their subject."""
    of_cluster: dict[int, Counter[int]] = {}
    for member, subject in zip(found.members, subjects, strict=True):
        of_cluster.setdefault(member, Counter())[subject] += 1
    return sum(max(each.values()) for each in of_cluster.values()) / len(subjects)


def _text(subject: int, words: random.Random) -> str:
    own = [f"s{subject}word{int(words.paretovariate(1.1))}" for _ in range(_WORDS // 3)]
    return " ".join(own + [f"word{int(words.paretovariate(1.1))}" for _ in range(_WORDS - len(own))])


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ("1000", "4000")):
        vectors, texts, subjects = documents(size)
        began, used = time.perf_counter(), time.process_time()
        found = clusters_of(vectors, texts, 0)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - used
        time_taken = f"{size} documents: {wall_s:.1f} s, {cpu_s:.1f} s of a processor"
        topics = f"{found.count} topics of {_SUBJECTS} subjects, purity {purity(found, subjects):.3f}"
        print(f"{time_taken}; {topics}, separation {found.separation:.3f}")  # noqa: T201 - what it is for
