"""What a candidate is, other than a model's version: an index version or a prompt version; and its verdict."""

from dataclasses import dataclass

from tidemill_inference.rollouts.domain.errors import LiveIndexChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """The index version that a rollout makes the live one of its collection, and the one that was live before."""

    collection: str
    number: int
    before: int = 0
    pending: int = 0
    """What rag has still to make live; 0 where it has."""

    def check_live(self, live: int) -> None:
        """Check that none but the two that are compared is live.

        Raises:
            LiveIndexChanged: it is another one, and stays.

        """
        if live not in {self.before, self.number}:
            raise LiveIndexChanged(self.collection, self.number, live=live)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChange:
    """The prompt version that a rollout makes the live one of its deployment; `before` is what was live, in full."""

    name: str
    number: int
    before: str

    @property
    def version(self) -> str:
        """The candidate, as `prompt@version`."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedEvaluation:
    """The verdict that lets a candidate begin; `baseline` is the digest that it was compared with.

    The candidate is `model@version`, `collection@number` of an index version where `collection` is set, or
    `prompt@version` where `prompt` is.
    """

    evaluation: str
    gate: str
    candidate: str
    baseline: str
    requester: str = ""
    """The subject that started it; "" where its gate did."""
    collection: str = ""
    baseline_index: int = 0
    """The live index version that one was compared with; 0 in verdicts of earlier versions."""
    prompt: str = ""

    @property
    def index(self) -> int:
        """The number of the index version, 0 where the candidate is none."""
        return self._number if self.collection else 0

    def index_change(self, *, before: int) -> IndexChange | None:
        """Return what an index version changes, of which this one was live; None where the candidate is none."""
        if not self.collection:
            return None
        return IndexChange(collection=self.collection, number=self.index, before=before)

    def prompt_change(self, *, before: str) -> PromptChange | None:
        """Return what a prompt version changes, of which this one was live; None where the candidate is none."""
        return PromptChange(name=self.prompt, number=self._number, before=before) if self.prompt else None

    @property
    def _number(self) -> int:
        number = self.candidate.rpartition("@")[2]
        return int(number) if number.isdecimal() else 0
