"""What answers one request."""

from dataclasses import dataclass

from tidemill_inference.deployments.domain.configuration import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenConfiguration:
    """A configuration, and the part that it plays for one request; `shadowed` has the candidate answer a copy."""

    variant: str
    configuration: Configuration
    rollout: str = ""
    step: int = 0
    experiment: str = ""
    """The run of an experiment that the answer is part of, whose epoch is `step`; `variant` is the arm."""
    shadowed: bool = False
    searches_anew: bool = False
    """Whether index versions are compared: each side searches, and copies do, and its search is the variant's own."""
    prompts_differ: bool = False
    """Whether prompts are compared: what a template refuses, or makes too long, is the variant's own."""

    @property
    def compared(self) -> str:
        """The rollout or the run of an experiment that the answer is part of, "" outside of any."""
        return self.rollout or self.experiment
