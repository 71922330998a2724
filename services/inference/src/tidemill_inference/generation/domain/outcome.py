"""What came of one answer, for those who compare variants."""

from dataclasses import dataclass

from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOutcome:
    """What came of one answer; `inference` holds all of it, whatever its record keeps.

    `total_s` of one that did not fail is without the search, as a copy is asked on the passages that were found before;
    where index versions are compared, both sides search, and it is with it.
    """

    inference: Inference
    question: Question
    chosen: ChosenConfiguration
    failed: bool
    total_s: float = 0.0
    ended: str = ""
    """The start of a server that ended while it gave this answer of the candidate, where the baseline shares it.

    The answer itself then counts against neither side.
    """
