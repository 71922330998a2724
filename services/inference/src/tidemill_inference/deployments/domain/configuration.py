"""What answers, and how: retrieval, sampling and the models, named by their digest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from tidemill_core.errors import Violation

DEFAULT_TOP_K = 3
MAX_TOP_K = 100
DEFAULT_QUERY_TURNS = 3
MAX_QUERY_TURNS = 10
MAX_STOPS = 4
MAX_STOP_LENGTH = 200
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Where passages come from; `index` 0 follows the collection's live index version."""

    collection: str
    top_k: int = DEFAULT_TOP_K
    index: int = 0
    metadata_filter: Mapping[str, object] = field(default_factory=dict)
    min_score: float = 0.0
    """Passages below it are left out."""
    query_turns: int = DEFAULT_QUERY_TURNS
    """How many of the last user messages are searched with; 1 is the last one alone."""

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        bounds = (
            ("top_k", 1 <= self.top_k <= MAX_TOP_K, f"take 0 (for {DEFAULT_TOP_K}) to {MAX_TOP_K}"),
            ("index", self.index >= 0, "take 0 to follow the live index, or an index version's number"),
            ("min_score", 0 <= self.min_score <= 1, "take 0 (for all passages) to 1"),
            (
                "query_turns",
                1 <= self.query_turns <= MAX_QUERY_TURNS,
                f"take 0 (for {DEFAULT_QUERY_TURNS}) to {MAX_QUERY_TURNS}",
            ),
        )
        return [
            Violation(field=f"{path}.{name}", description=f"is {getattr(self, name)}; {allowed}")
            for name, fits, allowed in bounds
            if not fits
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen; None leaves it to the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def over(self, default: "Sampling") -> "Sampling":
        """Return this sampling with `default` where it says nothing."""
        said = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in (None, ())}
        return replace(default, **said)

    def overrides(self, own: "Sampling") -> list[str]:
        """Return the names of what asks for something else than `own`; a lower limit of tokens does not."""
        said = [each.name for each in fields(self) if getattr(self, each.name) not in (None, ())]
        others = [name for name in said if getattr(self, name) != getattr(own, name)]
        lower = own.max_output_tokens is None or (self.max_output_tokens or 0) < own.max_output_tokens
        return [name for name in others if not (name == "max_output_tokens" and lower)]

    def without(self, names: Sequence[str]) -> "Sampling":
        """Return it without what these say."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in names}
        return Sampling(**kept)

    def violations(self, path: str) -> list[Violation]:
        """Return what is out of bounds."""
        bounds = {
            "temperature": (self.temperature, 0 <= (self.temperature or 0) <= MAX_TEMPERATURE, "0 to 2"),
            "top_p": (self.top_p, self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1"),
            "max_output_tokens": (
                self.max_output_tokens,
                self.max_output_tokens is None or self.max_output_tokens > 0,
                "1 or more",
            ),
        }
        found = [
            Violation(field=f"{path}.{name}", description=f"is {value}; take {allowed}")
            for name, (value, fits, allowed) in bounds.items()
            if not fits
        ]
        if len(self.stop) > MAX_STOPS or any(not 0 < len(stop) <= MAX_STOP_LENGTH for stop in self.stop):
            text = f"take at most {MAX_STOPS} texts of 1 to {MAX_STOP_LENGTH} characters"
            found.append(Violation(field=f"{path}.stop", description=text))
        return found


_ADDED = {"min_score": 0.0, "query_turns": DEFAULT_QUERY_TURNS}
"""Fields of Retrieval that old configurations are without, and what stands for them there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What answers, with every reference resolved: `model@version`, `prompt@version`."""

    model: str
    prompt: str
    retrieval: Retrieval | None
    sampling: Sampling
    fallback: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The configuration's name: equal configurations have equal ones, in every deployment.

        What was added to configurations later counts only where it is not as it was before.
        """
        named = asdict(self)
        for each, before in _ADDED.items():
            if self.retrieval and getattr(self.retrieval, each) == before:
                del named["retrieval"][each]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
