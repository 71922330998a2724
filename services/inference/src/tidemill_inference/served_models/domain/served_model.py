"""A deployment as clients see it that choose a model."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What a deployment takes and can do; `context_tokens` None is unknown, `max_output_tokens` None is no limit."""

    id: str
    project: str
    create_time: datetime | None
    model: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
