"""Which examples a deployment shows before a question."""

import re
from dataclasses import dataclass
from enum import Enum

from tidemill_core.errors import Violation, named

DEFAULT_COUNT, MAX_COUNT = 4, 8
DEFAULT_TOKENS, MAX_TOKENS = 600, 100_000
DEFAULT_SIMILARITY = 0.3
BYTES_PER_TOKEN = 3
"""Where a model's tokens cannot be counted, a token is taken for so many ASCII characters: few, as most have more."""
LATEST = "latest"
_DATASET = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}(@([1-9][0-9]{0,8}|latest))?")
_MAX_MODEL_NAME = 128


class Selection(Enum):
    """How examples are chosen."""

    SIMILARITY = "similarity"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Examples of a dataset version's train part; resolved, `dataset` and `embedding` name one version each."""

    dataset: str
    count: int = DEFAULT_COUNT
    by: Selection = Selection.SIMILARITY
    embedding: str = ""
    """The model that embeds questions; "" where they are chosen by chance."""
    max_tokens: int = DEFAULT_TOKENS
    """Of all of them together."""
    min_similarity: float = DEFAULT_SIMILARITY
    seed: int = 0

    @property
    def reserved_tokens(self) -> int:
        """How many they can be by whatever tokenizer, which makes at most one token of a byte."""
        return BYTES_PER_TOKEN * (self.max_tokens + 1)

    @property
    def newest(self) -> bool:
        """Whether it names no version, but the newest one."""
        return self.dataset.partition("@")[2] in {"", LATEST}

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        by_similarity = self.by is Selection.SIMILARITY
        embedding = 0 < len(self.embedding) <= _MAX_MODEL_NAME if by_similarity else not self.embedding
        bounds = (
            ("count", 1 <= self.count <= MAX_COUNT, f"is {self.count}; use 0 (for {DEFAULT_COUNT}) to {MAX_COUNT}"),
            (
                "max_tokens",
                1 <= self.max_tokens <= MAX_TOKENS,
                f"is {self.max_tokens}; use 0 (for {DEFAULT_TOKENS}) to {MAX_TOKENS}",
            ),
            (
                "min_similarity",
                0 < self.min_similarity <= 1,
                f"is {self.min_similarity:g}; use 0 (for {DEFAULT_SIMILARITY}) to 1",
            ),
            (
                "embedding",
                embedding,
                "name an embedding model of the registry" if by_similarity else "goes with by: similarity only",
            ),
            (
                "dataset",
                bool(_DATASET.fullmatch(self.dataset)),
                f"is {named(self.dataset)}; name a dataset of this project, as dataset, dataset@latest or dataset@3",
            ),
        )
        return [Violation(f"{path}.{name}", text) for name, fits, text in bounds if not fits]
