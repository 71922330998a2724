"""What the files beside an embedding model's weights say of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_rag.embedding.domain import MAX_TOKENS, MIN_TOKENS

_DEFAULT_LIMIT = 512
_MAX_PROMPT = 1000
"""Characters of a prompt, which precedes every text."""
CONFIG_FILES = (
    "config.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingConfig:
    """Settings in the files beside the weights."""

    max_tokens: int
    pooling: str
    query_prompt: str
    passage_prompt: str

    @classmethod
    def of(cls, folder: Path) -> "EmbeddingConfig":
        """Read the settings of a verified folder."""
        return cls.read({name: _read(folder / name) for name in CONFIG_FILES})

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> "EmbeddingConfig":
        """Read the JSON files of a sentence-transformers folder; only config.json is required.

        Raises:
            ArtifactRefused: a file is invalid; the error names it.

        """
        config, limits, pooling, prompts = (_object(files.get(name, b"{}"), name) for name in CONFIG_FILES)
        said = limits.get("max_seq_length") or config.get("max_position_embeddings") or _DEFAULT_LIMIT
        if not isinstance(said, int) or said < MIN_TOKENS:
            raise ArtifactRefused(CONFIG_FILES[0], f"has a token limit below the minimum, {MIN_TOKENS}")
        named = prompts.get("prompts")
        named = named if isinstance(named, dict) else {}
        return cls(
            max_tokens=min(said, MAX_TOKENS),
            pooling="cls" if pooling.get("pooling_mode_cls_token") else "mean",
            query_prompt=_prompt(named, "query"),
            passage_prompt=_prompt(named, "document") or _prompt(named, "passage"),
        )


def _object(content: bytes, name: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactRefused(name, "is not JSON") from error
    if not isinstance(parsed, dict):
        raise ArtifactRefused(name, "is not a JSON object")
    return parsed


def _prompt(named: Mapping[str, object], name: str) -> str:
    text = named.get(name) or ""
    if not isinstance(text, str) or len(text) > _MAX_PROMPT:
        raise ArtifactRefused(CONFIG_FILES[-1], f"prompt {name} must be a string of at most {_MAX_PROMPT} characters")
    return text


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b"{}"
