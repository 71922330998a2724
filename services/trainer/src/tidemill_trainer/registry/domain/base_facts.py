"""Facts about a base that its files contain, collected when each file is inspected."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

VOCABULARY = frozenset({"lm_head", "embed_tokens", "embed_in", "embed_out", "wte", "wpe", "word_embeddings", "shared"})
"""Embedding and output modules by family: they are tied, and would be stored whole with an adapter."""
MAX_MODULES = 512
"""Maximum stored per file; a file with more distinct modules stores none."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)")
_WEIGHT = ".weight"
_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Facts of one file; empty or 0 means unknown.

    `modules` are the paths of modules with a weight matrix, with `*` for layer numbers; linear ones are among them.
    """

    modules: tuple[str, ...] = ()
    context_tokens: int = 0
    chat_template: bool = False
    quantized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """Facts of all files; None means unknown, as for versions stored without facts."""

    modules: frozenset[str] | None = None
    context_tokens: int | None = None
    chat_template: bool | None = None
    quantized: bool = False

    @classmethod
    def of(cls, files: Iterable[tuple[str, FileFacts | None]]) -> "BaseFacts":
        """Combine the facts of files, given by path."""
        found = dict(files)
        weights = [facts for path, facts in found.items() if path.endswith(".safetensors")]
        known = [facts.modules for facts in weights if facts is not None and facts.modules]
        config = found.get("config.json")
        templates = [found.get(name) for name in ("tokenizer_config.json", "chat_template.jinja")]
        said = [facts.chat_template for facts in templates if facts is not None]
        return cls(
            modules=frozenset().union(*known) if known and len(known) == len(weights) else None,
            context_tokens=(config.context_tokens or None) if config else None,
            chat_template=any(said) if found.get("tokenizer_config.json") else (True if any(said) else None),
            quantized=config is not None and config.quantized,
        )

    @property
    def names(self) -> Sequence[str]:
        """Module names that `target_modules` may contain: the last path segments, without those of the vocabulary."""
        return sorted({path.rpartition(".")[2] for path in self.modules or ()} - VOCABULARY)

    def has(self, target: str) -> bool:
        """Return whether a LoRA target equals, or ends the path of, a module; True if the modules are unknown."""
        if self.modules is None:
            return True
        pattern = _NUMBER.sub("*", target)
        return any(path == pattern or path.endswith(f".{pattern}") for path in self.modules)


def modules_of(tensors: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Return the modules of tensors given by name and number of dimensions; nothing if there are too many."""
    matrices = (name for name, dimensions in tensors if dimensions == _MATRIX and name.endswith(_WEIGHT))
    found = sorted({_NUMBER.sub("*", name.removesuffix(_WEIGHT)) for name in matrices})
    return tuple(found) if len(found) <= MAX_MODULES else ()
