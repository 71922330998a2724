"""What makes a version a reward model: it scores whole answers, and generates none."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_core.intervals import share_interval
from tidemill_core.models.manifest import ArtifactFile

HEAD = "score"
"""The layer that makes a score of the last token, as transformers and PEFT name it."""
_VOCABULARIES = frozenset({"vocab.json", "merges.txt", "vocab.txt", "added_tokens.json"})


class ModelKind(Enum):
    """What a version computes: embeddings and answers, or scores of answers."""

    LANGUAGE_MODEL = "language_model"
    REWARD_MODEL = "reward_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAccuracy:
    """Of held-out pairs, how many have the higher score for the preferred answer; equal scores do not count."""

    pairs: int
    correct: int

    @property
    def share(self) -> float:
        """The share of the pairs."""
        return self.correct / self.pairs

    @property
    def low(self) -> float:
        """The lower bound of the share's 95 % interval."""
        return share_interval(self.share, self.pairs)[0]

    @property
    def high(self) -> float:
        """Its upper bound."""
        return share_interval(self.share, self.pairs)[1]

    def __str__(self) -> str:
        """Return it as text, with its interval."""
        return f"{self.share:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.pairs} held-out pairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModel:
    """What a training needs to know of the reward model that it learns from."""

    tokenizer_sha256: str
    """Digest of the tokenizer that its scores are of; a model with another one has other tokens for the same text."""
    head: str = HEAD
    accuracy: PairAccuracy | None = None
    """None where no pairs were held out."""


def tokenizer_digest(files: Sequence[ArtifactFile]) -> str:
    """Return the digest of the files that make tokens of texts, "" where there are none.

    `tokenizer.json` has all of it; without it, they are the files of which it would be made.
    """
    by_path = {file.path: file.sha256 for file in files}
    if (whole := by_path.get("tokenizer.json")) is not None:
        return whole
    parts = {path: sha256 for path, sha256 in by_path.items() if path in _VOCABULARIES or path.endswith(".model")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest() if parts else ""
