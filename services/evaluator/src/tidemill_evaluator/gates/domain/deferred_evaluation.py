"""The evaluation that a gate defers until it is resumed, or until a rollout has ended."""

from dataclasses import dataclass

from tidemill_evaluator.suites.domain.names import name_of, number_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredEvaluation:
    """An evaluation deferred while the gate is paused, or a rollout runs; `candidate` is its `name@number`."""

    candidate: str
    origin: str
    attempt: int = 1
    dataset_version: str = ""
    requester: str = ""
    """The subject that started its first attempt by hand."""
    after_rollout: bool = False
    """Whether it waits for the end of the deployment's rollout, for which its candidate was refused one of its own."""

    def supersedes(self, known: "DeferredEvaluation", *, name: str) -> bool:
        """Return whether it takes the place of one of another model, prompt or collection, or of no newer version."""
        return name_of(known.candidate) != name or self.place >= known.place

    @property
    def place(self) -> tuple[int, int]:
        """Number of the candidate, and attempt: what is newer is greater."""
        return number_of(self.candidate), self.attempt
