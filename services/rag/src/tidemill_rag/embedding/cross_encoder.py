"""Cross-encoders on the CPU: sequence classification with one label reads a question and a passage together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_kit.models.folders import CONFIG, WEIGHTS, checked_config, passed_on
from tidemill_kit.models.numeric_format import NumericFormat, log_computing
from tidemill_rag.embedding.batched import micro_batches
from tidemill_rag.embedding.domain import MIN_TOKENS
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import PairTokenizer, TokenPair
from tidemill_rag.embedding.transformers import ready_torch

_UNSAID_LABELS: Final = 2
"""What transformers makes of a config that says none."""
_ARCHITECTURE: Final = "ForSequenceClassification"
_MAX_TOKENS: Final = 512
"""Of question and passage together, whatever a model takes: one that takes more is slower, and chunks are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEncoderConfig:
    """What a config says of a cross-encoder."""

    max_tokens: int

    @classmethod
    def of(cls, folder: Path) -> "CrossEncoderConfig":
        """Read the config of a verified folder; raises as `read`."""
        return cls.read((folder / CONFIG).read_bytes())

    @classmethod
    def read(cls, content: bytes) -> "CrossEncoderConfig":
        """Read a config.json.

        Raises:
            ArtifactRefused: it is no config of a sequence classification with one label.

        """
        try:
            config = json.loads(content)
            architectures = [str(each) for each in config.get("architectures") or ()]
            labels = config.get("id2label") or dict.fromkeys(range(int(config.get("num_labels", _UNSAID_LABELS))))
            limit = min(int(config.get("max_position_embeddings") or _MAX_TOKENS), _MAX_TOKENS)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactRefused(CONFIG, "is no config of a model") from error
        if not any(each.endswith(_ARCHITECTURE) for each in architectures):
            text = f"has the architecture {', '.join(architectures)[:80] or 'of none'}, and not one {_ARCHITECTURE}"
            raise ArtifactRefused(CONFIG, text)
        if len(labels) != 1:
            raise ArtifactRefused(CONFIG, f"has {len(labels)} labels; a cross-encoder has 1")
        if limit < MIN_TOKENS:
            raise ArtifactRefused(CONFIG, f"has a token limit below the minimum, {MIN_TOKENS}")
        return cls(max_tokens=limit)


class TransformersReranker:
    """Implements `ports.Reranker`."""

    def __init__(  # noqa: PLR0913 - each of another kind
        self,
        folder: Path,
        threads: EmbeddingThreads,
        tokenizer: PairTokenizer,
        config: CrossEncoderConfig,
        *,
        threads_per_pass: int = 1,
        numeric_format: NumericFormat = "float32",
    ) -> None:
        """Load from a verified folder. Blocks for about a second: call it on an embedding thread.

        Raises:
            ArtifactRefused: the weights are not those of a cross-encoder.

        """
        self._torch = torch = ready_torch(threads_per_pass)
        from transformers import AutoModelForSequenceClassification as Classifier  # noqa: PLC0415 - takes seconds

        with passed_on(folder) as given:
            network, loaded = Classifier.from_pretrained(
                given,
                config=checked_config(folder, lambda config: Classifier.from_config(_one_label(config))),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=getattr(torch, numeric_format),
                output_loading_info=True,
            )
        if missing := sorted(loaded["missing_keys"]):
            raise ArtifactRefused(WEIGHTS, f"lacks {missing[0]}, which scores passages: it is another model's")
        self._network: Any = network.eval()
        log_computing(numeric_format, torch.backends.cpu.get_cpu_capability())
        self._threads = threads
        self._tokenizer = tokenizer
        self._limit = config.max_tokens
        self._has_types = getattr(network.config, "type_vocab_size", 0) > 1

    async def scores(self, project: str, question: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Reranker.scores`."""
        pairs = await self._tokenizer.encode(project, question, texts, limit=self._limit)
        batches = micro_batches([pair.ids for pair in pairs])
        passes = [partial(self._scored, [pairs[position] for position in batch]) for batch in batches]
        scores = [0.0] * len(pairs)
        for batch, scored in zip(batches, await self._threads.run_all(project, passes, urgent=True), strict=True):
            for position, score in zip(batch, scored, strict=True):
                scores[position] = score
        return scores

    def _scored(self, batch: Sequence[TokenPair]) -> list[float]:
        torch, longest = self._torch, max(len(pair.ids) for pair in batch)
        ids, mask, types = (torch.zeros((len(batch), longest), dtype=torch.long) for _ in range(3))
        for row, pair in enumerate(batch):
            length = len(pair.ids)
            ids[row, :length], mask[row, :length] = torch.tensor(pair.ids), 1
            types[row, :length] = torch.tensor(pair.types)
        beside = {"token_type_ids": types} if self._has_types else {}
        with torch.inference_mode():
            logits = self._network(input_ids=ids, attention_mask=mask, **beside).logits[:, 0]
            scores: list[float] = torch.sigmoid(logits.float()).tolist()
        return scores


def _one_label(config: Any) -> Any:  # noqa: ANN401 - of transformers
    """Return a config with one label, which is never passed on from a file."""
    config.num_labels = 1
    return config
