"""What came of one answer, for those who compare variants."""

from dataclasses import dataclass

from tidemill_core.errors import Blame, TidemillError
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.errors import PromptTooLong
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.prompts.domain.errors import PromptRefused


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


def blames_variant(error: Exception | None, chosen: ChosenConfiguration, *, searches: bool) -> bool:
    """Whether a failure counts against the variant: invalid questions and outages of shared dependencies do not.

    Neither does None, an answer that the client cancelled. A failed search is the variant's own, where index versions
    are compared: of an outage of rag, both sides have their failures. So is a question that its prompt cannot put, or
    makes too long, where prompts are.
    """
    if chosen.prompts_differ and isinstance(error, (PromptRefused, PromptTooLong)):
        return True
    if isinstance(error, TidemillError):
        search = chosen.searches_anew and searches
        return error.blame is not Blame.CALLER and (search or error.blame is not Blame.SHARED)
    return error is not None
