"""A deployment as clients see it that choose a model."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_inference.engines.ports import Capability


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredModel:
    """What is known of a model that is not loaded; None is unknown."""

    context_tokens: int | None = None
    """How many tokens prompt and answer may have together where it is served."""
    capabilities: frozenset[Capability] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What a deployment takes and can do; `context_tokens` None is unknown, `max_output_tokens` None is no limit."""

    id: str
    project: str
    create_time: datetime | None
    model: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    """What the live model can be asked for beyond text; None is unknown."""
