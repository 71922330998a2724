"""Texts that are found by others that are like them: what is kept of them, and what is compared with what."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import derived_id

MAX_NAME = 200
"""Characters of a scope or an id."""
MAX_MATCHES = 10
MAX_REMOVED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarText:
    """What is kept of a text beside its vector: never the text. `place` is a digest of model version and scope."""

    id: str
    place: str
    dimensions: int
    expire_time: datetime
    end_user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarMatch:
    """An id, and the cosine similarity of its text."""

    id: str
    score: float


def place_of(model: str, scope: str) -> str:
    """Return what names all texts that are compared with each other, within their project."""
    return hashlib.sha256(f"{model}\n{scope}".encode()).hexdigest()


def index_of(project: str, dimensions: int) -> str:
    """Return the name of the vectors: one index for all models of a project with so many dimensions.

    No collection has a space in its name.
    """
    return f"{project}/similar texts/{dimensions}"


def point_of(project: str, text_id: str) -> str:
    """Return the id of a text's point."""
    return derived_id(project, "similar", text_id)
